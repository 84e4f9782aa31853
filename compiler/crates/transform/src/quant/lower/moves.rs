//! What only moves or picks elements works on the integers: the step from integers to reals, and that from unsigned to signed
//! integers, sink below it.

use super::real::{Real, Steps, real};
use super::shift::{SHIFT, signed, source};
use crate::pass::PassCx;
use crate::pattern::{output, string};
use crate::rules::Rule;
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

pub const RULES: &[Rule] = &[
    Rule { name: "move integers", roots: MOVES, rewrite: of_reals },
    Rule { name: "move integers", roots: MOVES, rewrite: of_signed },
    Rule { name: "concat integers", roots: &["concat"], rewrite: concat_of_reals },
    Rule { name: "concat integers", roots: &["concat"], rewrite: concat_of_signed },
    Rule { name: "quantise before concat", roots: &["quantize_linear"], rewrite: before_concat },
];

/// Ops whose results are elements of their first operand, in whatever order, or the greatest of some.
const MOVES: &[&str] = &[
    "reshape",
    "squeeze",
    "unsqueeze",
    "flatten",
    "transpose",
    "slice",
    "split",
    "expand",
    "tile",
    "gather",
    "depth_to_space",
    "space_to_depth",
    "pad",
    "max_pool",
    "global_max_pool",
    "resize",
];

/// Whether a node only moves elements, its padding left out.
fn moves(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    match node.op.name {
        "max_pool" => node.outputs().len() == 1,
        "resize" => {
            // A value for what lies outside would have to be quantised, too.
            string(node, "mode").as_deref() == Some("nearest")
                && string(node, "coordinate_transformation_mode").as_deref() != Some("tf_crop_and_resize")
        }
        _ => true,
    }
}

/// A copy of node `n` on another first operand, whose padding, if it pads, is `fill`. Returns its outputs.
fn copy(p: &mut Patch, n: NodeId, x: ValueId, fill: Option<Tensor>) -> Option<Vec<ValueId>> {
    let node = p.graph().node(n);
    let mut inputs = node.inputs().to_vec();
    *inputs.first_mut()? = Some(x);
    if let Some(fill) = fill {
        inputs.resize(inputs.len().max(3), None);
        inputs[2] = Some(p.constant("fill", fill));
    }
    let outputs = vec![String::new(); node.outputs().len()];
    let spec = NodeSpec { inputs, outputs, ..NodeSpec::new(node.op, []) };
    p.nodes(spec.attrs(node.attrs.clone()).named(node.name.clone())).ok()
}

/// What a node pads with; 0 where it does not say.
fn padding(g: &Graph, n: NodeId) -> Option<Option<f64>> {
    let node = g.node(n);
    if node.op.name != "pad" || string(node, "mode").as_deref() != Some("constant") {
        return Some(None);
    }
    match node.input(2) {
        None => Some(Some(0.0)),
        Some(v) => crate::pattern::scalar(g, v).map(Some),
    }
}

fn byte(value: i64, d: DType) -> Option<Tensor> {
    Some(match d {
        DType::I8 => Tensor::scalar(i8::try_from(value).ok()?),
        DType::U8 => Tensor::scalar(u8::try_from(value).ok()?),
        _ => return None,
    })
}

/// move(reals of q) = reals of move(q)
fn of_reals(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let Real { stored, steps } = real(g, g.node(n).input(0)?).filter(|_| moves(g, n))?;
    let fill = match padding(g, n)? {
        None => None,
        // Only what some integer stands for.
        Some(x) => {
            let q = (x / f64::from(steps.scale)).round() as i64;
            if q as f32 * steps.scale != x as f32 {
                return None;
            }
            Some(byte(q.checked_add(steps.zero)?, steps.stored)?)
        }
    };
    let mut p = Patch::at(g, n);
    let moved = copy(&mut p, n, stored, fill)?;
    for (&y, q) in g.node(n).outputs().iter().zip(moved) {
        let z = steps.dequantise(&mut p, q)?;
        p.replace(y, z);
    }
    Some(p.finish())
}

/// move(signed(u)) = signed(move(u)): the shift keeps the order, so the greatest stays the greatest
fn of_signed(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let u = source(g, g.node(n).input(0)?).filter(|_| moves(g, n))?;
    let fill = match padding(g, n)? {
        None => None,
        Some(x) => Some(byte(x as i64 + SHIFT, DType::U8)?),
    };
    let mut p = Patch::at(g, n);
    let moved = copy(&mut p, n, u, fill)?;
    for (&y, q) in g.node(n).outputs().iter().zip(moved) {
        let z = signed(&mut p, q)?;
        p.replace(y, z);
    }
    Some(p.finish())
}

fn joined(p: &mut Patch, n: NodeId, parts: Vec<ValueId>) -> Option<ValueId> {
    let node = p.graph().node(n);
    p.node(NodeSpec::new(node.op, parts).attrs(node.attrs.clone()).named(node.name.clone())).ok()
}

/// concat(reals of p, reals of q) = reals of concat(p, q), where both have the same steps
fn concat_of_reals(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let parts: Vec<Real> = g.node(n).inputs().iter().map(|v| real(g, (*v)?)).collect::<Option<_>>()?;
    let steps = parts.first()?.steps;
    if parts.iter().any(|part| part.steps != steps) {
        return None;
    }
    let mut p = Patch::at(g, n);
    let q = joined(&mut p, n, parts.iter().map(|part| part.stored).collect())?;
    let y = steps.dequantise(&mut p, q)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// concat(signed(u), signed(v)) = signed(concat(u, v))
fn concat_of_signed(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let parts: Vec<ValueId> = g.node(n).inputs().iter().map(|v| source(g, (*v)?)).collect::<Option<_>>()?;
    let mut p = Patch::at(g, n);
    let u = joined(&mut p, n, parts)?;
    let y = signed(&mut p, u)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// quantised(concat(x, y)) = concat(quantised(x), quantised(y)): parts that are quantised already, and alike, are only moved
fn before_concat(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let x = g.node(n).input(0)?;
    let concat = crate::pattern::sole(g, x, "concat")?;
    let steps = Steps::of(g, n)?;
    let mut p = Patch::at(g, n);
    let mut parts = Vec::new();
    for v in g.node(concat).inputs() {
        parts.push(steps.quantise(&mut p, (*v)?)?);
    }
    let y = joined(&mut p, concat, parts)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}
