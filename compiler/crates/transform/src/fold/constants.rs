//! `fold`: nodes all of whose operands are constants are evaluated, but for those that spread out a compressed weight.

use crate::pass::{Pass, PassCx, PassOption};
use crate::quant::weight::is_compressed;
use crate::rules::{self, Rule};
use mnnc_ir::decl::Traits;
use mnnc_ir::{Graph, NodeId, Patch, Plan, Tensor};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fold",
    doc: "evaluate nodes whose operands are all constant",
    options: &[
        PassOption { name: "max-bytes", default: 1 << 30, doc: "a node whose results are larger stays" },
        PassOption {
            name: "max-growth",
            default: 1 << 20,
            doc: "so does one whose results exceed its operands by more bytes",
        },
    ],
    run: |g, cx| {
        cx.allow_bytes_of(g, 2);
        rules::apply(g, &[Rule { name: "constant", roots: &[], rewrite }], cx);
        super::refine::types(g, cx);
        Ok(())
    },
};

fn rewrite(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let given =
        g.node(n).inputs().iter().flatten().filter_map(|&v| g.constant(v)).map(|t| t.bytes().len()).sum::<usize>();
    let limit = cx.size("max-bytes").min(given.saturating_add(cx.size("max-growth"))).min(cx.bytes_left());
    // A weight is kept as small as it is stored.
    (!is_compressed(g, n)).then(|| evaluated(g, n, limit, cx))?
}

/// A patch that replaces the results of a node on constants by constants of at most `limit` bytes, which are booked.
pub fn evaluated(g: &Graph, n: NodeId, limit: usize, cx: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let any_output = node.outputs().iter().any(|&v| g.is_output(v));
    if any_output || !node.regions.is_empty() || node.op.traits.contains(Traits::IMPURE) {
        return None;
    }
    let inputs: Vec<Option<Tensor>> = node
        .inputs()
        .iter()
        .map(|v| v.map_or(Some(None), |v| g.constant(v).cloned().map(Some)))
        .collect::<Option<_>>()?;
    // A quantised constant stands for other numbers than it stores.
    if node.inputs().iter().flatten().any(|&v| g.ty(v).quant.is_some()) {
        return None;
    }
    let results = mnnc_ops::eval::evaluate_op(node.op, &node.attrs, &inputs, node.outputs().len(), limit).ok()?;
    cx.spend_bytes(results.iter().map(|t| t.bytes().len()).sum());
    let mut p = Patch::at(g, n);
    for (&v, t) in node.outputs().iter().zip(results) {
        let c = p.constant(&g.value(v).name, t);
        p.replace(v, c);
    }
    Some(p.finish())
}
