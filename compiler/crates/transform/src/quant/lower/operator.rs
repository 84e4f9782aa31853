//! ONNX's own operators on integers, in the form that the anchors have here, to the bit.

use super::anchor::{centred, differences};
use super::real::{binary, cast, unary};
use super::shift::{SHIFT, unsigned};
use crate::pass::PassCx;
use crate::pattern::{dims, int_list, op, output, string};
use crate::quant::weight::ints;
use crate::rules::Rule;
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

pub const RULES: &[Rule] = &[
    Rule { name: "quantised convolution", roots: &["q_linear_conv"], rewrite: q_linear_conv },
    Rule { name: "quantised product", roots: &["q_linear_matmul"], rewrite: q_linear_matmul },
    Rule { name: "dynamic quantisation", roots: &["dynamic_quantize_linear"], rewrite: dynamic },
    Rule { name: "border of the zero point", roots: &["conv_integer"], rewrite: pad_with_zero },
    Rule { name: "zero point of data", roots: &["conv_integer", "matmul_integer"], rewrite: zero_from_sums },
    Rule { name: "rows of whole words", roots: &["matmul_integer"], rewrite: whole_words },
    Rule { name: "unsigned data", roots: &["conv_integer", "matmul_integer"], rewrite: unsigned_data },
    Rule { name: "signed weights", roots: &["conv_integer", "matmul_integer"], rewrite: signed_weights },
];

/// Numbers of a constant of rank 0 or 1.
fn vector(g: &Graph, v: ValueId) -> Option<Vec<f32>> {
    let t = g.constant(v).filter(|t| t.dtype() == DType::F32 && t.dims().len() <= 1)?;
    Some(t.to_vec())
}

/// `(a * b) / y` in single precision, as the operators' definition forms it; one for each of b, or one for all.
fn factors(g: &Graph, [a, b, y]: [ValueId; 3]) -> Option<Vec<f32>> {
    let (a, b, y) = (vector(g, a)?, vector(g, b)?, vector(g, y)?);
    let (&[a], &[y]) = (a.as_slice(), y.as_slice()) else { return None };
    Some(b.iter().map(|b| a * b / y).collect())
}

/// `saturate(round(sums · factor) + zero)` of integer sums.
fn requantised(p: &mut Patch, sums: ValueId, factor: Tensor, zero: ValueId) -> Option<ValueId> {
    let x = cast(p, sums, DType::F32)?;
    let factor = p.constant("factor", factor);
    let scaled = binary(p, "mul", x, factor)?;
    let one = p.constant("scale", Tensor::scalar(1.0f32));
    p.node(NodeSpec::new(op("quantize_linear")?, [scaled, one, zero])).ok()
}

/// One number a channel along dimension 1 of a value of this rank, or one number.
fn along_channels(values: Vec<f32>, rank: usize) -> Tensor {
    let mut shape = vec![1; rank.saturating_sub(1)];
    match (values.len(), shape.first_mut()) {
        (1, _) | (_, None) => Tensor::scalar(values[0]),
        (n, Some(channels)) => {
            *channels = n;
            Tensor::new(shape, values)
        }
    }
}

/// y = saturate(round((Σ(x - zx)(w - zw) + b) · (sx·sw / sy)) + zy)
fn q_linear_conv(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let y = output(g, n)?;
    let factor = factors(g, [node.input(1)?, node.input(4)?, node.input(6)?])?;
    let rank = g.ty(y).rank();
    let mut p = Patch::at(g, n);
    let operands = [node.input(0)?, node.input(3)?, node.input(2)?, node.input(5)?];
    let spec = NodeSpec::new(op("conv_integer")?, operands).attrs(node.attrs.clone()).named(node.name.clone());
    let mut sums = p.node(spec).ok()?;
    if let Some(b) = node.input(8) {
        let b = g.constant(b).filter(|b| b.dtype() == DType::I32)?;
        let mut shape = vec![1; rank - 1];
        *shape.first_mut()? = b.len();
        let b = p.constant("bias", b.reshaped(shape)?);
        sums = binary(&mut p, "add", sums, b)?;
    }
    let z = requantised(&mut p, sums, along_channels(factor, rank), node.input(7)?)?;
    p.replace(y, z);
    Some(p.finish())
}

/// y = saturate(round(Σ(a - za)(b - zb) · (sa·sb / sy)) + zy)
fn q_linear_matmul(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let y = output(g, n)?;
    let factor = factors(g, [node.input(1)?, node.input(4)?, node.input(6)?])?;
    let mut p = Patch::at(g, n);
    let operands = [node.input(0)?, node.input(3)?, node.input(2)?, node.input(5)?];
    let sums = p.node(NodeSpec::new(op("matmul_integer")?, operands).named(node.name.clone())).ok()?;
    let shape = if factor.len() == 1 { Vec::new() } else { vec![factor.len()] };
    let z = requantised(&mut p, sums, Tensor::new(shape, factor), node.input(7)?)?;
    p.replace(y, z);
    Some(p.finish())
}

/// Scale and zero point from the extremes, then quantisation by them
fn dynamic(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    // Of nothing there is no greatest element.
    let some = dims(g, x)?.iter().all(|&d| d > 0) && g.ty(x).dtype == DType::F32;
    let &[y, rest @ ..] = &node.outputs() else { return None };
    let mut p = Patch::at(g, n);
    let number = |p: &mut Patch, name: &str, v: f32| p.constant(name, Tensor::scalar(v));
    let zero = number(&mut p, "zero", 0.0);
    let whole = || Attrs::new().with("keepdims", false);
    let greatest = unary(&mut p, "reduce_max", x, whole())?;
    let greatest = binary(&mut p, "max", greatest, zero)?;
    let least = unary(&mut p, "reduce_min", x, whole())?;
    let least = binary(&mut p, "min", least, zero)?;
    let range = binary(&mut p, "sub", greatest, least)?;
    let steps = number(&mut p, "steps", 255.0);
    let quotient = binary(&mut p, "div", range, steps)?;
    let empty = binary(&mut p, "equal", quotient, zero)?;
    let one = number(&mut p, "one", 1.0);
    let scale = p.node(NodeSpec::new(op("where")?, [empty, one, quotient])).ok()?;
    let shift = binary(&mut p, "div", least, scale)?;
    let shift = unary(&mut p, "neg", shift, Attrs::new())?;
    let shift = unary(&mut p, "round", shift, Attrs::new())?;
    let point = cast(&mut p, shift, DType::U8)?;
    let q = p.node(NodeSpec::new(op("quantize_linear")?, [x, scale, point]).named(node.name.clone())).ok()?;
    p.replace(*y, q);
    for (&old, new) in rest.iter().zip([scale, point]) {
        p.replace(old, new);
    }
    some.then(|| p.finish())
}

/// The zero point of the data, if it is one number that is computed at run time.
fn computed_zero(g: &Graph, n: NodeId) -> Option<ValueId> {
    let za = g.node(n).input(2)?;
    (g.constant(za).is_none() && g.ty(za).num_elements() == Some(1) && g.ty(za).rank() == 0).then_some(za)
}

/// A border that counts as zero holds the zero point, which a kernel cannot know before it is computed
fn pad_with_zero(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, zero) = (node.input(0)?, computed_zero(g, n)?);
    let pads = int_list(node, "pads").filter(|p| p.iter().any(|&p| p > 0))?;
    let (begin, end) = pads.split_at(pads.len() / 2);
    let fixed = string(node, "auto_pad").is_none_or(|s| s == "NOTSET") && begin.len() + 2 == g.ty(x).rank();
    let around = [&[0, 0], begin, &[0, 0], end].concat();
    let mut p = Patch::at(g, n);
    let around = p.constant("pads", Tensor::ints(&around));
    let x = p.node(NodeSpec::new(op("pad")?, [x, around, zero])).ok()?;
    let mut inputs = node.inputs().to_vec();
    inputs[0] = Some(x);
    let y = copied(&mut p, n, inputs, node.attrs.clone().with("pads", vec![0i64; pads.len()]))?;
    p.replace(output(g, n)?, y);
    fixed.then(|| p.finish())
}

/// Σ(a - za)·b = Σ a·b - za·Σb for a zero point that is computed at run time
fn zero_from_sums(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (a, b, za) = (node.input(0)?, node.input(1)?, computed_zero(g, n)?);
    let conv = node.op.name == "conv_integer";
    let weights = g.constant(b).filter(|b| b.dims().len() == 2 || conv)?;
    let untouched = node.input(3).is_none_or(|v| crate::pattern::is_all(g, v, 0.0));
    let bordered = int_list(node, "pads").is_some_and(|p| p.iter().any(|&p| p > 0))
        || string(node, "auto_pad").is_some_and(|s| s != "NOTSET");
    if !untouched || bordered || g.ty(a).dtype != DType::U8 {
        return None;
    }
    // Outputs are counted by the first dimension of a filter, by the last of a matrix.
    let outputs = if conv { *weights.dims().first()? } else { *weights.dims().last()? };
    let each = weights.len() / outputs.max(1);
    let mut sums = vec![0i64; outputs];
    for (i, w) in weights.to_i64s()?.into_iter().enumerate() {
        sums[if conv { i / each } else { i % outputs }] += w;
    }
    let sums: Vec<i32> = sums.into_iter().map(|s| i32::try_from(s).ok()).collect::<Option<_>>()?;
    let mut shape = vec![outputs];
    if conv {
        // Of the result's rank, as kernels on images read what is computed.
        shape.insert(0, 1);
        shape.resize(weights.dims().len(), 1);
    }
    let mut p = Patch::at(g, n);
    let spec = NodeSpec::new(node.op, [a, b]).attrs(node.attrs.clone());
    let acc = p.node(spec.named(node.name.clone())).ok()?;
    let sums = p.constant("weight_sums", Tensor::new(shape, sums));
    let za = cast(&mut p, za, DType::I32)?;
    let excess = binary(&mut p, "mul", sums, za)?;
    let y = binary(&mut p, "sub", acc, excess)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// Σ over k of x·w, with as many zeros behind as fill a word of four bytes, which products of bytes read
fn whole_words(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    const WORD: usize = 4;
    let node = g.node(n);
    let (x, w) = (node.input(0)?, node.input(1)?);
    let weights = g.constant(w).filter(|w| w.dtype() == DType::I8 && w.dims().len() == 2)?;
    let &[depth, columns] = weights.dims() else { return None };
    let ready = g.ty(x).dtype == DType::U8 && g.constant(x).is_none() && node.input(3).is_none();
    let rank = g.ty(x).rank();
    if !ready || depth == 0 || depth.is_multiple_of(WORD) || rank < 2 {
        return None;
    }
    let more = depth.next_multiple_of(WORD) - depth;
    let mut values = weights.view::<i8>().to_vec();
    values.resize((depth + more) * columns, 0);
    let mut pads = vec![0; 2 * rank];
    pads[2 * rank - 1] = more as i64;
    let mut p = Patch::at(g, n);
    // What stands there is multiplied with zero.
    let pads = p.constant("pads", Tensor::ints(&pads));
    let x = p.node(NodeSpec::new(op("pad")?, [x, pads])).ok()?;
    let w = p.constant(&g.value(w).name, Tensor::new(vec![depth + more, columns], values));
    let mut inputs = node.inputs().to_vec();
    (inputs[0], inputs[1]) = (Some(x), Some(w));
    with(p, n, inputs)
}

/// The zero point at operand `i`; 0 where there is none.
fn zero_point(g: &Graph, n: NodeId, i: usize) -> Option<Vec<i64>> {
    match g.node(n).input(i) {
        None => Some(vec![0]),
        Some(v) => g.constant(v)?.to_i64s(),
    }
}

/// A copy of `n` on other operands, with these attributes.
fn copied(p: &mut Patch, n: NodeId, inputs: Vec<Option<ValueId>>, attrs: Attrs) -> Option<ValueId> {
    let node = p.graph().node(n);
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []) };
    p.node(spec.attrs(attrs).named(node.name.clone())).ok()
}

/// A copy of `n` on other operands, in its place.
fn with(mut p: Patch, n: NodeId, inputs: Vec<Option<ValueId>>) -> Option<Plan> {
    let g = p.graph();
    let y = copied(&mut p, n, inputs, g.node(n).attrs.clone())?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// i8 data as u8, with a zero point 128 larger
fn unsigned_data(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0).filter(|&x| g.ty(x).dtype == DType::I8 && g.constant(x).is_none())?;
    let &[zero] = zero_point(g, n, 2)?.as_slice() else { return None };
    let mut p = Patch::at(g, n);
    let u = unsigned(&mut p, x)?;
    let zero = p.constant("zero_point", Tensor::scalar(u8::try_from(zero + SHIFT).ok()?));
    let mut inputs = node.inputs().to_vec();
    inputs.resize(inputs.len().max(3), None);
    inputs[0] = Some(u);
    inputs[2] = Some(zero);
    with(p, n, inputs)
}

/// Weights less their zero points, where that fits i8
fn signed_weights(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let w = node.input(1)?;
    let t = g.constant(w)?;
    if t.dtype() == DType::I8 && node.input(3).is_none() {
        return None;
    }
    let along = if node.op.name == "conv_integer" { 0 } else { t.dims().len().checked_sub(1)? };
    let zeros = zero_point(g, n, 3)?;
    let name = g.value(w).name.clone();
    let mut p = Patch::at(g, n);
    if let Some(stored) = centred(t, along, &zeros) {
        let stored = p.constant(&name, stored);
        return with(p, n, with_weights(node.inputs(), stored));
    }
    // Weights that differ from their zero points by more than i8 holds are sums of two that do not.
    let parts = halves(t, along, &zeros)?;
    let mut sums = Vec::new();
    for part in parts {
        let part = p.constant(&name, part);
        sums.push(copied(&mut p, n, with_weights(node.inputs(), part), node.attrs.clone())?);
    }
    let y = binary(&mut p, "add", sums[0], sums[1])?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// The operands of a product with these weights, which have no zero point any more.
fn with_weights(inputs: &[Option<ValueId>], weights: ValueId) -> Vec<Option<ValueId>> {
    let inputs = inputs.iter().copied().take(3).enumerate();
    inputs.map(|(i, v)| if i == 1 { Some(weights) } else { v }).collect()
}

/// Weights less their zero points as two parts that fit i8.
fn halves(t: &Tensor, along: usize, zeros: &[i64]) -> Option<[Tensor; 2]> {
    let values = differences(t, along, zeros)?;
    let most: Vec<i64> = values.iter().map(|&x| x.clamp(-128, 127)).collect();
    let rest: Vec<i64> = values.iter().zip(&most).map(|(x, part)| x - part).collect();
    Some([ints(DType::I8, t.dims(), &most)?, ints(DType::I8, t.dims(), &rest)?])
}
