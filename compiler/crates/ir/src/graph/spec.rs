//! The description of a node that is not in the graph yet.

use super::{RegionId, ValueId};
use crate::attr::Attrs;
use crate::decl::OpDecl;

/// What [`Graph::add_node`](super::Graph::add_node) needs.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The op.
    pub op: &'static OpDecl,
    /// Name of the node; empty takes that of the first output.
    pub name: String,
    /// Attributes.
    pub attrs: Attrs,
    /// Inputs.
    pub inputs: Vec<Option<ValueId>>,
    /// Names of the outputs, one each; an empty name gets a fresh one. Their number is the number of outputs.
    pub outputs: Vec<String>,
    /// Bodies.
    pub regions: Vec<RegionId>,
}

impl NodeSpec {
    /// A node with one output and present inputs.
    pub fn new(op: &'static OpDecl, inputs: impl IntoIterator<Item = ValueId>) -> NodeSpec {
        NodeSpec {
            op,
            name: String::new(),
            attrs: Attrs::new(),
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: vec![String::new()],
            regions: Vec::new(),
        }
    }
    /// Sets the attributes.
    pub fn attrs(mut self, attrs: Attrs) -> NodeSpec {
        self.attrs = attrs;
        self
    }
    /// Sets the node's name.
    pub fn named(mut self, name: impl Into<String>) -> NodeSpec {
        self.name = name.into();
        self
    }
    /// Sets the outputs' names, and by it their number.
    pub fn outputs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> NodeSpec {
        self.outputs = names.into_iter().map(Into::into).collect();
        self
    }
    /// Sets the bodies.
    pub fn regions(mut self, regions: impl IntoIterator<Item = RegionId>) -> NodeSpec {
        self.regions = regions.into_iter().collect();
        self
    }
}
