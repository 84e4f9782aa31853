//! `simplify`: identities of algebra and of shape.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::decl::Traits;
use mnnc_ir::{Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "simplify",
    doc: "drop what does nothing: identity, dropout, x·1, x+0, reshape of reshape, whole slices, single concats, …",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const VIEWS: &[&str] = &["reshape", "squeeze", "unsqueeze", "flatten"];

const RULES: &[Rule] = &[
    Rule {
        name: "identity",
        roots: &["identity", "dropout", "max", "min", "sum", "mean", "concat"],
        rewrite: identity,
    },
    Rule { name: "neutral", roots: &["add", "sub", "mul", "div", "pow"], rewrite: neutral },
    Rule { name: "cast", roots: &["cast"], rewrite: cast },
    Rule { name: "idempotent", roots: &[], rewrite: idempotent },
    Rule { name: "view of view", roots: VIEWS, rewrite: view_of_view },
    Rule {
        name: "view",
        roots: &["reshape", "squeeze", "unsqueeze", "flatten", "expand", "tile"],
        rewrite: same_shape_view,
    },
    Rule { name: "pad by nothing", roots: &["pad"], rewrite: pad_nothing },
    Rule { name: "whole slice", roots: &["slice"], rewrite: whole_slice },
    Rule { name: "split in one", roots: &["split"], rewrite: split_in_one },
    Rule { name: "concat of split", roots: &["concat"], rewrite: concat_of_split },
    Rule { name: "concat of concat", roots: &["concat"], rewrite: concat_of_concat },
    Rule { name: "clip of clip", roots: &["clip", "relu"], rewrite: clip_of_clip },
    Rule { name: "neg of neg", roots: &["neg", "not"], rewrite: involution },
];

/// f(x) = x for one operand
fn identity(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let operands = node.inputs().iter().flatten().count();
    let dropout = node.op.name == "dropout";
    // Dropout in inference passes its operand on; a training flag must be known to be false, and the mask unread.
    let inert =
        node.input(2).is_none_or(|v| is_all(g, v, 0.0)) && node.outputs().iter().skip(1).all(|&v| !g.is_used(v));
    if (dropout && !inert) || (!dropout && operands != 1) {
        return None;
    }
    let mut p = Patch::at(g, n);
    p.replace(*node.outputs().first()?, node.input(0)?);
    Some(p.finish())
}

/// x + 0 = x, x - 0 = x, x · 1 = x, x / 1 = x, x¹ = x
fn neutral(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let [(a, b), flipped] = either(g, n)?;
    let (neutral, commutes) = match g.node(n).op.name {
        "add" => (0.0, true),
        "mul" => (1.0, true),
        "sub" => (0.0, false),
        _ => (1.0, false),
    };
    let pairs = if commutes { vec![(a, b), flipped] } else { vec![(a, b)] };
    let (x, _) = pairs.into_iter().find(|&(_, c)| is_all(g, c, neutral))?;
    replace_with(g, n, x)
}

/// cast to the type it has = x
fn cast(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    (g.ty(x).dtype == g.ty(output(g, n)?).dtype).then(|| replace_with(g, n, x))?
}

/// f(f(x)) = f(x) for idempotent f
fn idempotent(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0).filter(|_| node.op.traits.contains(Traits::IDEMPOTENT) && node.inputs().len() == 1)?;
    let inner = g.node(g.producer_of(x, node.op.name)?);
    (inner.attrs == node.attrs).then(|| replace_with(g, n, x))?
}

/// reshape(reshape(x)) = reshape(x), for any ops that keep the elements' order
fn view_of_view(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let y = output(g, n)?;
    let inner = g.producer(g.node(n).input(0)?).filter(|&p| VIEWS.contains(&g.node(p).op.name))?;
    let to = dims(g, y)?;
    let mut p = Patch::at(g, n);
    let r = reshaped(&mut p, g.node(inner).input(0)?, &to)?;
    p.replace(y, r);
    Some(p.finish())
}

/// A view, expansion or tiling to the shape that is there already = x
fn same_shape_view(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let same = dims(g, x).is_some() && dims(g, x) == dims(g, output(g, n)?);
    same.then(|| replace_with(g, n, x))?
}

/// pad(x, 0…) = x
fn pad_nothing(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    is_all(g, node.input(1)?, 0.0).then(|| replace_with(g, n, node.input(0)?))?
}

/// x[0:, 0:, …] = x: nothing is cut off, nothing turned round
fn whole_slice(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    let forward = node.input(4).is_none_or(|v| is_all(g, v, 1.0));
    (forward && dims(g, x).is_some() && dims(g, x) == dims(g, output(g, n)?)).then(|| replace_with(g, n, x))?
}

/// split(x) into one part = x
fn split_in_one(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    replace_with(g, n, x)
}

/// concat(split(x)) = x along one dimension
fn concat_of_split(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let rank = g.ty(output(g, n)?).rank();
    let split = g.producer_of(node.input(0)?, "split")?;
    let parts: Vec<Option<ValueId>> = g.node(split).outputs().iter().map(|&v| Some(v)).collect();
    let along = |n: NodeId| axis(int(g.node(n), "axis")?, rank);
    (parts == node.inputs() && along(split)? == along(n)?).then(|| replace_with(g, n, g.node(split).input(0)?))?
}

/// concat(a, concat(b, c)) = concat(a, b, c) along one dimension
fn concat_of_concat(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let rank = g.ty(output(g, n)?).rank();
    let along = |n: NodeId| axis(int(g.node(n), "axis")?, rank);
    let inner = |v: ValueId| sole(g, v, "concat").filter(|&m| along(m) == along(n) && along(n).is_some());
    let mut flat = Vec::new();
    for &v in node.inputs().iter().flatten() {
        match inner(v) {
            Some(m) => flat.extend(g.node(m).inputs().iter().flatten()),
            None => flat.push(v),
        }
    }
    (flat.len() > node.inputs().len()).then(|| replace_by(g, n, "concat", flat, node.attrs.clone()))?
}

/// clip(clip(x, a, b), c, d) = clip(x, max(a, c), min(b, d)) where the bounds overlap
fn clip_of_clip(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let inner = sole(g, x, "clip").or_else(|| sole(g, x, "relu"))?;
    let ((a, b), (c, d)) = (bounds(g, inner)?, bounds(g, n)?);
    let (lo, hi) = (a.max(c), b.min(d));
    // clip gives its upper bound where the bounds cross, so only overlapping ranges may be merged.
    let mergeable = a <= b && c <= d && c <= b && a <= d && g.ty(x).dtype == mnnc_ir::DType::F32;
    if !mergeable {
        return None;
    }
    let mut p = Patch::at(g, n);
    let z = g.node(inner).input(0)?;
    let spec = if lo == 0.0 && hi == f64::INFINITY {
        NodeSpec::new(op("relu")?, [z])
    } else {
        let lo = p.constant("min", Tensor::scalar(lo as f32));
        let hi = p.constant("max", Tensor::scalar(hi as f32));
        NodeSpec::new(op("clip")?, [z, lo, hi])
    };
    let y = p.node(spec).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// The constant bounds of a clip or relu.
fn bounds(g: &Graph, n: NodeId) -> Option<(f64, f64)> {
    let node = g.node(n);
    if node.op.name == "relu" {
        return Some((0.0, f64::INFINITY));
    }
    let bound = |i: usize, open: f64| node.input(i).map_or(Some(open), |v| scalar(g, v)).filter(|b| !b.is_nan());
    Some((bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?))
}

/// -(-x) = x, ¬¬x = x
fn involution(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let inner = g.producer_of(node.input(0)?, node.op.name)?;
    replace_with(g, n, g.node(inner).input(0)?)
}
