//! What an op's functions are told of a node: types, constants, bodies.

use super::{Graph, Node, NodeId, RegionId, ValueId};
use crate::attr::Attrs;
use crate::decl::{OpCtx, OpDecl, RegionSig};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// Owned inputs of an [`OpCtx`]; keep it alive while the context is in use.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    inputs: Vec<Option<TensorType>>,
    consts: Vec<Option<Tensor>>,
    regions: Vec<RegionSig>,
    outputs: Vec<TensorType>,
}

impl Graph {
    /// The facts about a node that its op's functions read; see [`NodeFacts::ctx`].
    pub fn facts(&self, n: NodeId) -> NodeFacts {
        let node = &self.nodes[n];
        let mut facts = self.input_facts(&node.inputs, &node.regions);
        facts.outputs = node.outputs.iter().map(|&v| self.values[v].ty.clone()).collect();
        facts
    }
    pub(super) fn input_facts(&self, inputs: &[Option<ValueId>], regions: &[RegionId]) -> NodeFacts {
        let types = |vs: &[ValueId]| vs.iter().map(|&v| self.values[v].ty.clone()).collect();
        let sig = |&r: &RegionId| RegionSig {
            params: types(&self.regions[r].params),
            results: types(&self.regions[r].results),
        };
        NodeFacts {
            regions: regions.iter().map(sig).collect(),
            inputs: inputs.iter().map(|v| v.map(|v| self.values[v].ty.clone())).collect(),
            consts: inputs.iter().map(|v| v.and_then(|v| self.constant(v).cloned())).collect(),
            outputs: Vec::new(),
        }
    }
}

impl NodeFacts {
    /// The context that an op's functions take.
    pub fn ctx<'a>(&'a self, op: &'static OpDecl, attrs: &'a Attrs, num_outputs: usize) -> OpCtx<'a> {
        OpCtx {
            op,
            attrs,
            inputs: &self.inputs,
            consts: &self.consts,
            regions: &self.regions,
            num_outputs,
            outputs: &self.outputs,
        }
    }
    /// The context of the node that the facts are of.
    pub fn of<'a>(&'a self, node: &'a Node) -> OpCtx<'a> {
        self.ctx(node.op, &node.attrs, node.outputs().len())
    }
}
