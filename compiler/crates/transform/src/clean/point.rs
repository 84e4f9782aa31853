//! `lower-point`: a convolution of a batch of single pixels is a product of matrices, whose rows share the weights.
//!
//! MNN's converter writes the products of a transformer this way.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, Graph, NodeId, NodeSpec, Patch, Plan};
use mnnc_ops::family::conv;

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-point",
    doc: "turn a 1x1 convolution of a batch of single pixels into a product of matrices",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "convolution of points to gemm", roots: &["conv"], rewrite }], cx);
        Ok(())
    },
};

/// conv(x[N×C×1×1], w[M×C×1×1], b) = reshape(gemm(reshape(x), reshape(w)ᵀ, b))
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, w, y) = (node.input(0)?, node.input(1)?, output(g, n)?);
    let shape = conv::shape(&g.facts(n).of(node), 0, 1).ok()?;
    let points = shape.axes.iter().all(|a| a.input == 1 && a.kernel == 1 && a.output == 1);
    if shape.groups != 1 || shape.batch < 2 || !points {
        return None;
    }
    let mut p = Patch::at(g, n);
    let rows = reshaped(&mut p, x, &[shape.batch, shape.inputs])?;
    let weights = reshaped(&mut p, w, &[shape.outputs, shape.inputs])?;
    let operands = [Some(rows), Some(weights), node.input(2)].into_iter().flatten();
    let attrs = Attrs::new().with("transB", true);
    let product = p.node(NodeSpec::new(op("gemm")?, operands).attrs(attrs).named(node.name.clone())).ok()?;
    let back = reshaped(&mut p, product, &dims(g, y)?)?;
    p.replace(y, back);
    Some(p.finish())
}
