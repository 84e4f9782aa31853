//! Scales that a file leaves out: MNN hands those that it states on through ops that keep ranges (`Pipeline::encode`).
//!
//! A tensor without a scale gets that of the only tensor that an op made it from, or of the only one that an op makes of it. The two are one scale then, which
//! is more than two equal ones: a ReLU works on integers only between tensors of one scale.

use super::activation::Scale;
use mnnc_schema::mnn::{Net, OpType};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// From a tensor to those that may take its scale.
type Edges = BTreeMap<usize, BTreeSet<usize>>;

/// Rounds of handing on.
const ROUNDS: usize = 3;

/// Whether an op moves the bytes of one tensor as they are.
pub(super) fn moves(op: OpType) -> bool {
    matches!(
        op,
        OpType::ConvertTensor
            | OpType::Flatten
            | OpType::Permute
            | OpType::Reshape
            | OpType::Slice
            | OpType::StridedSlice
            | OpType::Squeeze
            | OpType::Unsqueeze
            | OpType::DepthToSpace
            | OpType::SpaceToDepth
    )
}

/// Operands through which an op hands scales on, if it does.
fn operands(op: OpType) -> Option<usize> {
    match op {
        op if moves(op) => Some(1),
        OpType::ReLU
        | OpType::ReLU6
        | OpType::Pooling
        | OpType::Pooling3D
        | OpType::Interp
        | OpType::CropAndResize
        | OpType::ROIPooling
        | OpType::Transpose
        | OpType::Padding => Some(1),
        OpType::Concat | OpType::Pack => Some(usize::MAX),
        _ => None,
    }
}

/// Completes the scales of a file, by tensor.
pub(super) fn propagate(net: &Net, of: &mut HashMap<usize, Scale>) {
    if of.is_empty() {
        return;
    }
    let (mut forward, mut backward) = edges(net, of);
    let first = starts(&mut forward, &backward);
    let last = starts(&mut backward, &forward);
    for _ in 0..ROUNDS {
        if !hand_on(&forward, &first, of) && !hand_on(&backward, &last, of) {
            break;
        }
    }
}

fn edges(net: &Net, of: &HashMap<usize, Scale>) -> (Edges, Edges) {
    let (mut forward, mut backward) = (Edges::new(), Edges::new());
    for op in net.oplists().into_iter().flatten() {
        let Some(most) = operands(op.type_()) else { continue };
        let tensors = |list: Option<flatbuffers::Vector<i32>>, most: usize| -> Vec<usize> {
            list.into_iter().flatten().take(most).filter_map(|i| usize::try_from(i).ok()).collect()
        };
        let inputs = tensors(op.input_indexes(), most);
        let outputs = tensors(op.output_indexes(), usize::MAX);
        if let [x] = inputs[..] {
            let bare = outputs.iter().filter(|y| !of.contains_key(y));
            bare.for_each(|&y| _ = forward.entry(x).or_default().insert(y));
        }
        if let [y] = outputs[..] {
            let bare = inputs.iter().filter(|x| !of.contains_key(x));
            bare.for_each(|&x| _ = backward.entry(y).or_default().insert(x));
        }
    }
    (forward, backward)
}

/// Where handing on begins. What is one of several on the other way hands nothing on.
fn starts(edges: &mut Edges, other: &Edges) -> Vec<usize> {
    for several in other.values().filter(|to| to.len() > 1) {
        several.iter().for_each(|t| _ = edges.remove(t));
    }
    let reached: BTreeSet<usize> = edges.values().flatten().copied().collect();
    edges.keys().copied().filter(|t| !reached.contains(t)).collect()
}

/// Whether any tensor got another scale.
fn hand_on(edges: &Edges, starts: &[usize], of: &mut HashMap<usize, Scale>) -> bool {
    let mut changed = false;
    for &start in starts {
        let (mut open, mut seen) = (vec![start], HashSet::new());
        while let Some(t) = open.pop() {
            let (Some(&scale), Some(to)) = (of.get(&t), edges.get(&t)) else { continue };
            for &x in to {
                changed |= of.insert(x, scale).is_none_or(|old| old.origin != scale.origin);
                if seen.insert(x) {
                    open.push(x);
                }
            }
        }
    }
    changed
}
