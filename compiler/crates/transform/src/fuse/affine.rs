//! Affine maps by constants along one dimension: `y = x * scale + shift`, with one pair for each channel.

use crate::pattern::{dims, float};
use mnnc_ir::{Graph, NodeId, ValueId};

/// An affine map of a value, in f64 so that folding several of them rounds once.
#[derive(Clone, Debug)]
pub struct Affine {
    /// What is mapped.
    pub x: ValueId,
    /// Factor for each channel.
    pub scale: Vec<f64>,
    /// Summand for each channel.
    pub shift: Vec<f64>,
}

/// Reads a node as an affine map along dimension `axis` of its result: batch normalisation, or sum, difference, product,
/// quotient with a constant that is one number or one for each channel.
pub fn affine(g: &Graph, n: NodeId, axis: usize) -> Option<Affine> {
    let node = g.node(n);
    let y = *node.outputs().first()?;
    if !g.ty(y).dtype.is_float() {
        return None;
    }
    let channels = usize::try_from(g.ty(y).dims.get(axis)?.known()?).ok()?;
    if node.op.name == "batch_normalization" {
        return if axis == 1 { batch_norm(g, n, channels) } else { None };
    }
    let (a, b) = (node.input(0)?, node.input(1)?);
    let one = || vec![1.0; channels];
    let zero = || vec![0.0; channels];
    let read = |v: ValueId| per_channel(g, v, g.ty(y).rank(), axis, channels);
    let map = |x, scale, shift| Some(Affine { x, scale, shift });
    let map = match (node.op.name, read(a), read(b)) {
        ("add", None, Some(c)) => map(a, one(), c),
        ("add", Some(c), None) => map(b, one(), c),
        ("sub", None, Some(c)) => map(a, one(), c.iter().map(|c| -c).collect()),
        ("sub", Some(c), None) => map(b, vec![-1.0; channels], c),
        ("mul", None, Some(c)) => map(a, c, zero()),
        ("mul", Some(c), None) => map(b, c, zero()),
        ("div", None, Some(c)) if c.iter().all(|&c| c != 0.0) => map(a, c.iter().map(|c| 1.0 / c).collect(), zero()),
        _ => None,
    }?;
    // The constant must not widen the other operand.
    (g.ty(map.x).dims == g.ty(y).dims).then_some(map)
}

/// `y = (x - mean) / sqrt(var + epsilon) * gamma + beta`.
fn batch_norm(g: &Graph, n: NodeId, channels: usize) -> Option<Affine> {
    let node = g.node(n);
    let used = node.outputs().iter().skip(1).any(|&v| g.is_used(v));
    if used || crate::pattern::flag(node, "training_mode") == Some(true) {
        return None;
    }
    let param = |i| -> Option<Vec<f64>> {
        let t = g.constant(node.input(i)?)?;
        (t.dims() == [channels]).then(|| t.to_f64s())
    };
    let (gamma, beta, mean, var) = (param(1)?, param(2)?, param(3)?, param(4)?);
    let epsilon = f64::from(float(node, "epsilon")?);
    let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    scale.iter().all(|s| s.is_finite()).then_some(Affine { x: node.input(0)?, scale, shift })
}

/// A constant that broadcasts along dimension `axis` only, spread to one number a channel.
fn per_channel(g: &Graph, v: ValueId, rank: usize, axis: usize, channels: usize) -> Option<Vec<f64>> {
    let t = g.constant(v)?;
    if t.dims().len() > rank {
        return None;
    }
    let skip = rank - t.dims().len();
    let along = t.dims().iter().enumerate().all(|(i, &d)| d == 1 || (skip + i == axis && d == channels));
    let values = t.to_f64s();
    match (along, values.as_slice()) {
        (true, &[x]) => Some(vec![x; channels]),
        (true, _) => Some(values),
        _ => None,
    }
}

/// Whether a constant may be copied into one of its readers: no more nodes share it than `limit`.
pub fn may_copy(g: &Graph, v: ValueId, limit: usize) -> bool {
    g.constant(v).is_some() && g.use_count(v) <= limit
}

/// Static channel count of a value along a dimension.
pub fn channels(g: &Graph, v: ValueId, axis: usize) -> Option<usize> {
    dims(g, v).and_then(|d| d.get(axis).copied()).or_else(|| {
        let d = g.ty(v).dims.get(axis)?.known()?;
        usize::try_from(d).ok()
    })
}
