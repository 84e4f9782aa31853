//! `repeat-dequantize`: what several element-wise nodes read dequantised, each of them dequantises for itself.
//!
//! Bytes are then what is stored and read, a fourth of the numbers; the few operations become part of the readers' groups.

use crate::pass::Pass;
use crate::pattern::output;
use crate::rules::{self, Rule};
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan};

/// The pass.
pub const PASS: Pass = Pass {
    name: "repeat-dequantize",
    doc: "element-wise readers of dequantised bytes dequantise them themselves (native code only)",
    options: &[],
    run: |g, cx| {
        rules::apply(
            g,
            &[Rule { name: "reader", roots: &["dequantize_linear"], rewrite: |g, n, _| rewrite(g, n) }],
            cx,
        );
        Ok(())
    },
};

/// f(dequantised(q)), read by others, too = f(another dequantised(q))
fn rewrite(g: &Graph, n: NodeId) -> Option<Plan> {
    let (node, y) = (g.node(n), output(g, n)?);
    let bytes =
        node.input(0).is_some_and(|q| matches!(g.ty(q).dtype, DType::U8 | DType::I8) && g.constant(q).is_none());
    let constants = node.inputs()[1..].iter().flatten().all(|&v| g.constant(v).is_some());
    if !bytes || !constants || !g.is_elementwise(n) {
        return None;
    }
    let mut readers: Vec<NodeId> = g.value(y).users().to_vec();
    readers.sort_by_key(|&u| g.position(u));
    readers.dedup();
    let shared = readers.len() > 1 || g.is_result(y);
    let same = |u: &&NodeId| g.node(**u).region() == node.region() && g.node(**u).regions.is_empty();
    let &reader = readers.iter().filter(same).rfind(|&&u| g.is_elementwise(u)).filter(|_| shared)?;
    let user = g.node(reader);
    let mut p = Patch::at(g, reader);
    let own = NodeSpec::new(node.op, []).attrs(node.attrs.clone()).named(node.name.clone());
    let own = p.node(NodeSpec { inputs: node.inputs().to_vec(), ..own }).ok()?;
    let inputs = user.inputs().iter().map(|&v| if v == Some(y) { Some(own) } else { v }).collect();
    let spec = NodeSpec::new(user.op, []).attrs(user.attrs.clone()).named(user.name.clone());
    let new = p.node(NodeSpec { inputs, ..spec }).ok()?;
    p.replace(output(g, reader)?, new);
    Some(p.finish())
}
