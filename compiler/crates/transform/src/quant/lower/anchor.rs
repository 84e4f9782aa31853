//! Convolutions and matrix products between quantised values.
//!
//! With data `sx·(x - zx)` and weights `sw[c]·(w - zw)` the result of channel c is `sx·sw[c]·Σ(x - zx)(w - zw)` and the bias: an
//! integer anchor, and a chain in f32 that ends in the value that was computed before.

use super::real::{Real, Steps, binary, cast, real};
use super::shift::{SHIFT, unsigned};
use crate::pass::PassCx;
use crate::pattern::{dims, flag, float, int, op, output};
use crate::quant::weight::{Quantised, compressed, ints};
use crate::rules::Rule;
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

pub const RULES: &[Rule] = &[
    Rule { name: "integer convolution", roots: &["conv", "conv_transpose"], rewrite: conv },
    Rule { name: "integer product", roots: &["matmul"], rewrite: matmul },
    Rule { name: "integer product", roots: &["gemm"], rewrite: gemm },
];

/// Weights that an integer anchor can take.
struct Weights {
    /// i8, their zero point taken off.
    stored: Tensor,
    /// One a channel.
    scale: Vec<f64>,
}

/// The weights `v` with channels along dimension `along`, if less their zero points they fit i8.
fn weights(g: &Graph, v: ValueId, along: usize) -> Option<Weights> {
    let w = Quantised::of(g, compressed(g, v)?).filter(|w| w.scale.dtype() == DType::F32)?;
    let (scale, zero) = w.per_index(along)?;
    let usable = scale.iter().all(|s| s.is_finite() && *s != 0.0) && w.stored.dtype().size() == 1;
    Some(Weights { stored: centred(w.stored, along, &zero).filter(|_| usable)?, scale })
}

/// Integers less the zero point of their index along a dimension, as i8 if they fit it.
pub fn centred(t: &Tensor, along: usize, zero: &[i64]) -> Option<Tensor> {
    if t.dtype() == DType::I8 && zero.iter().all(|&z| z == 0) {
        return Some(t.clone());
    }
    ints(DType::I8, t.dims(), &differences(t, along, zero)?)
}

/// Integers less the zero point, one for all or that of their index along a dimension.
pub fn differences(t: &Tensor, along: usize, zero: &[i64]) -> Option<Vec<i64>> {
    let n = *t.dims().get(along)?;
    let inner = t.dims()[along + 1..].iter().product::<usize>().max(1);
    let zero = |i: usize| if zero.len() == 1 { Some(zero[0]) } else { zero.get(i / inner % n).copied() };
    t.to_i64s()?.into_iter().enumerate().map(|(i, x)| x.checked_sub(zero(i)?)).collect()
}

/// Data as an integer anchor takes it: u8, and their zero point.
fn data(p: &mut Patch, x: Real) -> Option<(ValueId, ValueId)> {
    let (stored, zero) = match x.steps {
        Steps { stored: DType::I8, zero, .. } => (unsigned(p, x.stored)?, zero + SHIFT),
        Steps { zero, .. } => (x.stored, zero),
    };
    Some((stored, p.constant("zero_point", Tensor::scalar(u8::try_from(zero).ok()?))))
}

/// The f32 value of the sums `acc`: times one factor a channel.
fn scaled(p: &mut Patch, acc: ValueId, factor: &[f64], shape: &[usize]) -> Option<ValueId> {
    let factor: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
    let usable = factor.iter().all(|f| f.is_normal());
    let sums = cast(p, acc, DType::F32)?;
    let factor = p.constant("factor", Tensor::new(shape.to_vec(), factor));
    usable.then(|| binary(p, "mul", sums, factor))?
}

/// A constant of one number a channel, if it is one.
fn bias(g: &Graph, v: Option<ValueId>, channels: usize) -> Option<Option<Vec<f32>>> {
    let Some(v) = v else { return Some(None) };
    let t = g.constant(v).filter(|t| t.dtype() == DType::F32 && t.dims() == [channels])?;
    Some(Some(t.to_vec::<f32>()).filter(|b| b.iter().any(|&b| b != 0.0)))
}

fn conv(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (real(g, node.input(0)?)?, output(g, n)?);
    // Output channels are dimension 0 of a filter, or, those of one group, dimension 1 of a transposed one.
    let (integer, w) = match node.op.name {
        "conv" => ("conv_integer", weights(g, node.input(1)?, 0)?),
        _ => {
            let groups = usize::try_from(int(node, "group")?).ok()?;
            let w = weights(g, node.input(1)?, 1)?;
            ("conv_transpose_integer", Weights { scale: w.scale.repeat(groups), ..w })
        }
    };
    let channels = w.scale.len();
    let bias = bias(g, node.input(2), channels)?;
    let mut shape = vec![1; g.ty(y).rank() - 1];
    *shape.first_mut()? = channels;
    let mut p = Patch::at(g, n);
    let (stored, zero) = data(&mut p, x)?;
    let stored_weights = p.constant(&weight_name(g, n), w.stored);
    let spec = NodeSpec::new(op(integer)?, [stored, stored_weights, zero]);
    let acc = p.node(spec.attrs(node.attrs.clone()).named(node.name.clone())).ok()?;
    let factor: Vec<f64> = w.scale.iter().map(|s| s * f64::from(x.steps.scale)).collect();
    let mut z = scaled(&mut p, acc, &factor, &shape)?;
    if let Some(b) = bias {
        let b = p.constant("bias", Tensor::new(shape, b));
        z = binary(&mut p, "add", z, b)?;
    }
    p.replace(y, z);
    Some(p.finish())
}

/// The name of a node's weights as they are stored.
fn weight_name(g: &Graph, n: NodeId) -> String {
    let stored = || g.node(g.producer(g.node(n).input(1)?)?).input(0);
    stored().map_or_else(|| "weight".to_string(), |v| g.value(v).name.clone())
}

fn matmul(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (real(g, node.input(0)?)?, output(g, n)?);
    let rank = dims(g, node.input(1)?)?.len();
    let w = weights(g, node.input(1)?, rank.checked_sub(1).filter(|_| rank >= 2)?)?;
    let mut p = Patch::at(g, n);
    let z = product(&mut p, n, x, w, 1.0)?;
    p.replace(y, z);
    Some(p.finish())
}

/// The product of data and weights `[.., k, channels]`, times `alpha`.
fn product(p: &mut Patch, n: NodeId, x: Real, w: Weights, alpha: f64) -> Option<ValueId> {
    let g = p.graph();
    let (stored, zero) = data(p, x)?;
    let stored_weights = p.constant(&weight_name(g, n), w.stored);
    let spec = NodeSpec::new(op("matmul_integer")?, [stored, stored_weights, zero]);
    let acc = p.node(spec.named(g.node(n).name.clone())).ok()?;
    let factor: Vec<f64> = w.scale.iter().map(|s| s * f64::from(x.steps.scale) * alpha).collect();
    scaled(p, acc, &factor, &[w.scale.len()])
}

fn gemm(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (real(g, node.input(0)?)?, output(g, n)?);
    let transposed = flag(node, "transB")?;
    let mut w = weights(g, node.input(1)?, usize::from(!transposed))?;
    let beta = float(node, "beta")?;
    if flag(node, "transA")? || (node.input(2).is_some() && beta != 1.0) {
        return None;
    }
    if transposed {
        let perm = Attrs::new().with("perm", vec![1, 0]);
        let turned = mnnc_ops::eval::evaluate_op(op("transpose")?, &perm, &[Some(w.stored)], 1, usize::MAX);
        w.stored = turned.ok()?.into_iter().next()?;
    }
    let mut p = Patch::at(g, n);
    let mut z = product(&mut p, n, x, w, f64::from(float(node, "alpha")?))?;
    if let Some(c) = node.input(2) {
        z = binary(&mut p, "add", z, c)?;
    }
    p.replace(y, z);
    Some(p.finish())
}
