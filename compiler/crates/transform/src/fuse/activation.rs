//! `fuse-activation`: activations that were spelt out are recognised by what they compute.
//!
//! Exporters spell an activation in many ways: operands swapped, factors regrouped, division by √2 or product with 1/√2.
//! Instead of listing them, this pass inlines the element-wise nodes between a node and one value that they all start from
//! into one formula, and compares that with the formulas of the known activations on a grid of numbers.

use crate::pass::{Pass, PassCx};
use crate::pattern::{op, output};
use crate::rules::{self, Rule};
use mnnc_ir::scalar::{Expr, ScalarBuilder, ScalarFn};
use mnnc_ir::{Attrs, DType, Graph, NodeId, NodeSpec, OpCtx, OpDecl, Patch, Plan, Tensor, ValueId};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-activation",
    doc: "recover activations that are spelt out: hard-swish, SiLU, mish, GELU, sigmoid, softplus, …",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "activation", roots: ROOTS, rewrite }], cx);
        Ok(())
    },
};

/// The last op of a spelt-out activation.
const ROOTS: &[&str] = &["mul", "div", "add", "sub", "log", "max", "min", "clip", "reciprocal", "tanh", "relu"];

/// No spelling is longer.
const MAX_NODES: usize = 14;

/// Formulas agree if they differ by no more than this, absolutely near zero and relatively beyond one. The exact and the tanh
/// form of GELU, the closest pair, differ by 5e-4.
const TOLERANCE: f64 = 1e-5;

/// f(x) spelt out = f(x)
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let y = output(g, n)?;
    if g.ty(y).dtype != DType::F32 {
        return None;
    }
    let mut members = vec![n];
    loop {
        let frontier = frontier(g, &members);
        if let [x] = frontier[..]
            && g.ty(x).dims == g.ty(y).dims
            && let Some(f) = formula(g, &members, x, y)
            && let Some(known) = recognise(&f)
            && (members.len() > 1 || g.node(n).op != known.op)
        {
            let mut p = Patch::at(g, n);
            let z = p.node(NodeSpec::new(known.op, [x]).attrs(known.attrs.clone())).ok()?;
            p.replace(y, z);
            return Some(p.finish());
        }
        // The value computed last is furthest from the common start.
        let next = frontier.iter().filter_map(|&v| g.producer(v)).max_by_key(|&p| g.position(p))?;
        if members.len() == MAX_NODES || !expandable(g, next, &members) {
            return None;
        }
        members.push(next);
    }
}

/// Values that the members read and do not compute, numbers left out.
fn frontier(g: &Graph, members: &[NodeId]) -> Vec<ValueId> {
    let mut out: Vec<ValueId> = Vec::new();
    for v in members.iter().flat_map(|&m| g.node(m).inputs().iter().flatten().copied()) {
        let inside = g.producer(v).is_some_and(|p| members.contains(&p));
        if !inside && !is_number(g, v) && !out.contains(&v) {
            out.push(v);
        }
    }
    out
}

/// Whether a constant is one number that never widens a shape.
fn is_number(g: &Graph, v: ValueId) -> bool {
    g.constant(v).is_some_and(|t| t.len() == 1 && t.dtype() == DType::F32)
}

/// Whether a node can be part of an activation: element-wise in f32, and read by the others only.
fn expandable(g: &Graph, n: NodeId, members: &[NodeId]) -> bool {
    let node = g.node(n);
    let &[y] = node.outputs() else { return false };
    let inside = !g.is_result(y) && g.value(y).users().iter().all(|u| members.contains(u));
    let single = |v: &ValueId| g.ty(*v).dtype == DType::F32;
    let formula = g.is_elementwise(n) && single(&y) && node.inputs().iter().flatten().all(single);
    inside && formula && node.region() == g.node(members[0]).region()
}

/// The members as one formula of `x`.
fn formula(g: &Graph, members: &[NodeId], x: ValueId, y: ValueId) -> Option<ScalarFn> {
    let mut order = members.to_vec();
    order.sort_by_key(|&m| g.position(m));
    let mut b = ScalarBuilder::new();
    let mut exprs: HashMap<ValueId, Expr> = HashMap::from([(x, b.arg(0, DType::F32))]);
    for m in order {
        let node = g.node(m);
        let mut args = Vec::new();
        for v in node.inputs() {
            args.push(match *v {
                None => None,
                Some(v) => Some(match exprs.get(&v) {
                    Some(&e) => e,
                    None => b.constant(crate::pattern::scalar(g, v)?, DType::F32),
                }),
            });
        }
        let facts = g.facts(m);
        let e = (node.op.scalar?)(&facts.of(node), &mut b, &args).ok()?;
        exprs.insert(*node.outputs().first()?, e);
    }
    let e = *exprs.get(&y)?;
    (b.dtype(e) == DType::F32).then(|| b.finish(e))
}

/// A known activation and its values on the grid.
struct Known {
    op: &'static OpDecl,
    attrs: Attrs,
    values: Vec<f64>,
}

/// From -24 to 24, densely around 0. Beyond, naive spellings of softplus and its kin overflow on the way.
fn grid() -> &'static Tensor {
    static GRID: OnceLock<Tensor> = OnceLock::new();
    GRID.get_or_init(|| {
        let mut points: Vec<f32> = (-80..=80).map(|i| i as f32 * 0.0937).collect();
        points.extend([0.0, -0.0, 1e-6, -1e-6, 3.0, -3.0, 6.0, 6.01, -6.01, 10.3, -10.3, 17.0, -17.0, 24.0, -24.0]);
        Tensor::new(vec![points.len()], points)
    })
}

fn values(f: &ScalarFn) -> Option<Vec<f64>> {
    let x = grid();
    let y = mnnc_ops::lanes::map(f, &[Some(x.clone())], x.dims()).ok()?;
    Some(y.to_f64s())
}

fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let none = Attrs::new;
        let sixth = || Attrs::new().with("alpha", 1.0f32 / 6.0).with("beta", 0.5f32);
        let table: [(&str, Attrs); 13] = [
            ("relu", none()),
            ("sigmoid", none()),
            ("tanh", none()),
            ("hard_sigmoid", sixth()),
            ("hard_sigmoid", none()),
            ("hard_swish", none()),
            ("swish", none()),
            ("swish", Attrs::new().with("alpha", 1.702f32)),
            ("mish", none()),
            ("gelu", none()),
            ("gelu", Attrs::new().with("approximate", "tanh")),
            ("softplus", none()),
            ("softsign", none()),
        ];
        table.into_iter().filter_map(|(name, attrs)| entry(op(name)?, attrs)).collect()
    })
}

fn entry(op: &'static OpDecl, attrs: Attrs) -> Option<Known> {
    let ty = Some(grid().ty());
    let types = std::slice::from_ref(&ty);
    let ctx = OpCtx { op, attrs: &attrs, inputs: types, consts: &[None], regions: &[], num_outputs: 1, outputs: &[] };
    let values = values(&mnnc_ops::scalar_fn(&ctx).ok()?)?;
    Some(Known { op, attrs, values })
}

fn recognise(f: &ScalarFn) -> Option<&'static Known> {
    let y = values(f)?;
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * b.abs().max(1.0);
    known().iter().find(|k| y.iter().zip(&k.values).all(close))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_activations_are_told_apart() {
        assert_eq!(known().len(), 13, "an op of the table is not declared");
        for (i, a) in known().iter().enumerate() {
            for b in &known()[i + 1..] {
                let gap = a.values.iter().zip(&b.values).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                assert!(gap > 20.0 * TOLERANCE, "{:?} {:?} and {:?} {:?}: {gap}", a.op, a.attrs, b.op, b.attrs);
            }
        }
    }
}
