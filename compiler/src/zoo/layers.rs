//! The layers that the networks are made of, as PyTorch's exporter writes them.

use mnnc_schema::onnx::ModelProto;

use super::Options;
use super::normal::Stream;
use super::probe::Probe;
use super::weights::{BatchNorm, Target, affine, filters};
use super::writer::{Writer, float, int, ints};

/// A value of the graph: NCHW until it is flattened to \[N, features\].
#[derive(Clone)]
pub(super) struct Value {
    pub name: String,
    pub dims: Vec<usize>,
    /// What the synthetic pictures have become here.
    pub probe: Probe,
}

impl Value {
    pub fn channels(&self) -> usize {
        self.dims[1]
    }

    /// Name and extents.
    pub fn view(&self) -> (&str, &[usize]) {
        (&self.name, &self.dims)
    }
}

/// A network under construction.
pub(super) struct Net<'a> {
    pub writer: Writer,
    pub options: &'a Options,
}

/// Window of a convolution or pooling, square.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub groups: usize,
}

impl Window {
    /// A `kernel`-wide window, padded so that stride 1 keeps the size.
    pub fn same(kernel: usize, stride: usize) -> Self {
        Window { kernel, stride, pad: kernel / 2, groups: 1 }
    }

    pub fn grouped(self, groups: usize) -> Self {
        Window { groups, ..self }
    }

    pub fn output(self, extent: usize, ceil: bool) -> usize {
        let span = extent + 2 * self.pad - self.kernel;
        let steps = if ceil { span.div_ceil(self.stride) } else { span / self.stride };
        steps + 1
    }

    fn attributes(self) -> [mnnc_schema::onnx::AttributeProto; 3] {
        let square = |name, extent: usize, n| ints(name, &vec![extent as i64; n]);
        [square("kernel_shape", self.kernel, 2), square("pads", self.pad, 4), square("strides", self.stride, 2)]
    }
}

/// Activations, spelt as opset 17 has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Relu,
    Relu6,
    HardSwish,
    Silu,
    HardSigmoid,
    Sigmoid,
}

impl Activation {
    fn eval(self, x: f32) -> f32 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        let hard_sigmoid = (x / 6.0 + 0.5).clamp(0.0, 1.0);
        match self {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HardSwish => x * hard_sigmoid,
            Activation::Silu => x * sigmoid,
            Activation::HardSigmoid => hard_sigmoid,
            Activation::Sigmoid => sigmoid,
        }
    }
}

impl<'a> Net<'a> {
    pub fn new(options: &'a Options) -> Self {
        Net { writer: Writer::default(), options }
    }

    /// The batch as the graph's interface declares it.
    fn batch(&self) -> Option<usize> {
        (!self.options.dynamic_batch).then_some(self.options.batch)
    }

    /// `input` f32\[N,3,H,W\]: normalised pictures.
    pub fn input(&mut self) -> Value {
        let (height, width) = self.options.size;
        self.writer.input("input", &[self.batch(), Some(3), Some(height), Some(width)]);
        Value {
            name: "input".into(),
            dims: vec![self.options.batch, 3, height, width],
            probe: Probe::pictures(self.options.seed),
        }
    }

    /// Makes `last` the graph's output.
    pub fn finish(self, last: Value) -> ModelProto {
        let mut dims: Vec<_> = last.dims.iter().copied().map(Some).collect();
        dims[0] = self.batch();
        self.writer.finish(&last.name, "output", &dims)
    }

    /// Convolution without bias, then batch norm with `epsilon`; one node when folded.
    pub fn conv_bn(
        &mut self,
        x: &Value,
        (conv, norm): (&str, &str),
        out: usize,
        window: Window,
        epsilon: f32,
    ) -> Value {
        let seed = self.options.seed;
        let fan_in = x.channels() / window.groups * window.kernel * window.kernel;
        let mut weight = filters(seed, conv, out, fan_in);
        let mut probe = x.probe.conv(&weight, out, window);
        let batch_norm = BatchNorm::new(&mut Stream::new(seed, norm), &probe, epsilon);
        batch_norm.apply(&mut probe);
        if !self.options.unfolded {
            let bias = batch_norm.fold(&mut weight);
            return self.conv_node(x, conv, (&weight, Some(&bias)), out, window, probe);
        }
        let y = self.conv_node(x, conv, (&weight, None), out, window, probe);
        let mut parameter = |name, values| self.writer.initializer(&format!("{norm}.{name}"), &[out], values);
        let parameters = [
            parameter("weight", &batch_norm.gamma),
            parameter("bias", &batch_norm.beta),
            parameter("running_mean", &batch_norm.mean),
            parameter("running_var", &batch_norm.var),
        ];
        let inputs: Vec<&str> = [&y.name].into_iter().chain(&parameters).map(String::as_str).collect();
        let attributes = vec![float("epsilon", epsilon), float("momentum", 0.9), int("training_mode", 0)];
        let name = self.writer.node(norm, "BatchNormalization", &inputs, attributes);
        Value { name, ..y }
    }

    /// Convolution with bias.
    pub fn conv(&mut self, x: &Value, module: &str, out: usize, window: Window, target: Target) -> Value {
        let fan_in = x.channels() / window.groups * window.kernel * window.kernel;
        let (weight, bias, probe) = affine(self.options.seed, module, &x.probe, (out, fan_in), window, target);
        self.conv_node(x, module, (&weight, Some(&bias)), out, window, probe)
    }

    fn conv_node(
        &mut self,
        x: &Value,
        module: &str,
        (weight, bias): (&[f32], Option<&[f32]>),
        out: usize,
        window: Window,
        probe: Probe,
    ) -> Value {
        let dims = [out, x.channels() / window.groups, window.kernel, window.kernel];
        let mut inputs = vec![x.name.clone(), self.writer.initializer(&format!("{module}.weight"), &dims, weight)];
        if let Some(bias) = bias {
            inputs.push(self.writer.initializer(&format!("{module}.bias"), &[out], bias));
        }
        let [kernel, pads, strides] = window.attributes();
        let attributes = vec![ints("dilations", &[1, 1]), int("group", window.groups as i64), kernel, pads, strides];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let name = self.writer.node(module, "Conv", &inputs, attributes);
        let extent = |i: usize| window.output(x.dims[i], false);
        Value { name, dims: vec![x.dims[0], out, extent(2), extent(3)], probe }
    }

    /// An activation, in as many nodes as PyTorch's exporter needs.
    pub fn activation(&mut self, x: &Value, module: &str, activation: Activation) -> Value {
        let x_name = x.name.as_str();
        let w = &mut self.writer;
        let name = match activation {
            Activation::Relu => w.node(module, "Relu", &[x_name], vec![]),
            Activation::Relu6 => {
                let low = w.const_f32(module, 0.0);
                let high = w.const_f32(module, 6.0);
                w.node(module, "Clip", &[x_name, &low, &high], vec![])
            }
            Activation::HardSwish => w.node(module, "HardSwish", &[x_name], vec![]),
            Activation::Silu => {
                let sigmoid = w.node(module, "Sigmoid", &[x_name], vec![]);
                w.node(module, "Mul", &[x_name, &sigmoid], vec![])
            }
            Activation::HardSigmoid => w.node(module, "HardSigmoid", &[x_name], vec![float("alpha", 1.0 / 6.0)]),
            Activation::Sigmoid => w.node(module, "Sigmoid", &[x_name], vec![]),
        };
        let probe = x.probe.map(|x| activation.eval(x));
        Value { name, dims: x.dims.clone(), probe }
    }

    /// Squeeze and excitation: a gate for each channel from the map's averages.
    pub fn squeeze_excite(
        &mut self,
        x: &Value,
        module: &str,
        squeeze: usize,
        (inner, gate): (Activation, Activation),
    ) -> Value {
        let at = |child: &str| format!("{module}.{child}");
        let window = Window::same(1, 1);
        let y = self.global_average(x, &at("avgpool"));
        let y = self.conv(&y, &at("fc1"), squeeze, window, Target { mean: 0.0, deviation: 1.0 });
        let y = self.activation(&y, &at("activation"), inner);
        // Gates that are mostly open, and move.
        let target = Target { mean: 1.0, deviation: 1.0 };
        let y = self.conv(&y, &at("fc2"), x.channels(), window, target);
        let y = self.activation(&y, &at("scale_activation"), gate);
        let name = self.writer.node(module, "Mul", &[&y.name, &x.name], vec![]);
        Value { name, dims: x.dims.clone(), probe: x.probe.gated(&y.probe) }
    }

    /// Element-wise sum.
    pub fn add(&mut self, a: &Value, b: &Value, module: &str) -> Value {
        let name = self.writer.node(module, "Add", &[&a.name, &b.name], vec![]);
        Value { name, dims: a.dims.clone(), probe: a.probe.plus(&b.probe) }
    }

    /// Concatenation of channels.
    pub fn concat(&mut self, a: &Value, b: &Value, module: &str) -> Value {
        let name = self.writer.node(module, "Concat", &[&a.name, &b.name], vec![int("axis", 1)]);
        let mut dims = a.dims.clone();
        dims[1] += b.channels();
        Value { name, dims, probe: a.probe.concat(&b.probe) }
    }

    /// Max pooling.
    pub fn max_pool(&mut self, x: &Value, module: &str, window: Window, ceil: bool) -> Value {
        let [kernel, pads, strides] = window.attributes();
        let attributes = vec![int("ceil_mode", ceil.into()), ints("dilations", &[1, 1]), kernel, pads, strides];
        let name = self.writer.node(module, "MaxPool", &[&x.name], attributes);
        let extent = |i: usize| window.output(x.dims[i], ceil);
        let dims = vec![x.dims[0], x.channels(), extent(2), extent(3)];
        Value { name, dims, probe: x.probe.max_pool(window, ceil) }
    }

    /// Average over all positions, to \[N,C,1,1\].
    pub fn global_average(&mut self, x: &Value, module: &str) -> Value {
        let name = self.writer.node(module, "GlobalAveragePool", &[&x.name], vec![]);
        Value { name, dims: vec![x.dims[0], x.channels(), 1, 1], probe: x.probe.averaged() }
    }

    /// Average over all positions, to \[N,C\], as `x.mean([2, 3])` is exported.
    pub fn mean(&mut self, x: &Value) -> Value {
        let attributes = vec![ints("axes", &[2, 3]), int("keepdims", 0)];
        let name = self.writer.node("", "ReduceMean", &[&x.name], attributes);
        Value { name, dims: vec![x.dims[0], x.channels()], probe: x.probe.averaged() }
    }

    /// Fully connected layer on \[N, features\].
    pub fn linear(&mut self, x: &Value, module: &str, out: usize, target: Target) -> Value {
        let features = x.dims[1];
        let (weight, bias, probe) =
            affine(self.options.seed, module, &x.probe, (out, features), Window::same(1, 1), target);
        let weight = self.writer.initializer(&format!("{module}.weight"), &[out, features], &weight);
        let bias = self.writer.initializer(&format!("{module}.bias"), &[out], &bias);
        let attributes = vec![float("alpha", 1.0), float("beta", 1.0), int("transB", 1)];
        let name = self.writer.node(module, "Gemm", &[&x.name, &weight, &bias], attributes);
        Value { name, dims: vec![x.dims[0], out], probe }
    }

    /// The last layer: 1000 classes with well-spread scores.
    pub fn classifier(&mut self, x: &Value, module: &str) -> Value {
        self.linear(x, module, 1000, Target { mean: 0.0, deviation: 2.0 })
    }
}

/// `value` rounded to a multiple of 8, never down by more than a tenth.
pub(super) fn make_divisible(value: f64) -> usize {
    let rounded = ((value + 4.0) / 8.0).floor().max(1.0) * 8.0;
    (if rounded < 0.9 * value { rounded + 8.0 } else { rounded }) as usize
}
