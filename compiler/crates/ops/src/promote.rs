//! A graph in double precision: the yardstick for networks so ill-conditioned that `f32` results differ between engines.

use crate::family::cast::CAST;
use mnnc_ir::graph::Def;
use mnnc_ir::{Attr, Attrs, DType, Graph, NodeSpec, OpError, RegionId, Tensor, TensorType, ValueId};
use std::collections::HashMap;

/// The graph with every float type, constant and attribute type made `f64`. Values and nodes keep their names.
pub fn promote(graph: &Graph) -> Result<Graph, OpError> {
    let mut p = Promotion { from: graph, to: Graph::new(graph.name.clone()), map: HashMap::new() };
    p.to.metadata = graph.metadata.clone();
    p.to.syms = graph.syms.clone();
    for &v in graph.inputs() {
        let new = p.to.add_input(&graph.value(v).name, promoted_type(graph.ty(v)));
        p.map.insert(v, new);
    }
    p.region(graph.main(), None)?;
    Ok(p.to)
}

/// The tensor with float elements made `f64`; any other as it is.
pub fn promote_tensor(t: &Tensor) -> Tensor {
    if !t.dtype().is_float() || t.dtype() == DType::F64 {
        return t.clone();
    }
    let attrs = Attrs::new().with("to", DType::F64);
    let wide = crate::evaluate_op(&CAST, &attrs, &[Some(t.clone())], 1, usize::MAX);
    wide.ok().and_then(|v| v.into_iter().next()).unwrap_or_else(|| Tensor::new(t.dims(), t.to_f64s()))
}

fn promoted_type(ty: &TensorType) -> TensorType {
    if ty.dtype.is_float() { ty.with_dtype(DType::F64) } else { ty.clone() }
}

struct Promotion<'g> {
    from: &'g Graph,
    to: Graph,
    map: HashMap<ValueId, ValueId>,
}

impl Promotion<'_> {
    /// Copies a region, into the main one or into a body that has been made.
    fn region(&mut self, r: RegionId, body: Option<RegionId>) -> Result<(), OpError> {
        let target = body.unwrap_or(self.to.main());
        if body.is_some() {
            for &v in &self.from.region(r).params {
                let new = self.to.add_param(target, &self.from.value(v).name, promoted_type(self.from.ty(v)));
                self.map.insert(v, new);
            }
        }
        for &n in self.from.region(r).nodes() {
            let node = self.from.node(n);
            let mut regions = Vec::new();
            for &inner in &node.regions {
                let new = self.to.new_region();
                self.region(inner, Some(new))?;
                regions.push(new);
            }
            let mut attrs = Attrs::new();
            for (name, value) in node.attrs.iter() {
                let wide = match value {
                    Attr::DType(d) if d.is_float() => Attr::DType(DType::F64),
                    other => other.clone(),
                };
                attrs.set(name, wide);
            }
            let spec = NodeSpec {
                op: node.op,
                name: node.name.clone(),
                attrs,
                inputs: node.inputs().iter().map(|v| v.map(|v| self.value(v)).transpose()).collect::<Result<_, _>>()?,
                outputs: node.outputs().iter().map(|&v| self.from.value(v).name.clone()).collect(),
                regions,
            };
            let at = self.to.region(target).nodes().len();
            let new = self.to.insert_node(target, at, spec).map_err(|e| OpError {
                kind: e.kind,
                message: format!("node {} ({}) in double precision: {}", node.name, node.op.name, e.message),
            })?;
            let outputs: Vec<ValueId> = self.to.node(new).outputs().to_vec();
            for (&old, new) in node.outputs().iter().zip(outputs) {
                self.map.insert(old, new);
            }
        }
        let results: Vec<ValueId> =
            self.from.region(r).results().iter().map(|&v| self.value(v)).collect::<Result<_, _>>()?;
        self.to.set_results(target, results);
        Ok(())
    }

    /// The value that stands for `v`. Constants are made when they are first read.
    fn value(&mut self, v: ValueId) -> Result<ValueId, OpError> {
        if let Some(&new) = self.map.get(&v) {
            return Ok(new);
        }
        let value = self.from.value(v);
        match (value.def, self.from.constant(v)) {
            (Def::Const(_), Some(t)) => {
                let new = self.to.add_const(&value.name, promote_tensor(t));
                self.map.insert(v, new);
                Ok(new)
            }
            _ => Err(OpError::invalid(format!("value {} is read before it is computed", value.name))),
        }
    }
}
