//! `transpose`: transposes cancel, merge, become reshapes, or sink below what does not care about the order of dimensions.
//!
//! Exports from channels-last frameworks wrap channels-first ops in pairs of transposes. Sinking moves a transpose towards
//! its partner, until the two meet and cancel.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "transpose",
    doc: "cancel, merge and sink transposes",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "transpose of transpose", roots: &["transpose"], rewrite: merge },
    Rule { name: "transpose to reshape", roots: &["transpose"], rewrite: to_reshape },
    Rule { name: "transpose of reshape", roots: &["transpose"], rewrite: of_reshape },
    Rule { name: "sink below element-wise", roots: &[], rewrite: below_elementwise },
    Rule { name: "sink below concat", roots: &["concat"], rewrite: below_concat },
    Rule { name: "sink below pad", roots: &["pad"], rewrite: below_pad },
    Rule { name: "sink below softmax", roots: &["softmax", "log_softmax"], rewrite: below_axis },
    Rule {
        name: "sink below reduction",
        roots: &["reduce_mean", "reduce_sum", "reduce_max", "reduce_min"],
        rewrite: below_reduce,
    },
];

/// Where each dimension of a transpose's result comes from.
fn perm(g: &Graph, n: NodeId) -> Option<Vec<usize>> {
    let node = g.node(n);
    let rank = g.ty(node.input(0)?).rank();
    match int_list(node, "perm") {
        None => Some((0..rank).rev().collect()),
        Some(p) => p.into_iter().map(|i| axis(i, rank)).collect(),
    }
}

fn perm_attr(perm: &[usize]) -> Attrs {
    Attrs::new().with("perm", perm.iter().map(|&i| i as i64).collect::<Vec<i64>>())
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inv = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        inv[p] = i;
    }
    inv
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// (xᵖ)ᵠ = xᵖ∘ᵠ, and x itself if that is the identity
fn merge(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let (x, q) = (g.node(n).input(0)?, perm(g, n)?);
    if is_identity(&q) {
        return replace_with(g, n, x);
    }
    let inner = g.producer_of(x, "transpose")?;
    let p = perm(g, inner)?;
    let both: Vec<usize> = q.iter().map(|&i| p[i]).collect();
    let source = g.node(inner).input(0)?;
    if is_identity(&both) {
        replace_with(g, n, source)
    } else {
        replace_by(g, n, "transpose", [source], perm_attr(&both))
    }
}

/// A transpose that only moves dimensions of size 1 is a reshape
fn to_reshape(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let (shape, perm) = (dims(g, x)?, perm(g, n)?);
    let moved: Vec<usize> = perm.iter().copied().filter(|&i| shape[i] != 1).collect();
    if !moved.is_sorted() || is_identity(&perm) {
        return None;
    }
    let to: Vec<usize> = perm.iter().map(|&i| shape[i]).collect();
    let mut p = Patch::at(g, n);
    let y = reshaped(&mut p, x, &to)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// A reshape that only drops or adds dimensions of size 1 lets the transpose before it and the one behind it meet:
/// transpose(reshape(transpose(x))) = reshape(transpose(x)) where the order of the larger dimensions comes out unchanged
fn of_reshape(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let view = g.node(n).input(0)?;
    let reshape = sole(g, view, "reshape")?;
    let inner = g.producer_of(g.node(reshape).input(0)?, "transpose")?;
    let source = g.node(inner).input(0)?;
    let (from, mid) = (dims(g, source)?, dims(g, view)?);
    let large = |d: &[usize], order: &[usize]| -> Vec<usize> { order.iter().copied().filter(|&i| d[i] != 1).collect() };
    let (p, q) = (perm(g, inner)?, perm(g, n)?);
    // Larger dimensions of the source in the order in which they reach the reshape, then behind the outer transpose.
    let reach = large(&from, &p);
    let kept: Vec<usize> = (0..mid.len()).filter(|&i| mid[i] != 1).collect();
    if kept.len() != reach.len() || !kept.iter().zip(&reach).all(|(&i, &s)| mid[i] == from[s]) {
        return None;
    }
    let after: Vec<usize> =
        large(&mid, &q).iter().map(|i| reach[kept.iter().position(|k| k == i).unwrap_or(0)]).collect();
    if !after.is_sorted() {
        return None;
    }
    let to: Vec<usize> = q.iter().map(|&i| mid[i]).collect();
    let mut patch = Patch::at(g, n);
    let y = reshaped(&mut patch, source, &to)?;
    patch.replace(output(g, n)?, y);
    Some(patch.finish())
}

/// The transpose behind a value that only `n` reads, its permutation and its operand.
fn sinkable(g: &Graph, v: ValueId, n: NodeId) -> Option<(Vec<usize>, ValueId)> {
    let t = g.producer_of(v, "transpose")?;
    let alone = !g.is_result(v) && g.value(v).users().iter().all(|&u| u == n);
    (alone && g.node(t).region() == g.node(n).region()).then_some((perm(g, t)?, g.node(t).input(0)?))
}

/// f(xᵖ, yᵖ, c) = f(x, y, c′)ᵖ for element-wise f; constants are turned the other way
fn below_elementwise(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    if !g.is_elementwise(n) || node.outputs().len() != 1 {
        return None;
    }
    let rank = g.ty(output(g, n)?).rank();
    let mut common: Option<Vec<usize>> = None;
    for &v in node.inputs().iter().flatten() {
        if let Some((p, _)) = sinkable(g, v, n) {
            if p.len() != rank || common.as_ref().is_some_and(|c| *c != p) {
                return None;
            }
            common = Some(p);
        } else if g.constant(v).is_none() && g.ty(v).rank() > 0 {
            return None;
        }
    }
    let perm = common?;
    let back = inverse(&perm);
    let mut p = Patch::at(g, n);
    let mut inputs = Vec::new();
    for v in node.inputs() {
        inputs.push(match *v {
            None => None,
            Some(v) => Some(match (sinkable(g, v, n), g.constant(v)) {
                (Some((_, x)), _) => x,
                (None, Some(c)) if c.dims().iter().any(|&d| d != 1) => {
                    let mut full = vec![1; rank.checked_sub(c.dims().len())?];
                    full.extend(c.dims());
                    let c = turned(&c.reshaped(full)?, &back)?;
                    p.constant(&g.value(v).name, c)
                }
                (None, _) => v,
            }),
        });
    }
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(node.attrs.clone()).named(node.name.clone()) };
    below(p, g, n, spec, &perm)
}

/// A constant with its dimensions permuted.
fn turned(t: &Tensor, perm: &[usize]) -> Option<Tensor> {
    let transposed = mnnc_ops::eval::evaluate_op(op("transpose")?, &perm_attr(perm), &[Some(t.clone())], 1, 1 << 30);
    transposed.ok()?.into_iter().next()
}

/// Emits `spec` and the transpose behind it in place of `n`.
fn below(mut p: Patch, g: &Graph, n: NodeId, spec: NodeSpec, perm: &[usize]) -> Option<Plan> {
    let inner = p.node(spec).ok()?;
    let y = p.node(NodeSpec::new(op("transpose")?, [inner]).attrs(perm_attr(perm))).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// concat(xᵖ, yᵖ; axis i) = concat(x, y; axis p(i))ᵖ
fn below_concat(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let sources: Vec<(Vec<usize>, ValueId)> =
        node.inputs().iter().map(|v| sinkable(g, (*v)?, n)).collect::<Option<_>>()?;
    let perm = &sources.first()?.0;
    let along = axis(int(node, "axis")?, perm.len())?;
    if sources.iter().any(|(p, _)| p != perm) {
        return None;
    }
    let attrs = Attrs::new().with("axis", perm[along] as i64);
    let spec = NodeSpec::new(node.op, sources.iter().map(|s| s.1)).attrs(attrs).named(node.name.clone());
    below(Patch::at(g, n), g, n, spec, perm)
}

/// pad(xᵖ; amounts) = pad(x; amounts′)ᵖ
fn below_pad(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (perm, x) = sinkable(g, node.input(0)?, n)?;
    let (amounts, rank) = (ints(g, node.input(1)?)?, perm.len());
    if node.input(3).is_some() || amounts.len() != 2 * rank {
        return None;
    }
    let mut turned = vec![0; 2 * rank];
    for (i, &from) in perm.iter().enumerate() {
        turned[from] = amounts[i];
        turned[rank + from] = amounts[rank + i];
    }
    let mut p = Patch::at(g, n);
    let mut inputs = vec![Some(x), Some(p.constant("pads", Tensor::ints(&turned)))];
    inputs.extend(node.input(2).map(Some));
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(node.attrs.clone()).named(node.name.clone()) };
    below(p, g, n, spec, &perm)
}

/// softmax(xᵖ; axis i) = softmax(x; axis p(i))ᵖ
fn below_axis(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (perm, x) = sinkable(g, node.input(0)?, n)?;
    let along = axis(int(node, "axis")?, perm.len())?;
    let attrs = node.attrs.clone().with("axis", perm[along] as i64);
    below(Patch::at(g, n), g, n, NodeSpec::new(node.op, [x]).attrs(attrs).named(node.name.clone()), &perm)
}

/// reduce(xᵖ; axes) = reduce(x; p(axes))ᵖ, without the reduced dimensions where they go
fn below_reduce(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (perm, x) = sinkable(g, node.input(0)?, n)?;
    let (axes, keep) = reduced(g, n)?;
    let mut source: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
    source.sort_unstable();
    let mut p = Patch::at(g, n);
    let c = p.constant("axes", Tensor::ints(&source.iter().map(|&a| a as i64).collect::<Vec<_>>()));
    let spec = NodeSpec::new(node.op, [x, c]).attrs(node.attrs.clone()).named(node.name.clone());
    let rest: Vec<usize> = if keep {
        perm
    } else {
        let left: Vec<usize> = (0..perm.len()).filter(|d| !source.contains(d)).collect();
        let kept = perm.iter().filter(|d| !source.contains(d));
        kept.map(|d| left.iter().position(|l| l == d).unwrap_or(0)).collect()
    };
    below(p, g, n, spec, &rest)
}
