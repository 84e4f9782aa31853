//! Why a graph cannot be lowered, for people.

use mnnc_ir::{Graph, NodeId, OpError, ValueId};
use std::fmt;

/// A node that cannot be lowered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeError {
    /// The node; `None` for the model's own inputs and outputs.
    pub node: Option<NodeId>,
    /// Name of the node.
    pub name: String,
    /// Name of its op.
    pub op: &'static str,
    /// Types of its inputs.
    pub shapes: String,
    /// What is wrong.
    pub error: OpError,
}

impl NodeError {
    pub(super) fn new(graph: &Graph, n: NodeId, error: OpError) -> NodeError {
        let node = graph.node(n);
        let shapes: Vec<String> =
            node.inputs().iter().map(|v| v.map_or_else(|| "-".to_owned(), |v| graph.ty(v).show(&graph.syms))).collect();
        NodeError { node: Some(n), name: node.name.clone(), op: node.op.name, shapes: shapes.join(", "), error }
    }
    pub(super) fn of_model(graph: &Graph, error: OpError) -> NodeError {
        NodeError { node: None, name: graph.name.clone(), op: "model", shapes: String::new(), error }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} ({} on {}): {}", self.name, self.op, self.shapes, self.error)
    }
}

impl std::error::Error for NodeError {}

/// Checks that the node's types are known in full.
pub(super) fn check_static(graph: &Graph, n: NodeId) -> Result<(), OpError> {
    let node = graph.node(n);
    for &v in node.inputs().iter().flatten().chain(node.outputs()) {
        known(graph, v)?;
    }
    Ok(())
}

fn known(graph: &Graph, v: ValueId) -> Result<(), OpError> {
    let value = graph.value(v);
    if value.ty.static_dims().is_none() {
        return Err(OpError::unsupported(format!(
            "{} has the dynamic shape {}; fix the model's inputs with --shape NAME=1x3x224x224",
            value.name,
            value.ty.show(&graph.syms)
        )));
    }
    if value.ty.num_bytes().is_none_or(|b| b > isize::MAX as usize) {
        return Err(super::forms::too_large());
    }
    Ok(())
}

pub(super) fn interface_errors(graph: &Graph) -> Vec<NodeError> {
    let values = graph.inputs().iter().chain(graph.outputs());
    values.filter_map(|&v| known(graph, v).err()).map(|e| NodeError::of_model(graph, e)).collect()
}
