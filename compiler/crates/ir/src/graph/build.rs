//! Adding values, regions and nodes.

use super::{Def, Graph, Node, NodeId, NodeSpec, Region, RegionId, Value, ValueId};
use crate::constant::ConstId;
use crate::decl::OpError;
use crate::tensor::Tensor;
use crate::types::TensorType;
use smallvec::SmallVec;

impl Graph {
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
}
