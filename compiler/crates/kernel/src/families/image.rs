//! Which values are images: rank-4 tensors that are better kept in channel blocks.

use mnnc_ir::{Graph, NodeId, ValueId};

/// Ops that read and write images.
const IMAGE_OPS: &[&str] = &[
    "conv",
    "conv_integer",
    "conv_transpose",
    "conv_transpose_integer",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "global_max_pool",
    "resize",
    "batch_normalization",
    "instance_normalization",
    "depth_to_space",
    "space_to_depth",
];

/// How far a chain of element-wise nodes is followed.
const DEPTH: usize = 24;

/// Whether a value comes from, or goes straight into, a node that works on images.
pub fn is_image(g: &Graph, v: ValueId) -> bool {
    g.ty(v).rank() == 4 && (comes_from_image(g, v, DEPTH) || goes_to_image(g, v, DEPTH / 8))
}

/// The op that decides about a node: its own, or that of the anchor inside a `fused` node.
fn deciding_op(g: &Graph, n: NodeId) -> &'static str {
    let node = g.node(n);
    let inner = node.regions.first().map_or(&[][..], |&r| g.region(r).nodes());
    // An anchor may stand behind what dequantises its operand.
    let anchor = inner.iter().find(|&&n| !g.is_elementwise(n)).or(inner.first());
    match anchor {
        Some(&n) if node.op.name == "fused" => g.node(n).op.name,
        _ => node.op.name,
    }
}

fn passes_through(g: &Graph, n: NodeId) -> bool {
    let op = deciding_op(g, n);
    op == "concat" || op == "split" || mnnc_ops::lookup(op).is_some_and(|o| o.is_elementwise())
}

fn comes_from_image(g: &Graph, v: ValueId, depth: usize) -> bool {
    let Some(n) = g.producer(v).filter(|_| depth > 0) else { return false };
    IMAGE_OPS.contains(&deciding_op(g, n))
        || (passes_through(g, n)
            && g.node(n)
                .inputs()
                .iter()
                .flatten()
                .find(|&&x| g.ty(x).rank() == 4 && g.constant(x).is_none())
                .is_some_and(|&x| comes_from_image(g, x, depth - 1)))
}

fn goes_to_image(g: &Graph, v: ValueId, depth: usize) -> bool {
    g.value(v).users().iter().any(|&n| {
        IMAGE_OPS.contains(&deciding_op(g, n))
            || (depth > 0
                && passes_through(g, n)
                && g.node(n).outputs().iter().any(|&y| g.ty(y).rank() == 4 && goes_to_image(g, y, depth - 1)))
    })
}
