//! What MNN computes with an int8 file on x86 with AVX-512 VNNI, to the bit: a graph of integer products that does MNN 3.6's arithmetic step by step.
//!
//! A network of many layers carries every rounding on to all that follows: one byte of a million that falls on the other side changes half of
//! the results by a step, after fifty layers. So what a file gives in the engine is known only to who rounds as the engine rounds:
//!
//! ```text
//! dense      round(((Σ + (zero + 128) Σw) · weight scale) · (input scale / output scale) + bias')     Σ: over integers less the zero point
//! depthwise  round((Σ + bias'') · (weight scale · (input scale / output scale)))                     bias'': a whole number
//! sum        round((a · scale + b · scale) · (1 / output scale)) + zero
//! else       round(x · (1 / output scale) + zero)
//! ```
//!
//! rounding halves away from zero. Bytes are kept 128 higher, as the engine keeps them, for its dot products and ours are of unsigned ones.

use std::collections::HashMap;

use mnnc_ir::diag::Diagnostic;
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, OpDecl, Tensor, ValueId};
use mnnc_ops::family::arithmetic::{ADD, MUL};
use mnnc_ops::family::cast::CAST;
use mnnc_ops::family::clip::CLIP;
use mnnc_ops::family::math::{ABS, FLOOR, SIGN};
use mnnc_ops::family::quant::{CONV_INTEGER, DEQUANTIZE_LINEAR};
use mnnc_transform::{Hooks, Manager, Pipeline};

/// What unsigned bytes are higher than the file's.
const HIGHER: f32 = 128.0;

/// A tensor that the engine holds in bytes.
#[derive(Copy, Clone)]
struct Bytes {
    /// Unsigned.
    value: ValueId,
    scale: f32,
    /// Of the file's signed ones.
    zero: f32,
}

impl Bytes {
    /// The byte that stands for 0.
    fn zero(self) -> u8 {
        (self.zero + HIGHER) as u8
    }
}

/// The arithmetic of a graph in QDQ form, as the reader of `.mnn` files makes it.
///
/// # Errors
/// An op that does not take what it should, which is a mistake of the compiler.
pub(crate) fn as_engine(graph: &Graph) -> Result<Graph, Diagnostic> {
    let mut engine = Engine { g: graph.clone(), bytes: HashMap::new() };
    for n in graph.schedule().to_vec() {
        // What is rounded may be what was rounded before.
        if let Some(pair) = pair(&engine.g, n) {
            engine.round(&pair)?;
        }
    }
    // What was rounded otherwise is read by nobody any more.
    Manager::new(&Hooks::default()).run(&mut engine.g, &Pipeline::parse("dce")?)?;
    mnnc_quant::calibrate::expand_constants(&mut engine.g)?;
    Ok(engine.g)
}

/// `quantize_linear` and `dequantize_linear` with one scale.
struct Pair {
    /// What is rounded.
    x: ValueId,
    /// As it is afterwards.
    rounded: ValueId,
    scale: f32,
    /// In `i8`.
    zero: f32,
}

fn pair(g: &Graph, n: NodeId) -> Option<Pair> {
    let node = g.node(n);
    let q = g.node(g.producer_of(node.input(0)?, "quantize_linear").filter(|_| node.op.name == "dequantize_linear")?);
    let scalar = |v: Option<ValueId>| g.constant(v?).filter(|t| t.len() == 1).map(|t| t.to_f64s()[0] as f32);
    let scale = scalar(q.input(1))?;
    let zero = q.input(2).map_or(Some(0.0), |v| scalar(Some(v)))?;
    let unsigned = g.ty(node.input(0)?).dtype == DType::U8;
    Some(Pair { x: q.input(0)?, rounded: node.outputs()[0], scale, zero: if unsigned { zero - HIGHER } else { zero } })
}

/// A convolution that the engine computes on integers.
struct Conv {
    n: NodeId,
    x: Bytes,
    /// The weight's integers.
    codes: Tensor,
    /// One for each output channel.
    scales: Vec<f32>,
    bias: Vec<f32>,
    depthwise: bool,
}

struct Engine {
    g: Graph,
    /// For each rounded value the bytes that it stands for.
    bytes: HashMap<ValueId, Bytes>,
}

impl Engine {
    fn round(&mut self, pair: &Pair) -> Result<(), Diagnostic> {
        let (from, positive) = self.before_activation(pair.x);
        let low = if positive { pair.zero } else { -128.0 };
        let whole = match (self.conv(from), self.is_sum(from)) {
            (Some(conv), _) => self.convolve(&conv, pair, low)?,
            (None, true) => {
                let x = self.sum(from)?;
                let x = self.times(x, 1.0 / pair.scale)?;
                let x = self.whole(x)?;
                let x = self.plus(x, pair.zero)?;
                self.clip(x, low, 127.0)?
            }
            (None, false) => {
                let x = self.times(pair.x, 1.0 / pair.scale)?;
                let x = self.alone(x)?;
                let x = self.plus(x, pair.zero)?;
                self.clipped(x, -128.0)?
            }
        };
        let higher = self.plus(whole, HIGHER)?;
        let value = self.cast(higher, DType::U8)?;
        let bytes = Bytes { value, scale: pair.scale, zero: pair.zero };
        let scale = self.g.add_const("scale", Tensor::scalar(bytes.scale));
        let zero = self.g.add_const("zero", Tensor::scalar(bytes.zero()));
        let real = self.op(&DEQUANTIZE_LINEAR, &[value, scale, zero])?;
        self.g.replace_uses(pair.rounded, real);
        self.bytes.insert(real, bytes);
        Ok(())
    }

    /// What `v` is before a ReLU or ReLU6 that the engine has in its convolutions, and whether there is one.
    fn before_activation(&self, v: ValueId) -> (ValueId, bool) {
        let g = &self.g;
        let found = g.producer(v).and_then(|n| {
            let node = g.node(n);
            let x = node.input(0)?;
            let bound = |i: usize| node.input(i).and_then(|v| g.constant(v)).map(|t| t.to_f64s()[0]);
            let clips = node.op.name == "clip" && bound(1) == Some(0.0) && (bound(2) == Some(6.0) || self.is_sum(x));
            (node.op.name == "relu" || clips).then_some(x)
        });
        match found {
            Some(x) if self.conv(x).is_some() || self.is_sum(x) => (x, true),
            _ => (v, false),
        }
    }

    /// That sum, each product rounded before it.
    fn sum(&mut self, v: ValueId) -> Result<ValueId, Diagnostic> {
        let operands: Vec<ValueId> =
            self.g.producer(v).map_or_else(Vec::new, |n| self.g.node(n).inputs().iter().flatten().copied().collect());
        let mut parts = Vec::new();
        for x in operands {
            parts.push(self.alone(x)?);
        }
        self.op(&ADD, &parts)
    }

    fn is_sum(&self, v: ValueId) -> bool {
        let Some(n) = self.g.producer_of(v, "add") else { return false };
        self.g.node(n).inputs().iter().all(|v| v.is_some_and(|v| self.bytes.contains_key(&v)))
    }

    fn conv(&self, v: ValueId) -> Option<Conv> {
        let g = &self.g;
        let n = g.producer_of(v, "conv")?;
        let node = g.node(n);
        let x = *self.bytes.get(&node.input(0)?)?;
        let weight = g.node(g.producer_of(node.input(1)?, "dequantize_linear")?);
        let codes = g.constant(weight.input(0)?)?.clone();
        let outputs = *codes.dims().first()?;
        let filled = codes.dtype() == DType::I8 && !codes.is_empty() && codes.dims().len() > 2;
        let scales = g.constant(weight.input(1)?).filter(|t| t.len() == outputs)?.to_vec::<f32>();
        let symmetric =
            weight.input(2).is_none_or(|z| g.constant(z).is_some_and(|z| z.to_f64s().iter().all(|&z| z == 0.0)));
        let bias = match node.input(2) {
            Some(b) => g.constant(b)?.to_vec::<f32>(),
            None => vec![0.0; outputs],
        };
        let group = g.facts(n).of(node).int("group").unwrap_or(1);
        let depthwise = group > 1 && usize::try_from(group) == Ok(outputs) && codes.dims().get(1) == Some(&1);
        (filled && symmetric && (group == 1 || depthwise)).then_some(Conv { n, x, codes, scales, bias, depthwise })
    }

    fn convolve(&mut self, conv: &Conv, pair: &Pair, low: f32) -> Result<ValueId, Diagnostic> {
        let (dims, codes) = (conv.codes.dims().to_vec(), conv.codes.to_f64s());
        let outputs = conv.scales.len();
        let weight = self.g.add_const("codes", conv.codes.clone());
        let zero = self.g.add_const("zero", Tensor::scalar(conv.x.zero()));
        let attrs = self.g.node(conv.n).attrs.clone();
        let sum = self.op_of(&CONV_INTEGER, &[conv.x.value, weight, zero], attrs)?;
        let mut along = vec![1; dims.len()];
        along[1] = outputs;
        let by_channel = |values: Vec<f32>| Tensor::new(along.clone(), values);
        let ratio = conv.x.scale / pair.scale;
        if conv.depthwise {
            let least = |&scale: &f32| if scale.abs() < 1e-6 { 1e-6 } else { scale };
            let scales: Vec<f32> = conv.scales.iter().map(least).collect();
            let zero = f64::from(pair.zero) * f64::from(pair.scale);
            let whole = |(&b, &s): (&f32, &f32)| ((f64::from(b) + zero) / f64::from(conv.x.scale * s)).round() as i32;
            let bias = conv.bias.iter().zip(&scales).map(whole).collect::<Vec<i32>>();
            let factors = by_channel(scales.iter().map(|s| s * ratio).collect());
            let x = self.with(&ADD, sum, Tensor::new(along.clone(), bias))?;
            let x = self.cast(x, DType::F32)?;
            let x = self.with(&MUL, x, factors)?;
            return self.clipped(x, low);
        }
        let each = codes.len() / outputs.max(1);
        let sums: Vec<f32> = codes.chunks(each.max(1)).map(|row| row.iter().sum::<f64>() as f32).collect();
        let offset = conv.x.zero + HIGHER;
        let bias = (0..outputs).map(|i| {
            let shift = sums[i] * conv.scales[i] * offset * conv.x.scale;
            (conv.bias[i] - shift) / pair.scale + pair.zero
        });
        let bias = by_channel(bias.collect());
        let higher = sums.iter().map(|s| (s * offset) as i32).collect::<Vec<i32>>();
        let x = self.with(&ADD, sum, Tensor::new(along.clone(), higher))?;
        let x = self.cast(x, DType::F32)?;
        let x = self.with(&MUL, x, by_channel(conv.scales.clone()))?;
        let x = self.alone(x)?;
        let x = self.times(x, ratio)?;
        let x = self.alone(x)?;
        let x = self.with(&ADD, x, bias)?;
        self.clipped(x, low)
    }

    /// Integers within the range.
    fn clipped(&mut self, x: ValueId, low: f32) -> Result<ValueId, Diagnostic> {
        let x = self.clip(x, low, 127.0)?;
        self.whole(x)
    }

    fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId, Diagnostic> {
        self.op_of(&CAST, &[x], Attrs::new().with("to", to))
    }

    /// Rounded, halves away from zero.
    fn whole(&mut self, x: ValueId) -> Result<ValueId, Diagnostic> {
        let size = self.op(&ABS, &[x])?;
        let size = self.plus(size, 0.5)?;
        let size = self.op(&FLOOR, &[size])?;
        let sign = self.op(&SIGN, &[x])?;
        self.op(&MUL, &[size, sign])
    }

    fn clip(&mut self, x: ValueId, low: f32, high: f32) -> Result<ValueId, Diagnostic> {
        let bounds = [low, high].map(|bound| self.g.add_const("bound", Tensor::scalar(bound)));
        self.op(&CLIP, &[x, bounds[0], bounds[1]])
    }

    /// The same number, rounded: no pass and no native code makes one operation of a product and what is behind this.
    fn alone(&mut self, x: ValueId) -> Result<ValueId, Diagnostic> {
        self.clip(x, -1e30, 1e30)
    }

    fn times(&mut self, x: ValueId, factor: f32) -> Result<ValueId, Diagnostic> {
        self.with(&MUL, x, Tensor::scalar(factor))
    }

    fn plus(&mut self, x: ValueId, summand: f32) -> Result<ValueId, Diagnostic> {
        if summand == 0.0 { Ok(x) } else { self.with(&ADD, x, Tensor::scalar(summand)) }
    }

    fn with(&mut self, op: &'static OpDecl, x: ValueId, operand: Tensor) -> Result<ValueId, Diagnostic> {
        let operand = self.g.add_const("number", operand);
        self.op(op, &[x, operand])
    }

    fn op(&mut self, op: &'static OpDecl, inputs: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.op_of(op, inputs, Attrs::new())
    }

    /// Behind what makes the operands.
    fn op_of(&mut self, op: &'static OpDecl, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId, Diagnostic> {
        let last = inputs.iter().filter_map(|&v| self.g.producer(v)).filter_map(|n| self.g.position(n)).max();
        let spec = NodeSpec::new(op, inputs.iter().copied()).attrs(attrs);
        let at = last.map_or(0, |at| at + 1);
        let n = self.g.insert_node(self.g.main(), at, spec).map_err(|e| Diagnostic::internal(e.message))?;
        Ok(self.g.node(n).outputs()[0])
    }
}
