//! Networks on bytes, built node by node, and their comparison with the reference evaluation.

use super::{Machine, byte_targets};
use mnnc_ir::{Attrs, DType, Def, Graph, NodeSpec, RegionId, Tensor, TensorType, ValueId};
use mnnc_kernel::{KernelCode, Schedule, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;

/// A graph under construction, its inputs, and what it is.
pub struct Net {
    pub graph: Graph,
    pub inputs: Vec<Tensor>,
    pub what: String,
    body: Option<Body>,
}

/// The open region of a `fused` node: parameters, what they are outside, nodes so far.
struct Body {
    region: RegionId,
    params: Vec<ValueId>,
    outer: Vec<ValueId>,
    own: Vec<ValueId>,
}

impl Net {
    pub fn new() -> Net {
        Net { graph: Graph::new("net"), inputs: Vec::new(), what: String::new(), body: None }
    }
    pub fn input(&mut self, t: Tensor) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        self.what += &format!(" {}{:?}", t.dtype(), t.dims());
        let v = self.graph.add_input(&name, TensorType::new(t.dtype(), t.dims().iter().copied()));
        self.inputs.push(t);
        v
    }
    pub fn dims(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).static_dims().expect("static")
    }
    pub fn constant(&mut self, t: Tensor) -> ValueId {
        self.graph.add_const("c", t)
    }
    pub fn number(&mut self, x: f32) -> ValueId {
        self.constant(Tensor::scalar(x))
    }
    /// What follows goes into one `fused` node, until [`close`](Self::close).
    pub fn open(&mut self) {
        let region = self.graph.new_region();
        self.body = Some(Body { region, params: Vec::new(), outer: Vec::new(), own: Vec::new() });
        self.what += " (";
    }
    /// The `fused` node with this result.
    pub fn close(&mut self, y: ValueId) -> ValueId {
        let b = self.body.take().expect("an open region");
        self.what += " )";
        self.graph.set_results(b.region, vec![y]);
        let spec = NodeSpec::new(mnnc_ops::lookup("fused").expect("an op"), b.outer).regions([b.region]);
        self.graph.emit(spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what))
    }
    pub fn emit(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.what += &format!(" {op}");
        let decl = mnnc_ops::lookup(op).expect("an op");
        let Some(mut b) = self.body.take() else {
            let spec = NodeSpec::new(decl, inputs.iter().copied()).attrs(attrs).outputs(["y"]);
            return self.graph.emit(spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what));
        };
        let mut operands = Vec::new();
        for &v in inputs {
            let here = b.own.contains(&v) || matches!(self.graph.value(v).def, Def::Const(_));
            operands.push(match b.outer.iter().position(|o| *o == v) {
                _ if here => v,
                Some(i) => b.params[i],
                None => {
                    let ty = self.graph.ty(v).clone();
                    let p = self.graph.add_param(b.region, "p", ty);
                    b.params.push(p);
                    b.outer.push(v);
                    p
                }
            });
        }
        let spec = NodeSpec::new(decl, operands).attrs(attrs);
        let n = self.graph.insert_node(b.region, b.own.len(), spec);
        let n = n.unwrap_or_else(|e| panic!("{}: {e:?}", self.what));
        let y = self.graph.node(n).outputs()[0];
        b.own.push(y);
        self.body = Some(b);
        y
    }
    pub fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.emit(op, inputs, Attrs::new())
    }
    pub fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        self.emit("cast", &[x], Attrs::new().with("to", to))
    }
    /// `(x - zero) * scale`, the difference in `i32` or in `f32`.
    pub fn dequantise(&mut self, g: &mut Gen, x: ValueId, zero: u8) -> ValueId {
        let scale = 0.01 + g.below(1000) as f32 * 1e-4;
        let scale = self.number(scale);
        let x = if g.coin() {
            let wide = self.cast(x, DType::I32);
            let zero = self.constant(Tensor::scalar(i32::from(zero)));
            let difference = self.op("sub", &[wide, zero]);
            self.cast(difference, DType::F32)
        } else {
            let wide = self.cast(x, DType::F32);
            let zero = self.number(f32::from(zero));
            self.op("sub", &[wide, zero])
        };
        self.op("mul", &[x, scale])
    }
    /// `saturate(round(x / scale) + zero)`, with or without bounds.
    pub fn quantise(&mut self, g: &mut Gen, x: ValueId) -> ValueId {
        let zero = g.pick(&[0, 0, 128, 255, 3, 117]);
        let scale = g.pick(&[0.0625, 0.5, 1.0, 0.037, 0.1, 0.123_456]) + g.pick(&[0.0, 0.0, 1e-3, 0.02]);
        let scale = self.number(scale);
        let quotient = self.op(g.pick(&["div", "div", "div", "mul"]), &[x, scale]);
        let mut y = self.op("round", &[quotient]);
        if zero != 0 || g.coin() {
            let zero = self.number(zero as f32);
            y = self.op("add", &[y, zero]);
        }
        if g.coin() {
            let (low, high) = (self.number(g.pick(&[0.0, 0.0, 7.0])), self.number(g.pick(&[255.0, 255.0, 200.0])));
            y = self.op("clip", &[y, low, high]);
        }
        self.cast(y, DType::U8)
    }
    /// One that is computed exactly.
    pub fn activation(&mut self, g: &mut Gen, x: ValueId) -> ValueId {
        match g.below(5) {
            0 => self.op("relu", &[x]),
            1 => {
                let (low, high) = (self.number(0.0), self.number(6.0));
                self.op("clip", &[x, low, high])
            }
            2 => self.op("abs", &[x]),
            3 => {
                let (three, zero, six) = (self.number(3.0), self.number(0.0), self.number(6.0));
                let shifted = self.op("add", &[x, three]);
                let gate = self.op("clip", &[shifted, zero, six]);
                let product = self.op("mul", &[x, gate]);
                self.op("div", &[product, six])
            }
            _ => x,
        }
    }
    /// Compares with the reference on every target, in one share and in two, bit for bit or, of floats, up to `tolerance`. No node may run
    /// as generic loops; `used` gets to see the schedules.
    pub fn check(mut self, y: ValueId, split: bool, tolerance: f32, used: &mut dyn FnMut(&Schedule)) {
        self.graph.set_results(self.graph.main(), vec![y]);
        let expected = Evaluator::new(&self.graph).run(&self.inputs).expect("evaluates").remove(0);
        for target in byte_targets() {
            let at = format!("{}: {}", target.full_name(), self.what);
            let schedule = lower(&self.graph, &target, families::ALL).unwrap_or_else(|e| panic!("{at}: {e:?}"));
            let generic = schedule.steps.iter().filter(|s| s.node.is_some()).map(|s| &schedule.kernels[s.kernel]);
            if let Some(k) = generic.into_iter().find(|k| matches!(k.code, KernelCode::Loops(_))) {
                panic!("{at} runs {}", k.name);
            }
            used(&schedule);
            let shape = [(expected.dtype(), expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(&self.inputs, &shape, split).remove(0);
            if tolerance > 0.0 && expected.dtype() == DType::F32 {
                for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{at}: element {i} is {a}, not {b}");
                }
                continue;
            }
            if tolerance > 0.0 {
                // What lies next to a tie may fall on either side of it.
                let pairs = got.bytes().iter().zip(expected.bytes().iter());
                assert!(pairs.clone().all(|(a, b)| a.abs_diff(*b) <= 1), "{at}");
                let off = pairs.filter(|(a, b)| a != b).count();
                assert!(off <= 1 + expected.len() / 1000, "{at}: {off} of {} are off", expected.len());
                continue;
            }
            if expected.dtype() == DType::F32 {
                for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                    assert!(a == b || (a.is_nan() && b.is_nan()), "{at}: element {i} is {a}, not {b}");
                }
                continue;
            }
            let size = expected.dtype().size();
            let pairs = got.bytes().chunks(size).zip(expected.bytes().chunks(size)).enumerate();
            for (i, (a, b)) in pairs {
                assert_eq!(a, b, "{at}: element {i}");
            }
        }
    }
}

/// Bytes, extremes among them.
pub fn bytes(g: &mut Gen, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let one = |g: &mut Gen| if g.below(8) == 0 { g.pick(&[0u8, 255]) } else { g.below(256) as u8 };
    Tensor::new(dims, (0..n).map(|_| one(g)).collect::<Vec<u8>>())
}

/// Signed bytes, extremes among them.
pub fn signed(g: &mut Gen, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let one = |g: &mut Gen| if g.below(8) == 0 { g.pick(&[-128i8, 127]) } else { g.below(256) as u8 as i8 };
    Tensor::new(dims, (0..n).map(|_| one(g)).collect::<Vec<i8>>())
}

/// A depthwise convolution of `x` and, if it is open, the region around it.
pub fn depthwise(net: &mut Net, g: &mut Gen, x: ValueId, zero: u8) -> ValueId {
    let dims = net.dims(x);
    let kernel = g.pick(&[[3usize, 3], [5, 5], [3, 3], [1, 3], [7, 7], [2, 4]]);
    let dilation = g.pick(&[[1usize, 1], [1, 1], [1, 1], [2, 2], [1, 3]]);
    let stride = g.pick(&[[1usize, 1], [1, 1], [2, 2], [1, 2], [3, 1]]);
    // Windows must fit the padded image.
    let pads: Vec<i64> = (0..4)
        .map(|i| {
            let reach = (kernel[i % 2] - 1) * dilation[i % 2];
            let least = reach.saturating_sub(dims[2 + i % 2] - 1).div_ceil(2);
            (least + g.below(reach / 2 + 1)) as i64
        })
        .collect();
    let w = signed(g, &[dims[1], 1, kernel[0], kernel[1]]);
    let w = net.constant(w);
    let ints = |v: [usize; 2]| v.map(|x| x as i64).to_vec();
    let attrs = Attrs::new()
        .with("group", dims[1] as i64)
        .with("kernel_shape", ints(kernel))
        .with("strides", ints(stride))
        .with("dilations", ints(dilation))
        .with("pads", pads);
    net.what += &format!(" {kernel:?}/{stride:?} dilated {dilation:?} zero {zero}");
    let zero = net.constant(Tensor::scalar(zero));
    net.emit("conv_integer", &[x, w, zero], attrs)
}

/// Sums as bytes, scaled by channel.
pub fn requantise(net: &mut Net, g: &mut Gen, sums: ValueId) -> ValueId {
    let channels = net.dims(sums)[1];
    let scales: Vec<f32> = (0..channels).map(|_| (1 + g.below(1000)) as f32 * 2e-5).collect();
    let scales = net.constant(Tensor::new([channels, 1, 1], scales));
    let x = net.cast(sums, DType::F32);
    let x = net.op("mul", &[x, scales]);
    let x = net.activation(g, x);
    net.quantise(g, x)
}
