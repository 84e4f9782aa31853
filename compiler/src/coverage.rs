//! Which op compiles how: found out by asking, not by a list.

use mnnc_ir::decl::Sample;
use mnnc_ir::{Graph, NodeSpec, OpDecl, ValueId};
use mnnc_kernel::families;
use mnnc_vector::Target;

/// How an op is computed in native code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only the reference evaluator has it; it does not compile yet.
    Reference,
    /// Through a loop nest made from its declaration.
    Generic,
    /// By a family of kernels made for it, at least for some of its uses.
    Tuned,
}

impl Level {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Reference => "reference",
            Level::Generic => "generic",
            Level::Tuned => "tuned",
        }
    }
}

/// Seeds of the samples that are tried.
const SEEDS: u64 = 12;

/// How `op` compiles for `target`: tuned if a kernel family takes one of the op's sample uses.
pub fn level(op: &'static OpDecl, target: &Target) -> Level {
    if samples(op).any(|graph| is_taken(&graph, target)) {
        return Level::Tuned;
    }
    // Reshapes and their kin are no work at all.
    let has_loops = op.compute.is_some() || op.is_elementwise() || op.traits.contains(mnnc_ir::Traits::VIEW);
    if has_loops { Level::Generic } else { Level::Reference }
}

/// Graphs of one node each.
fn samples(op: &'static OpDecl) -> impl Iterator<Item = Graph> {
    (0..SEEDS).flat_map(move |seed| mnnc_ops::samples(op, seed)).filter_map(move |sample| single(op, sample))
}

fn single(op: &'static OpDecl, sample: Sample) -> Option<Graph> {
    let mut graph = Graph::new(op.name);
    let inputs = sample.inputs.into_iter().enumerate().map(|(i, tensor)| {
        tensor.map(|tensor| {
            let constant = sample.constant.get(i).copied().unwrap_or(false);
            let name = format!("x{i}");
            if constant { graph.add_const(&name, tensor) } else { graph.add_input(&name, tensor.ty()) }
        })
    });
    let inputs: Vec<Option<ValueId>> = inputs.collect();
    let spec = NodeSpec::new(op, []).attrs(sample.attrs);
    let spec = spec.outputs((0..sample.num_outputs).map(|i| format!("y{i}")));
    let node = graph.add_node(NodeSpec { inputs, ..spec }).ok()?;
    graph.set_results(graph.main(), graph.node(node).outputs().to_vec());
    Some(graph)
}

fn is_taken(graph: &Graph, target: &Target) -> bool {
    let planner = mnnc_kernel::Planner::new(*target);
    graph.schedule().iter().any(|&n| {
        mnnc_kernel::view::view(graph, &planner, n)
            .is_ok_and(|view| families::ALL.iter().any(|family| family.take(&view, target).is_some()))
    })
}

#[cfg(test)]
mod tests {
    use mnnc_vector::Target;

    use super::{Level, level};

    #[test]
    fn convolution_is_tuned_and_control_flow_is_not() {
        let of = |name| level(mnnc_ops::lookup(name).unwrap(), &Target::AVX512);
        assert_eq!(of("conv"), Level::Tuned);
        assert_eq!(of("loop"), Level::Reference);
    }
}
