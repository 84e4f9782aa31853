//! Compressed constants that nobody needs as numbers in memory: kernels expand them in registers, so the node that would make the
//! numbers has no step.

use super::Job;
use crate::compressed;
use mnnc_ir::{Graph, NodeId, ValueId};
use std::collections::HashMap;

/// Families whose second operand may be a compressed constant.
const READERS: &[&str] = &["conv", "conv_transpose", "linear"];

/// For every job whether its result is a compressed constant that only such families read, as their weights.
pub(super) fn read_packed(graph: &Graph, jobs: &[Job]) -> Vec<bool> {
    let by_node: HashMap<NodeId, &Job> = jobs.iter().map(|j| (j.view.node, j)).collect();
    let expands = |n: &NodeId, v: ValueId| {
        by_node.get(n).is_some_and(|job| {
            let sides = job.view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
            let elsewhere = job.view.inputs.iter().enumerate().any(|(i, x)| i != 1 && *x == Some(v));
            let weights = job.view.inputs.get(1) == Some(&Some(v)) && !elsewhere && !sides.contains(&v);
            weights && job.family.is_some_and(|f| READERS.contains(&f.name()))
        })
    };
    let packed = |job: &Job| match job.view.outputs[..] {
        [v] if compressed::is_compressed(graph, v) && !graph.outputs().contains(&v) => {
            graph.value(v).users().iter().all(|n| expands(n, v))
        }
        _ => false,
    };
    jobs.iter().map(packed).collect()
}
