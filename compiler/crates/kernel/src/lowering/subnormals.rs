//! Which steps may flush subnormal numbers to zero.
//!
//! A subnormal (below 2^-126) costs x86 cores some hundred cycles where it meets arithmetic; a network whose activations
//! fade runs several times slower for values that cannot matter. Flushing changes a result by less than 2^-126, which is
//! nothing unless somebody takes its logarithm, divides by it, or asks whether it is zero. So a step flushes if it is arithmetic that keeps
//! small differences small, and so is everything that reads its results. Where the results are bytes there is no difference: 2^-126, times
//! what a few moderate factors make of it, moves no number across the middle between two bytes, for that middle is a number of 24 bits.

use super::Job;
use crate::schedule::Subnormals;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_ir::{DType, Graph, NodeId};
use std::collections::HashMap;

/// Anchors whose results move no more than their operands, weights aside.
const LINEAR: &[&str] = &[
    "conv",
    "conv_transpose",
    "matmul",
    "gemm",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "global_max_pool",
    "resize",
];

/// Anchors of integers: what stands behind them is arithmetic in `f32`.
const INTEGER: &[&str] = &["conv_integer", "conv_transpose_integer", "matmul_integer"];

/// Further anchors that bound what a small operand can do.
const BOUNDED: &[&str] = &[
    "softmax",
    "layer_normalization",
    "rms_normalization",
    "batch_normalization",
    "group_normalization",
    "instance_normalization",
    "reduce_mean",
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "arg_max",
    "attention",
    "multi_head_attention",
];

/// Anchors that only move elements: their readers decide.
const MOVES: &[&str] = &[
    "concat",
    "reshape",
    "flatten",
    "squeeze",
    "unsqueeze",
    "transpose",
    "slice",
    "split",
    "pad",
    "expand",
    "identity",
    "depth_to_space",
    "space_to_depth",
];

/// How far moves are followed.
const DEPTH: usize = 8;

/// For every job what its steps do.
pub(super) fn of(graph: &Graph, jobs: &[Job]) -> Vec<Subnormals> {
    let by_node: HashMap<NodeId, &Job> = jobs.iter().map(|j| (j.view.node, j)).collect();
    let flush = |job: &Job| {
        let known = |name| LINEAR.contains(&name) || INTEGER.contains(&name);
        let arithmetic = job.view.anchor.is_none_or(|a| known(a.op.name)) && keeps_small(job);
        let bytes = is_of(graph, job, &[DType::U8, DType::I8]) && has_moderate_factors(graph, job);
        arithmetic && (bytes || is_of(graph, job, &[DType::F32]) && readers_accept(graph, job, &by_node, DEPTH))
    };
    jobs.iter().map(|j| if flush(j) { Subnormals::Flush } else { Subnormals::Keep }).collect()
}

fn is_of(graph: &Graph, job: &Job, types: &[DType]) -> bool {
    job.view.outputs.iter().all(|&v| types.contains(&graph.ty(v).dtype))
}

/// Whether no constant that the formula multiplies by is large.
fn has_moderate_factors(graph: &Graph, job: &Job) -> bool {
    const LARGEST: f64 = 1e6;
    let Some(e) = &job.view.epilogue else { return true };
    let first = usize::from(job.view.anchor.is_some());
    let moderate = |x: &Expr| match e.f.node(*x) {
        ScalarNode::Const(c) => c.abs() <= LARGEST,
        ScalarNode::Arg(i) => {
            let side = i.checked_sub(first).and_then(|i| e.sides.get(i));
            let constant = side.and_then(|&v| graph.constant(v));
            constant.is_none_or(|t| t.to_f64s().iter().all(|c| c.abs() <= LARGEST))
        }
        _ => true,
    };
    e.f.nodes.iter().all(|(node, _)| match node {
        ScalarNode::Binary(Binary::Mul, a, b) => moderate(a) && moderate(b),
        _ => true,
    })
}

fn readers_accept(graph: &Graph, job: &Job, jobs: &HashMap<NodeId, &Job>, depth: usize) -> bool {
    let mut readers = job.view.outputs.iter().flat_map(|&v| graph.value(v).users());
    readers.all(|n| jobs.get(n).is_some_and(|reader| accepts(graph, reader, jobs, depth)))
}

fn accepts(graph: &Graph, job: &Job, jobs: &HashMap<NodeId, &Job>, depth: usize) -> bool {
    let anchor = job.view.anchor.map(|a| a.op.name);
    match anchor {
        Some(name) if MOVES.contains(&name) => depth > 0 && readers_accept(graph, job, jobs, depth - 1),
        Some(name) => (LINEAR.contains(&name) || BOUNDED.contains(&name)) && keeps_small(job),
        None => keeps_small(job),
    }
}

/// Whether the formula behind the anchor keeps small differences small.
fn keeps_small(job: &Job) -> bool {
    job.view.epilogue.as_ref().is_none_or(|e| (0..e.f.nodes.len()).all(|i| node_keeps_small(&e.f, i)))
}

fn node_keeps_small(f: &ScalarFn, i: usize) -> bool {
    match &f.nodes[i].0 {
        ScalarNode::Unary(u, _) => !matches!(u, Unary::Log | Unary::Sqrt | Unary::Sign | Unary::Not),
        ScalarNode::Binary(Binary::Div, _, by) => is_far_from_zero(f, *by),
        ScalarNode::Binary(op, ..) => {
            matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Min | Binary::Max)
        }
        ScalarNode::Compare(rel, ..) => !matches!(rel, Cmp::Eq | Cmp::Ne),
        ScalarNode::Arg(_) | ScalarNode::Const(_) | ScalarNode::Select(..) | ScalarNode::Cast(_) => true,
        ScalarNode::Axis(_) | ScalarNode::Load { .. } => false,
    }
}

/// A constant, or `1 + exp(…)` and its like.
fn is_far_from_zero(f: &ScalarFn, e: Expr) -> bool {
    const FAR: f64 = 1e-6;
    let constant = |e: Expr| matches!(f.node(e), ScalarNode::Const(c) if *c >= FAR);
    let positive = |e: Expr| matches!(f.node(e), ScalarNode::Unary(Unary::Exp | Unary::Abs, _));
    match f.node(e) {
        ScalarNode::Const(c) => c.abs() >= FAR,
        ScalarNode::Binary(Binary::Add, a, b) => (constant(*a) && positive(*b)) || (positive(*a) && constant(*b)),
        _ => false,
    }
}
