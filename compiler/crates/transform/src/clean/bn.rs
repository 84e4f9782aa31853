//! `lower-bn`: batch normalisation that could not be folded becomes a product and a sum.

use crate::fuse::affine::affine;
use crate::pass::{Pass, PassCx};
use crate::pattern::op;
use crate::rules::{self, Rule};
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor};

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-bn",
    doc: "turn batch normalisation that is left into a product and a sum",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "bn to affine", roots: &["batch_normalization"], rewrite }], cx);
        Ok(())
    },
};

/// (x - mean) / √(var + ε) · γ + β = x·s + t
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let map = affine(g, n, 1)?;
    let node = g.node(n);
    if g.ty(map.x).dtype != DType::F32 {
        return None;
    }
    let mut dims = vec![1; g.ty(map.x).rank()];
    *dims.get_mut(1)? = map.scale.len();
    let mut p = Patch::at(g, n);
    let mut side = |hint: &str, v: &[f64]| {
        let t = Tensor::new(dims.clone(), v.iter().map(|&x| x as f32).collect());
        p.constant(&format!("{}.{hint}", node.name), t)
    };
    let (s, t) = (side("scale", &map.scale), side("shift", &map.shift));
    let scaled = p.node(NodeSpec::new(op("mul")?, [map.x, s])).ok()?;
    let y = p.node(NodeSpec::new(op("add")?, [scaled, t])).ok()?;
    p.replace(node.outputs()[0], y);
    Some(p.finish())
}
