//! `move-weights`: a compressed weight that is only turned round, reshaped or cut is stored that way.

use super::weight::{Scales, compressed};
use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Graph, Node, NodeId, NodeSpec, Patch, Plan, Tensor, Traits};

/// The pass.
pub const PASS: Pass = Pass {
    name: "move-weights",
    doc: "transposes, reshapes and slices of compressed weights turn or cut what is stored",
    options: &[],
    run: |g, cx| {
        // Slices of one weight may overlap.
        cx.allow_bytes_of(g, 2);
        rules::apply(g, &[Rule { name: "move of weight", roots: ROOTS, rewrite }], cx);
        Ok(())
    },
};

const ROOTS: &[&str] = &["transpose", "reshape", "squeeze", "unsqueeze", "flatten", "slice"];

/// move(dequantised(w)) = dequantised(move(w)), and the same of a cast
fn rewrite(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let (node, y) = (g.node(n), output(g, n)?);
    let inner = g.node(compressed(g, node.input(0)?)?);
    let stored = g.constant(inner.input(0)?)?;
    let mut p = Patch::at(g, n);
    let turned = moved(g, node, stored).filter(|t| t.bytes().len() <= cx.bytes_left())?;
    cx.spend_bytes(turned.bytes().len());
    let mut attrs = inner.attrs.clone();
    let mut inputs = inner.inputs().to_vec();
    if inner.op.name == "dequantize_linear" {
        let scale = g.constant(inner.input(1)?)?;
        match Scales::of(inner, scale.dims(), stored.dims().len())? {
            Scales::Tensor => {}
            Scales::Axis(a) => attrs.set("axis", new_place(node, a, stored.dims(), turned.dims())? as i64),
            Scales::Blocks(a, _) => {
                let to = new_place(node, a, stored.dims(), turned.dims())?;
                attrs.set("axis", to as i64);
                for i in 1..inputs.len() {
                    let Some(v) = inputs[i] else { continue };
                    let t = g.constant(v)?;
                    let t = match node.op.traits.contains(Traits::VIEW) {
                        true => viewed(t, a, to, turned.dims())?,
                        false => moved(g, node, t)?,
                    };
                    inputs[i] = Some(p.constant(&g.value(v).name, t));
                }
            }
        }
    }
    inputs[0] = Some(p.constant(&g.value(inner.input(0)?).name, turned));
    let spec = NodeSpec { inputs, ..NodeSpec::new(inner.op, []).attrs(attrs).named(inner.name.clone()) };
    let w = p.node(spec).ok()?;
    p.replace(y, w);
    Some(p.finish())
}

/// What the node makes of a constant in place of its first operand.
fn moved(g: &Graph, node: &Node, t: &Tensor) -> Option<Tensor> {
    let rest = node.inputs().iter().skip(1).map(|v| match v {
        None => Some(None),
        Some(v) => g.constant(*v).cloned().map(Some),
    });
    let inputs: Vec<Option<Tensor>> = std::iter::once(Some(Some(t.clone()))).chain(rest).collect::<Option<_>>()?;
    let results = mnnc_ops::eval::evaluate_op(node.op, &node.attrs, &inputs, 1, t.bytes().len());
    results.ok()?.into_iter().next()
}

/// Scales in blocks along dimension `from` of a weight that is seen as one of shape `dims`, where that dimension is `to`.
fn viewed(scales: &Tensor, from: usize, to: usize, dims: &[usize]) -> Option<Tensor> {
    let mut dims = dims.to_vec();
    *dims.get_mut(to)? = *scales.dims().get(from)?;
    scales.reshaped(dims)
}

/// Where a transpose puts dimension `a`.
fn transposed(node: &Node, a: usize, rank: usize) -> Option<usize> {
    if node.op.name != "transpose" {
        return None;
    }
    match int_list(node, "perm") {
        None => Some(rank - 1 - a),
        Some(perm) => perm.iter().position(|&p| axis(p, rank) == Some(a)),
    }
}

/// The dimension of the result that dimension `a` has become, if it is still one.
fn new_place(node: &Node, a: usize, from: &[usize], to: &[usize]) -> Option<usize> {
    if node.op.name == "slice" {
        return (from[a] == to[a]).then_some(a);
    }
    if !node.op.traits.contains(Traits::VIEW) {
        return transposed(node, a, from.len());
    }
    let before = |dims: &[usize], i: usize| dims[..i].iter().product::<usize>();
    (0..to.len()).find(|&b| to[b] == from[a] && before(to, b) == before(from, a))
}
