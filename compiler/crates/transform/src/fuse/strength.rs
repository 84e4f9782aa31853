//! `strength`: costly arithmetic by constants becomes cheap arithmetic.

use crate::pass::{Pass, PassCx, PassOption};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor};

/// The pass.
pub const PASS: Pass = Pass {
    name: "strength",
    doc: "x² as x·x, √ for a power of ½, division by a constant as a product",
    options: &[PassOption { name: "inexact", default: 0, doc: "1: also where the reciprocal rounds" }],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "power", roots: &["pow"], rewrite: power },
    Rule { name: "quotient", roots: &["div"], rewrite: quotient },
];

/// x² = x·x, x^½ = √x, x⁻¹ = 1/x
fn power(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, e) = (node.input(0)?, scalar(g, node.input(1)?)?);
    if !g.ty(x).dtype.is_float() || !same_shape(g, x, output(g, n)?) {
        return None;
    }
    match e {
        2.0 => replace_by(g, n, "mul", [x, x], Attrs::new()),
        0.5 => replace_by(g, n, "sqrt", [x], Attrs::new()),
        -1.0 => replace_by(g, n, "reciprocal", [x], Attrs::new()),
        _ => None,
    }
}

/// x / c = x · (1/c), exactly so where c is a power of two
fn quotient(g: &Graph, n: NodeId, cx: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, v) = (node.input(0)?, node.input(1)?);
    let c = g.constant(v).filter(|c| c.dtype() == DType::F32 && c.len() <= 1 << 16)?;
    let values = c.view::<f32>();
    // A power of two has no mantissa bits; its reciprocal must be a normal number too.
    let exact = |c: &f32| c.to_bits() & 0x007f_ffff == 0 && c.is_normal() && (1.0 / c).is_normal();
    let usable = |c: &f32| c.is_normal() && (1.0 / c).is_normal();
    if !values.iter().all(|c| if cx.option("inexact") == 1 { usable(c) } else { exact(c) }) || g.constant(x).is_some() {
        return None;
    }
    let mut p = Patch::at(g, n);
    let inverse: Vec<f32> = values.iter().map(|c| 1.0 / c).collect();
    let inverse = p.constant(&format!("{}.inverse", g.value(v).name), Tensor::new(c.dims().to_vec(), inverse));
    let y = p.node(NodeSpec::new(op("mul")?, [x, inverse])).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}
