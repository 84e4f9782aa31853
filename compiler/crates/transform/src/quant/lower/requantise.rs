//! What stands in front of a `quantize_linear`.

use super::real::{Steps, binary, real};
use crate::pass::PassCx;
use crate::pattern::{op, output, scalar};
use crate::rules::Rule;
use mnnc_ir::{Def, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, Traits, ValueId};

/// Rewrites that change no bit.
pub const EXACT: &[Rule] = &[
    Rule { name: "pair", roots: &["quantize_linear"], rewrite: pair },
    Rule { name: "bounds into saturation", roots: &["quantize_linear"], rewrite: saturated },
];

/// Rewrites that change the last bit of a float before it is rounded.
pub const INEXACT: &[Rule] = &[Rule { name: "scale into factors", roots: &["quantize_linear"], rewrite: divided }];

/// quantised(reals of q) = q, where both have the same steps: the quotient is off by less than half a step
fn pair(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (y, x) = (output(g, n)?, real(g, g.node(n).input(0)?)?);
    let computed = matches!(g.value(x.stored).def, Def::Node(..));
    let mut p = Patch::at(g, n);
    p.replace(y, x.stored);
    (Steps::of(g, n)? == x.steps && (computed || !g.is_output(y))).then(|| p.finish())
}

/// quantised(clip(x)) = quantised(x), where every integer lies within the bounds: rounding keeps the order
fn saturated(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let bounded = g.producer(g.node(n).input(0)?)?;
    let node = g.node(bounded);
    let (low, high) = match node.op.name {
        "relu" => (Some(0.0), None),
        "clip" => {
            let bound = |i: usize| node.input(i).map_or(Some(None), |v| scalar(g, v).map(Some));
            (bound(1)?, bound(2)?)
        }
        _ => return None,
    };
    let steps = Steps::of(g, n)?;
    let at = |x: f64| f64::from(x as f32 / steps.scale).round_ties_even() + steps.zero as f64;
    let (least, greatest) = steps.limits();
    // A bound that is no number fails both comparisons.
    let idle = low.is_none_or(|x| at(x) <= least as f64) && high.is_none_or(|x| at(x) >= greatest as f64);
    let mut p = Patch::at(g, n);
    let z = steps.quantise(&mut p, node.input(0)?)?;
    p.replace(output(g, n)?, z);
    idle.then(|| p.finish())
}

/// quantised(x; s) = quantised(x/s; 1), the quotient formed in constants that stand before it or, if there are none, by one
/// product. A value that is only quantised, such as an input of the model, keeps its division.
fn divided(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let steps = Steps::of(g, n).filter(|s| s.scale != 1.0 && (1.0 / s.scale).is_normal())?;
    let mut p = Patch::at(g, n);
    let quotient = match by(&mut p, x, steps.scale, 0) {
        Some(q) => q,
        None => {
            // Something element-wise, which the product joins.
            g.producer(x).filter(|&m| g.is_elementwise(m))?;
            let inverse = p.constant("inverse_scale", Tensor::scalar(1.0 / steps.scale));
            binary(&mut p, "mul", x, inverse)?
        }
    };
    let y = Steps { scale: 1.0, ..steps }.quantise(&mut p, quotient)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// A value `v / s` that takes no more operations than `v` did.
fn by(p: &mut Patch, v: ValueId, s: f32, depth: usize) -> Option<ValueId> {
    /// Longer chains do not occur.
    const DEEPEST: usize = 12;
    let g = p.graph();
    if let Some(x) = real(g, v) {
        let steps = Steps { scale: x.steps.scale / s, ..x.steps };
        return steps.scale.is_normal().then(|| steps.dequantise(p, x.stored))?;
    }
    let n = g.producer(v).filter(|_| g.use_count(v) == 1 && depth < DEEPEST)?;
    let node = g.node(n);
    let mut operands = node.inputs().to_vec();
    match node.op.name {
        "mul" => {
            let i = (0..2).find(|&i| node.input(i).is_some_and(|c| g.constant(c).is_some()))?;
            operands[i] = Some(quotient(p, node.input(i)?, s)?);
        }
        "add" | "sub" => {
            for v in operands.iter_mut().flatten() {
                *v = if g.constant(*v).is_some() { quotient(p, *v, s)? } else { by(p, *v, s, depth + 1)? };
            }
        }
        "clip" => {
            for v in operands.iter_mut().skip(1).flatten() {
                *v = quotient(p, *v, s)?;
            }
            operands[0] = Some(by(p, node.input(0)?, s, depth + 1)?);
        }
        "relu" | "leaky_relu" | "average_pool" | "global_average_pool" => {
            operands[0] = Some(by(p, node.input(0)?, s, depth + 1)?);
        }
        _ if node.op.traits.contains(Traits::VIEW) && node.outputs().len() == 1 => {
            operands[0] = Some(by(p, node.input(0)?, s, depth + 1)?);
        }
        _ => return None,
    }
    let spec = NodeSpec { inputs: operands, ..NodeSpec::new(op(node.op.name)?, []) };
    p.node(spec.attrs(node.attrs.clone()).named(node.name.clone())).ok()
}

/// A constant divided by `s`.
fn quotient(p: &mut Patch, v: ValueId, s: f32) -> Option<ValueId> {
    let g = p.graph();
    let t = g.constant(v).filter(|t| t.dtype() == mnnc_ir::DType::F32)?;
    let values: Vec<f32> = t.view::<f32>().iter().map(|x| x / s).collect();
    let usable = values.iter().zip(t.view::<f32>().iter()).all(|(q, x)| q.is_normal() || *q == *x || *x == 0.0);
    usable.then(|| p.constant(&g.value(v).name, Tensor::new(t.dims().to_vec(), values)))
}
