//! The graph level: SSA values over tensors, nodes in regions.
//!
//! # Invariants (checked by [`crate::verify`])
//! * A value has exactly one definition: graph input, constant, node output or region parameter.
//! * Nodes of a region stand in topological order: a use follows its definition.
//! * A node reads values of its own region or of an enclosing one, never of a sibling.
//! * Value names are unique; the names of graph inputs and outputs never change.
//! * Output types are those that the op's `infer` gives for the inputs, or refinements of them.
//! * Ids are never reused; an erased node is in no region and its outputs have no users.

use crate::attr::Attrs;
use crate::constant::{ConstId, ConstPool};
use crate::decl::{OpCtx, OpDecl, OpError, RegionSig, Traits};
use crate::dim::SymTable;
use crate::entity::PrimaryMap;
use crate::tensor::Tensor;
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

/// What [`Graph::add_node`] needs.
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

/// Owned inputs of an [`OpCtx`]; keep it alive while the context is in use.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    inputs: Vec<Option<TensorType>>,
    consts: Vec<Option<Tensor>>,
    regions: Vec<RegionSig>,
    outputs: Vec<TensorType>,
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

    // --- Reading ---------------------------------------------------------------------------------------------

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
    /// The facts about a node that its op's functions read; see [`NodeFacts::ctx`].
    pub fn facts(&self, n: NodeId) -> NodeFacts {
        let node = &self.nodes[n];
        let mut facts = self.input_facts(&node.inputs, &node.regions);
        facts.outputs = node.outputs.iter().map(|&v| self.values[v].ty.clone()).collect();
        facts
    }
    fn input_facts(&self, inputs: &[Option<ValueId>], regions: &[RegionId]) -> NodeFacts {
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

    // --- Building --------------------------------------------------------------------------------------------

    pub(crate) fn next_ids(&self) -> (ValueId, NodeId, RegionId) {
        (self.values.next_id(), self.nodes.next_id(), self.regions.next_id())
    }
    /// A name like `hint` that no value has yet.
    pub fn fresh_name(&self, hint: &str) -> String {
        let hint = if hint.is_empty() { "v" } else { hint };
        if !self.names.contains_key(hint) {
            return hint.to_string();
        }
        let mut i = self.values.len();
        loop {
            let name = format!("{hint}.{i}");
            if !self.names.contains_key(&name) {
                return name;
            }
            i += 1;
        }
    }
    fn new_value(&mut self, name: &str, ty: TensorType, def: Def) -> ValueId {
        let name = self.fresh_name(name);
        let v = self.values.push(Value { name: name.clone(), ty, def, users: SmallVec::new(), result_uses: 0 });
        self.names.insert(name, v);
        v
    }
    /// Adds a graph input. A name that is taken gets a suffix: check with [`find_value`](Self::find_value) first.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let v = self.new_value(name, ty, Def::Input(self.inputs.len()));
        self.inputs.push(v);
        v
    }
    /// Adds a constant value.
    pub fn add_const(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let ty = tensor.ty();
        let c = self.consts.add(tensor);
        self.new_value(name, ty, Def::Const(c))
    }
    /// Adds a constant to the pool only.
    pub fn intern_const(&mut self, tensor: Tensor) -> ConstId {
        self.consts.add(tensor)
    }
    /// A new, empty region, to be given to a node.
    pub fn new_region(&mut self) -> RegionId {
        self.regions.push(Region::default())
    }
    /// Adds a parameter to a region.
    pub fn add_param(&mut self, r: RegionId, name: &str, ty: TensorType) -> ValueId {
        let i = self.regions[r].params.len();
        let v = self.new_value(name, ty, Def::Param(r, i));
        self.regions[r].params.push(v);
        v
    }
    /// Sets what a region yields; for [`main`](Self::main), the graph's outputs.
    pub fn set_results(&mut self, r: RegionId, results: Vec<ValueId>) {
        for &v in &results {
            self.values[v].result_uses += 1;
        }
        for old in std::mem::replace(&mut self.regions[r].results, results) {
            self.values[old].result_uses -= 1;
        }
    }
    /// Types the outputs of a node that is not in the graph yet. Its regions are complete.
    pub fn infer(&mut self, spec: &NodeSpec) -> Result<Vec<TensorType>, OpError> {
        let facts = self.input_facts(&spec.inputs, &spec.regions);
        let ctx = facts.ctx(spec.op, &spec.attrs, spec.outputs.len());
        ctx.infer(&mut self.syms)
    }
    /// Appends a node to the main region. Output types are inferred.
    pub fn add_node(&mut self, spec: NodeSpec) -> Result<NodeId, OpError> {
        let at = self.regions[self.main].nodes.len();
        self.insert_node(self.main, at, spec)
    }
    /// Appends a node with one output to the main region and returns that output.
    pub fn emit(&mut self, spec: NodeSpec) -> Result<ValueId, OpError> {
        let n = self.add_node(spec)?;
        Ok(self.nodes[n].outputs[0])
    }
    /// Inserts a node before position `at` of a region. Output types are inferred.
    pub fn insert_node(&mut self, r: RegionId, at: usize, spec: NodeSpec) -> Result<NodeId, OpError> {
        let types = self.infer(&spec)?;
        if types.len() < spec.outputs.len() {
            return Err(OpError::invalid(format!(
                "{} has {} output(s), {} asked for",
                spec.op.name,
                types.len(),
                spec.outputs.len()
            )));
        }
        Ok(self.insert_typed(r, at, spec, types))
    }
    /// Inserts a node whose output types are known already (the parser's and the patch's way in).
    pub fn insert_typed(&mut self, r: RegionId, at: usize, spec: NodeSpec, types: Vec<TensorType>) -> NodeId {
        let n = self.nodes.next_id();
        for v in spec.inputs.iter().flatten() {
            self.values[*v].users.push(n);
        }
        let outputs: SmallVec<[ValueId; 2]> = spec
            .outputs
            .iter()
            .zip(types)
            .enumerate()
            .map(|(i, (name, ty))| {
                let hint = if name.is_empty() { spec.op.name } else { name };
                self.new_value(hint, ty, Def::Node(n, i))
            })
            .collect();
        let name = match (spec.name.is_empty(), outputs.first()) {
            (true, Some(&v)) => self.values[v].name.clone(),
            _ => spec.name,
        };
        for &body in &spec.regions {
            self.regions[body].owner = Some(n);
        }
        let id = self.nodes.push(Node {
            op: spec.op,
            name,
            attrs: spec.attrs,
            inputs: spec.inputs.into(),
            outputs,
            regions: spec.regions.into(),
            region: Some(r),
            hint: at as u32,
        });
        debug_assert_eq!(id, n);
        self.regions[r].nodes.insert(at, n);
        n
    }

    // --- Changing --------------------------------------------------------------------------------------------

    /// Replaces one operand.
    pub fn set_input(&mut self, n: NodeId, i: usize, v: Option<ValueId>) {
        if let Some(old) = self.nodes[n].input(i) {
            let users = &mut self.values[old].users;
            if let Some(p) = users.iter().position(|&u| u == n) {
                users.remove(p);
            }
        }
        if let Some(new) = v {
            self.values[new].users.push(n);
        }
        let inputs = &mut self.nodes[n].inputs;
        if i >= inputs.len() {
            inputs.resize(i + 1, None);
        }
        inputs[i] = v;
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
    }
    /// Makes every reader of `old`, region results included, read `new`. If `old` is a graph output, `new` takes over
    /// its name, because outputs keep theirs.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        self.replace_uses_if(old, new, |_| true);
    }
    /// As [`replace_uses`](Self::replace_uses), for those nodes only that `wanted` accepts (and all results).
    pub fn replace_uses_if(&mut self, old: ValueId, new: ValueId, wanted: impl Fn(NodeId) -> bool) {
        if old == new {
            return;
        }
        let users = std::mem::take(&mut self.values[old].users);
        for n in users {
            let reader = if wanted(n) { new } else { old };
            for input in self.nodes[n].inputs.iter_mut().filter(|v| **v == Some(old)) {
                *input = Some(reader);
            }
            self.values[reader].users.push(n);
        }
        let was_output = self.is_output(old);
        if self.values[old].result_uses > 0 {
            for r in self.regions.keys() {
                for v in self.regions[r].results.iter_mut().filter(|v| **v == old) {
                    *v = new;
                }
            }
            self.values[new].result_uses += std::mem::take(&mut self.values[old].result_uses);
        }
        if was_output && matches!(self.values[new].def, Def::Node(..)) {
            self.swap_names(old, new);
        }
    }
    pub(crate) fn swap_names(&mut self, a: ValueId, b: ValueId) {
        let (x, y) = (self.values[a].name.clone(), self.values[b].name.clone());
        self.names.insert(x.clone(), b);
        self.names.insert(y.clone(), a);
        self.values[a].name = y;
        self.values[b].name = x;
    }
    /// Makes the name of an erased value available, unless a replacement has taken it over.
    fn free_name(&mut self, v: ValueId) {
        if self.names.get(&self.values[v].name) == Some(&v) {
            self.names.remove(&self.values[v].name);
        }
    }
    /// Renames a value; a taken name gets a suffix.
    pub fn rename_value(&mut self, v: ValueId, name: &str) {
        let old = std::mem::take(&mut self.values[v].name);
        self.names.remove(&old);
        let name = self.fresh_name(name);
        self.names.insert(name.clone(), v);
        self.values[v].name = name;
    }
    /// Gives a value a more precise or re-laid type. The caller keeps the verifier's invariants.
    pub fn set_type(&mut self, v: ValueId, ty: TensorType) {
        self.values[v].ty = ty;
    }
    /// Renames a node. Node names are for people and need not be unique.
    pub fn rename_node(&mut self, n: NodeId, name: impl Into<String>) {
        self.nodes[n].name = name.into();
    }
    /// Attributes of a node, for changing.
    pub fn attrs_mut(&mut self, n: NodeId) -> &mut Attrs {
        &mut self.nodes[n].attrs
    }
    /// Takes a node, and the nodes of its bodies, out of the graph. Its outputs must have no readers left.
    ///
    /// # Panics
    /// In debug builds, if an output is still read.
    pub fn erase_node(&mut self, n: NodeId) {
        for &v in &self.nodes[n].outputs {
            debug_assert_eq!(self.use_count(v), 0, "erased node {} still has readers", self.nodes[n].name);
        }
        for r in self.nodes[n].regions.clone() {
            self.set_results(r, Vec::new());
            for p in self.regions[r].params.clone() {
                self.free_name(p);
            }
            for inner in self.regions[r].nodes.clone().into_iter().rev() {
                self.erase_node(inner);
            }
        }
        let inputs = std::mem::take(&mut self.nodes[n].inputs);
        for v in inputs.into_iter().flatten() {
            let users = &mut self.values[v].users;
            if let Some(p) = users.iter().position(|&u| u == n) {
                users.remove(p);
            }
        }
        for v in self.nodes[n].outputs.clone() {
            self.free_name(v);
        }
        if let (Some(at), Some(r)) = (self.position(n), self.nodes[n].region) {
            self.regions[r].nodes.remove(at);
            self.nodes[n].region = None;
        }
    }
    /// Position of a node in its region. Searches outward from where the node was last placed, so that it costs no
    /// more than the number of edits since.
    pub fn position(&self, n: NodeId) -> Option<usize> {
        let nodes = &self.regions[self.nodes[n].region?].nodes;
        let hint = (self.nodes[n].hint as usize).min(nodes.len());
        let mut back = nodes[..hint].iter().rev();
        let mut ahead = nodes[hint..].iter();
        for step in 0.. {
            match (ahead.next(), back.next()) {
                (Some(&x), _) if x == n => return Some(hint + step),
                (_, Some(&x)) if x == n => return Some(hint - 1 - step),
                (None, None) => return None,
                _ => {}
            }
        }
        None
    }
    /// Puts the nodes of a region into topological order, changing the order no more than needed. Returns the nodes that
    /// are on a cycle (an empty list means success; on a cycle nothing changes).
    pub fn sort_region(&mut self, r: RegionId) -> Vec<NodeId> {
        crate::order::sort_region(self, r)
    }
    pub(crate) fn set_region_nodes(&mut self, r: RegionId, nodes: Vec<NodeId>) {
        for (i, &n) in nodes.iter().enumerate() {
            self.nodes[n].hint = i as u32;
        }
        self.regions[r].nodes = nodes;
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
