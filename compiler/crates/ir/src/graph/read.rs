//! Questions to a graph.

use super::{Def, Graph, Node, NodeId, Region, RegionId, Value, ValueId};
use crate::constant::ConstPool;
use crate::decl::Traits;
use crate::tensor::Tensor;
use crate::types::TensorType;

impl Graph {
    /// A value.
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v]
    }
    /// A value's type.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.values[v].ty
    }
    /// A node.
    pub fn node(&self, n: NodeId) -> &Node {
        &self.nodes[n]
    }
    /// A region.
    pub fn region(&self, r: RegionId) -> &Region {
        &self.regions[r]
    }
    /// The main region.
    pub fn main(&self) -> RegionId {
        self.main
    }
    /// Graph inputs in the model's order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }
    /// Graph outputs in the model's order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.regions[self.main].results
    }
    /// Nodes of the main region in order of execution.
    pub fn schedule(&self) -> &[NodeId] {
        &self.regions[self.main].nodes
    }
    /// Every value ever made, erased ones included.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter()
    }
    /// Every node ever made; erased ones have no region.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter()
    }
    /// Every region ever made.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        self.regions.iter()
    }
    /// The pool of constants.
    pub fn consts(&self) -> &ConstPool {
        &self.consts
    }
    /// The constant behind a value, if it is one.
    pub fn constant(&self, v: ValueId) -> Option<&Tensor> {
        match self.values[v].def {
            Def::Const(c) => Some(&self.consts.get(c).tensor),
            _ => None,
        }
    }
    /// The node that computes a value, if one does.
    pub fn producer(&self, v: ValueId) -> Option<NodeId> {
        match self.values[v].def {
            Def::Node(n, _) => Some(n),
            _ => None,
        }
    }
    /// The value of this name.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }
    /// Whether this is an output of the graph.
    pub fn is_output(&self, v: ValueId) -> bool {
        self.is_result(v) && self.outputs().contains(&v)
    }
    /// The only node that reads the value, if it reads it once and no region yields it.
    pub fn single_user(&self, v: ValueId) -> Option<NodeId> {
        match (self.values[v].users.as_slice(), self.values[v].result_uses) {
            ([n], 0) => Some(*n),
            _ => None,
        }
    }
    /// The node that computes `v`, if it is an application of the op called `op`.
    pub fn producer_of(&self, v: ValueId, op: &str) -> Option<NodeId> {
        self.producer(v).filter(|&n| self.nodes[n].op.name == op)
    }
    /// Whether anything reads the value or yields it.
    pub fn is_used(&self, v: ValueId) -> bool {
        self.use_count(v) > 0
    }
    /// The region that a value belongs to: that of its node or parameter; the main one for inputs and constants.
    /// `None` if its node was erased.
    pub fn home(&self, v: ValueId) -> Option<RegionId> {
        match self.values[v].def {
            Def::Input(_) | Def::Const(_) => Some(self.main),
            Def::Node(n, _) => self.nodes[n].region,
            Def::Param(r, _) => Some(r),
        }
    }
    /// The node of region `r` that is `n` or holds `n` in a body, if there is one.
    pub fn ancestor_in(&self, r: RegionId, n: NodeId) -> Option<NodeId> {
        let mut n = n;
        while self.nodes[n].region? != r {
            n = self.regions[self.nodes[n].region?].owner?;
        }
        Some(n)
    }
    /// Number of nodes in the graph, those in bodies included.
    pub fn num_nodes(&self) -> usize {
        self.nodes.iter().filter(|(_, n)| n.region.is_some()).count()
    }
    /// Whether a graph or region yields this value.
    pub fn is_result(&self, v: ValueId) -> bool {
        self.values[v].result_uses > 0
    }
    /// Number of operands and results that read the value.
    pub fn use_count(&self, v: ValueId) -> usize {
        self.values[v].users.len() + self.values[v].result_uses as usize
    }
    /// Whether a node works element by element, with broadcasting.
    pub fn is_elementwise(&self, n: NodeId) -> bool {
        let node = &self.nodes[n];
        let mut others = node.inputs.iter().skip(1).flatten();
        let rank = || node.input(0).map_or(0, |v| self.ty(v).rank());
        let number = |&v: &ValueId| self.ty(v).num_elements() == Some(1) && self.ty(v).rank() <= rank();
        node.op.is_elementwise() && (!node.op.traits.contains(Traits::BY_NUMBERS) || others.all(number))
    }
}
