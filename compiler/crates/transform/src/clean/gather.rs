//! `lower-gather`: picking one index is a slice, which native code can read in place.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Graph, NodeId, NodeSpec, Patch, Plan, Tensor};

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-gather",
    doc: "turn a gather of one constant index into a slice",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "gather to slice", roots: &["gather"], rewrite }], cx);
        Ok(())
    },
};

/// gather(x, i; axis a) = reshape(x[…, i:i+1, …])
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (node.input(0)?, output(g, n)?);
    let (shape, to) = (dims(g, x)?, dims(g, y)?);
    let &[i] = ints(g, node.input(1)?)?.as_slice() else { return None };
    let a = axis(int(node, "axis")?, shape.len())?;
    let i = axis(i, shape[a])? as i64;
    let mut p = Patch::at(g, n);
    let [start, end, along] =
        [("start", i), ("end", i + 1), ("axis", a as i64)].map(|(name, v)| p.constant(name, Tensor::ints(&[v])));
    let cut = p.node(NodeSpec::new(op("slice")?, [x, start, end, along])).ok()?;
    let r = reshaped(&mut p, cut, &to)?;
    p.replace(y, r);
    Some(p.finish())
}
