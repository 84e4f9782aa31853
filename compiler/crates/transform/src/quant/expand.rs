//! `expand-weights`: compressed weights that nobody reads packed are written out.

use super::weight::is_compressed;
use crate::fold::constants::evaluated;
use crate::pass::{Pass, PassCx};
use crate::rules::{self, Rule};
use mnnc_ir::{Graph, NodeId, Plan};

/// The pass.
pub const PASS: Pass = Pass {
    name: "expand-weights",
    doc: "turn compressed weights that no kernel reads packed into f32 constants",
    options: &[],
    run: |g, cx| {
        // Four times the bytes of what is stored, once for each way it is read.
        let own: usize = g.consts().iter().map(|(_, c)| c.tensor.bytes().len()).sum();
        cx.allow_bytes(own.saturating_mul(8).saturating_add(256 << 20));
        let rule = Rule { name: "weight", roots: &["dequantize_linear", "cast"], rewrite };
        rules::apply(g, &[rule], cx);
        Ok(())
    },
};

/// dequantised(w) = a constant
fn rewrite(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    is_compressed(g, n).then(|| evaluated(g, n, cx.bytes_left(), cx))?
}
