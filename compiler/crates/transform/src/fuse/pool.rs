//! `fuse-pool`: global pooling that was spelt as something more general. Runs after the norms are recovered, which
//! look for means.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, Graph, NodeId, NodeSpec, Patch, Plan};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-pool",
    doc: "recover global pooling",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "global pool", roots: &["reduce_mean", "reduce_max"], rewrite: global },
    Rule { name: "whole average pool", roots: &["average_pool"], rewrite: whole_average },
];

/// mean or maximum over all dimensions behind the channels = global pooling
fn global(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let (axes, keep) = reduced(g, n)?;
    let rank = g.ty(x).rank();
    if rank < 4 || !g.ty(x).dtype.is_float() || !axes.iter().copied().eq(2..rank) {
        return None;
    }
    let mut p = Patch::at(g, n);
    let pooled = p.node(NodeSpec::new(op(pooling(g.node(n).op.name)?)?, [x])).ok()?;
    let y = if keep { pooled } else { reshaped(&mut p, pooled, &dims(g, output(g, n)?)?)? };
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// The pooling that a reduction over planes is.
pub fn pooling(reduction: &str) -> Option<&'static str> {
    match reduction {
        "reduce_mean" => Some("global_average_pool"),
        "reduce_max" => Some("global_max_pool"),
        _ => None,
    }
}

/// average pooling by a window of the whole plane, unpadded = global average pooling
fn whole_average(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (node.input(0)?, output(g, n)?);
    let plane: Vec<i64> = dims(g, x)?.get(2..)?.iter().map(|&d| d as i64).collect();
    let unpadded = int_list(node, "pads").is_none_or(|p| p.iter().all(|&p| p == 0));
    let undilated = int_list(node, "dilations").is_none_or(|d| d.iter().all(|&d| d == 1));
    let explicit = matches!(string(node, "auto_pad").as_deref(), None | Some("NOTSET" | "VALID" | ""));
    let one = dims(g, y)?.get(2..)?.iter().all(|&d| d == 1);
    let whole = int_list(node, "kernel_shape")? == plane;
    (unpadded && undilated && explicit && one && whole)
        .then(|| replace_by(g, n, "global_average_pool", [x], Attrs::new()))?
}
