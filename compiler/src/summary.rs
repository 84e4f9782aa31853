//! What a model consists of, in figures.

use std::collections::BTreeMap;

use mnnc_ir::{Def, Graph, NodeId, RegionId, ValueId};

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type and shape, as `f32[1x3x224x224]`.
    pub ty: String,
}

/// A model in figures; bodies of control flow and of fused nodes are included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Inputs in the model's order.
    pub inputs: Vec<Port>,
    /// Outputs in the model's order.
    pub outputs: Vec<Port>,
    /// Number of nodes of each op.
    pub ops: BTreeMap<&'static str, usize>,
    /// Elements of all constants that are used.
    pub parameters: u64,
    /// Their bytes.
    pub parameter_bytes: u64,
    /// Floating-point operations of one run, a multiply-add counting two; `None` if a shape is open.
    pub flops: Option<u64>,
}

impl Summary {
    /// The figures of `graph`.
    pub fn of(graph: &Graph) -> Self {
        let port = |&v: &ValueId| {
            let value = graph.value(v);
            Port { name: value.name.clone(), ty: value.ty.show(&graph.syms) }
        };
        let mut summary = Summary {
            inputs: graph.inputs().iter().map(port).collect(),
            outputs: graph.outputs().iter().map(port).collect(),
            flops: Some(0),
            ..Summary::default()
        };
        summary.region(graph, graph.main());
        let used = |v: ValueId| graph.is_used(v);
        for (v, value) in graph.values() {
            if let (Def::Const(_), true) = (value.def, used(v)) {
                summary.parameters += value.ty.num_elements().unwrap_or(0) as u64;
                summary.parameter_bytes += value.ty.num_bytes().unwrap_or(0) as u64;
            }
        }
        summary
    }

    fn region(&mut self, graph: &Graph, region: RegionId) {
        for &n in graph.region(region).nodes() {
            let node = graph.node(n);
            *self.ops.entry(node.op.name).or_default() += 1;
            self.flops = self.flops.zip(flops(graph, n)).map(|(a, b)| a.saturating_add(b));
            for &body in &node.regions {
                self.region(graph, body);
            }
        }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.ops.values().sum()
    }
}

/// Floating-point operations of one run of a node, bodies not included; `None` if a shape is open.
pub fn flops(graph: &Graph, n: NodeId) -> Option<u64> {
    let node = graph.node(n);
    let closed = |v: &ValueId| graph.ty(*v).static_dims().is_some();
    if !node.inputs().iter().flatten().chain(node.outputs()).all(closed) {
        return None;
    }
    Some((node.op.flops)(&graph.facts(n).of(node)))
}
