//! `lower-blocks`: blocks of pixels as channels, and back, are a transpose of views, which native code has kernels for.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, Graph, NodeId, NodeSpec, Patch, Plan};

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-blocks",
    doc: "turn depth_to_space and space_to_depth into a transpose between two reshapes",
    options: &[],
    run: |g, cx| {
        let roots = &["depth_to_space", "space_to_depth"];
        rules::apply(g, &[Rule { name: "blocks to transpose", roots, rewrite }], cx);
        Ok(())
    },
};

/// depth_to_space(x) = reshape(transpose(reshape(x)))
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, y) = (node.input(0)?, output(g, n)?);
    let (&[images, c, h, w], to) = (&dims(g, x)?[..], dims(g, y)?) else { return None };
    let side = usize::try_from(int(node, "blocksize")?).ok().filter(|&b| b > 0)?;
    // Whether the position in a block is the inner part of the channel number; else it is the outer part.
    let inner = string(node, "mode").as_deref() == Some("CRD");
    let (split, perm): (Vec<usize>, Vec<i64>) = if node.op.name == "depth_to_space" {
        let channels = c / (side * side);
        if inner {
            (vec![images, channels, side, side, h, w], vec![0, 1, 4, 2, 5, 3])
        } else {
            (vec![images, side, side, channels, h, w], vec![0, 3, 4, 1, 5, 2])
        }
    } else {
        let perm = if inner { vec![0, 1, 3, 5, 2, 4] } else { vec![0, 3, 5, 1, 2, 4] };
        (vec![images, c, h / side, side, w / side, side], perm)
    };
    let mut p = Patch::at(g, n);
    let split = reshaped(&mut p, x, &split)?;
    let spec = NodeSpec::new(op("transpose")?, [split]).attrs(Attrs::new().with("perm", perm));
    let turned = p.node(spec.named(node.name.clone())).ok()?;
    let whole = reshaped(&mut p, turned, &to)?;
    p.replace(y, whole);
    Some(p.finish())
}
