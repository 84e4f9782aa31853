//! The graph level: SSA values over tensors, nodes in regions.
//!
//! # Invariants (checked by [`crate::verify`])
//! * A value has exactly one definition: graph input, constant, node output or region parameter.
//! * Nodes of a region stand in topological order: a use follows its definition.
//! * A node reads values of its own region or of an enclosing one, never of a sibling.
//! * Value names are unique; the names of graph inputs and outputs never change.
//! * Output types are those that the op's `infer` gives for the inputs, or refinements of them.
//! * Ids are never reused; an erased node is in no region and its outputs have no users.

mod build;
mod change;
mod facts;
mod read;
mod spec;

pub use facts::NodeFacts;
pub use spec::NodeSpec;

use crate::attr::Attrs;
use crate::constant::{ConstId, ConstPool};
use crate::decl::OpDecl;
use crate::dim::SymTable;
use crate::entity::PrimaryMap;
use crate::types::TensorType;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};

crate::entity_id! {
    /// A value.
    ValueId, "v"
}
crate::entity_id! {
    /// A node.
    NodeId, "n"
}
crate::entity_id! {
    /// A region: the main one, or a body of a node.
    RegionId, "r"
}

/// Where a value comes from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Def {
    /// The graph's input number `.0`.
    Input(usize),
    /// A constant.
    Const(ConstId),
    /// Output `.1` of a node.
    Node(NodeId, usize),
    /// Parameter `.1` of a region.
    Param(RegionId, usize),
}

/// A tensor value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique name; the model's own wherever it has one.
    pub name: String,
    /// Type.
    pub ty: TensorType,
    /// Definition.
    pub def: Def,
    /// Nodes that read the value, one entry for each reading operand. Region results are not counted.
    users: SmallVec<[NodeId; 2]>,
    /// How many region results (graph outputs included) are this value.
    result_uses: u32,
}

impl Value {
    /// Nodes that read this value, once for each operand that does.
    pub fn users(&self) -> &[NodeId] {
        &self.users
    }
}

/// An application of an op.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op.
    pub op: &'static OpDecl,
    /// The model's name for the node, or one derived from its output.
    pub name: String,
    /// Explicit attributes.
    pub attrs: Attrs,
    inputs: SmallVec<[Option<ValueId>; 4]>,
    outputs: SmallVec<[ValueId; 2]>,
    /// Bodies, for `if`, `loop`, `fused`.
    pub regions: SmallVec<[RegionId; 1]>,
    region: Option<RegionId>,
    /// Where the node stood in its region when last placed: the start of the search in [`Graph::position`].
    hint: u32,
}

impl Node {
    /// Inputs; absent optional ones are `None`.
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }
    /// Input `i` if it is there.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }
    /// Outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }
    /// The region that the node stands in; `None` once erased.
    pub fn region(&self) -> Option<RegionId> {
        self.region
    }
    /// Whether this is an application of `op`.
    pub fn is(&self, op: &'static OpDecl) -> bool {
        self.op == op
    }
}

/// A list of nodes with parameters and results.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Parameters (none for the main region: its parameters are the graph inputs).
    pub params: Vec<ValueId>,
    /// Nodes in order of execution.
    nodes: Vec<NodeId>,
    /// What the region yields.
    results: Vec<ValueId>,
    /// The node whose body this is; none for the main region.
    owner: Option<NodeId>,
}

impl Region {
    /// The node whose body this is; none for the main region, or before the node is made.
    pub fn owner(&self) -> Option<NodeId> {
        self.owner
    }
    /// Nodes in order of execution.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }
    /// What the region yields.
    pub fn results(&self) -> &[ValueId] {
        &self.results
    }
}

/// A whole model.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Key and value pairs that the model carries for people.
    pub metadata: BTreeMap<String, String>,
    /// Symbolic sizes.
    pub syms: SymTable,
    consts: ConstPool,
    values: PrimaryMap<ValueId, Value>,
    nodes: PrimaryMap<NodeId, Node>,
    regions: PrimaryMap<RegionId, Region>,
    inputs: Vec<ValueId>,
    main: RegionId,
    names: HashMap<String, ValueId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Graph {
        let mut regions = PrimaryMap::new();
        let main = regions.push(Region::default());
        Graph {
            name: name.into(),
            metadata: BTreeMap::new(),
            syms: SymTable::default(),
            consts: ConstPool::default(),
            values: PrimaryMap::new(),
            nodes: PrimaryMap::new(),
            regions,
            inputs: Vec::new(),
            main,
            names: HashMap::new(),
        }
    }
}
