//! `fold-shapes`: shape arithmetic with what is known of sizes.
//!
//! A chain of Shape, Gather, Concat and arithmetic is constant as soon as the sizes that reach its result are, even when
//! other sizes are symbolic.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};
use std::collections::HashMap;

/// The pass.
pub const PASS: Pass = Pass {
    name: "fold-shapes",
    doc: "evaluate shape arithmetic over sizes that are known",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        super::refine::types(g, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "known sizes", roots: &[], rewrite: known_sizes },
    Rule { name: "known target", roots: &["reshape", "expand"], rewrite: known_target },
];

/// Shape arithmetic is on short lists.
const MAX_LEN: usize = 64;
const MAX_DEPTH: usize = 40;

/// An integer value all of whose elements are known is a constant
fn known_sizes(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let y = output(g, n)?;
    let (ty, dims) = (g.ty(y), dims(g, y)?);
    if !matches!(ty.dtype, DType::I64 | DType::I32) || ty.num_elements()? > MAX_LEN || g.node(n).inputs().is_empty() {
        return None;
    }
    let known: Vec<i64> = elements(g, y, 0, &mut HashMap::new())?.into_iter().collect::<Option<_>>()?;
    let t = match ty.dtype {
        DType::I64 => Tensor::ints(&known),
        _ => Tensor::new(vec![known.len()], known.iter().map(|&x| i32::try_from(x).ok()).collect::<Option<Vec<_>>>()?),
    };
    replace_by_constant(g, n, t.reshaped(dims)?)
}

/// A reshape or expansion whose result's sizes are known takes them as a constant; one unknown size of a reshape is -1
fn known_target(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (x, shape, y) = (node.input(0)?, node.input(1)?, output(g, n)?);
    if g.constant(shape).is_some() {
        return None;
    }
    let sizes = &g.ty(y).dims;
    let unknown = sizes.iter().filter(|d| d.known().is_none()).count();
    if unknown > usize::from(node.op.name == "reshape") || (unknown > 0 && sizes.iter().any(|d| d.known() == Some(0))) {
        return None;
    }
    let target: Vec<i64> =
        sizes.iter().map(|d| d.known().map_or(Some(-1), |n| i64::try_from(n).ok())).collect::<Option<_>>()?;
    let mut attrs = node.attrs.clone();
    if node.op.name == "reshape" && target.contains(&0) {
        attrs.set("allowzero", true);
    }
    let mut p = Patch::at(g, n);
    let c = p.constant("shape", Tensor::ints(&target));
    let r = p.node(NodeSpec::new(node.op, [x, c]).attrs(attrs).named(node.name.clone())).ok()?;
    p.replace(y, r);
    Some(p.finish())
}

type Known = Option<Vec<Option<i64>>>;

/// What is known of the elements of a short integer list, each by itself.
fn elements(g: &Graph, v: ValueId, depth: usize, memo: &mut HashMap<ValueId, Known>) -> Known {
    if let Some(known) = memo.get(&v) {
        return known.clone();
    }
    let known = compute(g, v, depth, memo);
    memo.insert(v, known.clone());
    known
}

fn compute(g: &Graph, v: ValueId, depth: usize, memo: &mut HashMap<ValueId, Known>) -> Known {
    let len = g.ty(v).num_elements().filter(|&n| n <= MAX_LEN && depth < MAX_DEPTH && !g.ty(v).dtype.is_float())?;
    if let Some(t) = g.constant(v) {
        return Some(t.to_i64s()?.into_iter().map(Some).collect());
    }
    let node = g.node(g.producer(v)?);
    let mut operand = |i: usize| elements(g, node.input(i)?, depth + 1, memo);
    let out: Vec<Option<i64>> = match node.op.name {
        "shape" => {
            let dims = &g.ty(node.input(0)?).dims;
            let bound = |i: i64| (if i < 0 { i + dims.len() as i64 } else { i }).clamp(0, dims.len() as i64) as usize;
            let (start, end) = (bound(int(node, "start").unwrap_or(0)), int(node, "end").map_or(dims.len(), bound));
            dims.get(start..end.max(start))?.iter().map(|d| d.known().and_then(|n| i64::try_from(n).ok())).collect()
        }
        "size" => vec![g.ty(node.input(0)?).num_elements().and_then(|n| i64::try_from(n).ok())],
        "identity" | "cast" | "reshape" | "squeeze" | "unsqueeze" | "flatten" => operand(0)?,
        "concat" if g.ty(v).rank() == 1 => {
            let mut all = Vec::new();
            for i in 0..node.inputs().len() {
                all.extend(operand(i)?);
            }
            all
        }
        "gather" if g.ty(node.input(0)?).rank() == 1 => {
            let (data, indices) = (operand(0)?, operand(1)?);
            let pick = |i: Option<i64>| data.get(axis(i?, data.len())?).copied().flatten();
            indices.into_iter().map(pick).collect()
        }
        "slice" if g.ty(node.input(0)?).rank() == 1 => {
            let data = operand(0)?;
            let one = |i: usize, default: i64| match node.input(i) {
                None => Some(default),
                Some(p) => scalar(g, p).map(|x| x as i64),
            };
            let (start, end, step) = (one(1, 0)?, one(2, i64::MAX)?, one(4, 1)?);
            let bound = |i: i64| {
                (if i < 0 { i.saturating_add(data.len() as i64) } else { i }).clamp(0, data.len() as i64) as usize
            };
            let (start, end) = (bound(start), bound(end));
            let step = usize::try_from(step).ok().filter(|&s| s > 0)?;
            data.get(start..end.max(start))?.iter().copied().step_by(step).collect()
        }
        "add" | "sub" | "mul" | "div" => {
            let (a, b) = (operand(0)?, operand(1)?);
            let n = a.len().max(b.len());
            let at = |v: &[Option<i64>], i: usize| v.get(if v.len() == 1 { 0 } else { i }).copied().flatten();
            let f = |x: i64, y: i64| match node.op.name {
                "add" => x.checked_add(y),
                "sub" => x.checked_sub(y),
                "mul" => x.checked_mul(y),
                _ => x.checked_div(y),
            };
            (0..n).map(|i| f(at(&a, i)?, at(&b, i)?)).collect()
        }
        _ => return None,
    };
    (out.len() == len).then_some(out)
}
