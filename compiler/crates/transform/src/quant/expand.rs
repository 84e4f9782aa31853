//! `expand-weights`: compressed weights that nobody reads packed are written out.
//!
//! Native code reads the weights of convolutions and of products with one matrix as they are stored, and expands them in registers.

use super::weight::is_compressed;
use crate::fold::constants::evaluated;
use crate::pass::{Pass, PassCx, PassOption};
use crate::pattern::{flag, output};
use crate::rules::{self, Rule};
use mnnc_ir::{DType, Graph, NodeId, Plan, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "expand-weights",
    doc: "turn compressed weights that no kernel reads packed into f32 constants",
    options: &[PassOption { name: "native", default: 0, doc: "1: keep what the kernels of native code read packed" }],
    run: |g, cx| {
        // Four times the bytes of what is stored, once for each way it is read.
        cx.allow_bytes_of(g, 8);
        let rule = Rule { name: "weight", roots: &["dequantize_linear", "cast"], rewrite };
        rules::apply(g, &[rule], cx);
        Ok(())
    },
};

/// dequantised(w) = a constant
fn rewrite(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let kept = cx.option("native") == 1 && is_read_packed(g, n);
    (is_compressed(g, n) && !kept).then(|| evaluated(g, n, cx.bytes_left(), cx))?
}

/// Whether native code has kernels that read the compressed weight which node `n` spreads out as it is stored, in everything that reads it.
/// The scales and integers are of the types that they expand.
pub fn is_read_packed(g: &Graph, n: NodeId) -> bool {
    let Some(y) = output(g, n).filter(|&y| g.ty(y).dtype == DType::F32 && !g.is_result(y)) else { return false };
    let node = g.node(n);
    let of = |i: usize, types: &[DType]| node.input(i).is_none_or(|v| types.contains(&g.ty(v).dtype));
    const BYTES: &[DType] = &[DType::I8, DType::U8];
    let stored = match node.op.name {
        "cast" => of(0, &[DType::F16]),
        _ => of(0, BYTES) && of(1, &[DType::F32]) && of(2, BYTES),
    };
    stored && g.value(y).users().iter().all(|&u| reads_packed(g, u, y))
}

/// Whether node `u` reads `w` as nothing but the weights of a product that is computed by such a kernel.
fn reads_packed(g: &Graph, u: NodeId, w: ValueId) -> bool {
    let node = g.node(u);
    let once = node.inputs().iter().filter(|&&v| v == Some(w)).count() == 1;
    let rank = |i: usize| node.input(i).map_or(0, |v| g.ty(v).rank());
    once && node.input(1) == Some(w)
        && node.input(0).is_some_and(|x| g.constant(x).is_none() && g.ty(x).dtype == DType::F32)
        && match node.op.name {
            "conv" => matches!(rank(0), 3 | 4),
            "conv_transpose" => rank(0) == 4,
            "matmul" => rank(0) >= 2 && rank(1) == 2,
            "gemm" => flag(node, "transA") == Some(false),
            _ => false,
        }
}
