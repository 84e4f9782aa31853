//! From the graph to the program: every node by its rule, all refusals collected.

use crate::cx::{Cx, Reason, shape_of};
use crate::error::{Unsupported, WriteError};
use crate::net::{Layouts, Net, Tid, Ty};
use crate::weights::{decoded, is_decoder};
use crate::{WriteOptions, rules};
use mnnc_ir::{DType, Graph, NodeId, TensorType, ValueId};
use mnnc_schema::mnn::{InputT, MNN_DATA_FORMAT, OpParameterT, OpType, ReshapeT};
use std::collections::{HashMap, HashSet};

/// Graph inputs and outputs keep their type: a type that MNN does not hold cannot stand there.
fn boundary_type(dtype: DType) -> Result<(), Reason> {
    match dtype {
        DType::F32 | DType::I32 | DType::I64 | DType::Bool | DType::U8 | DType::I8 => Ok(()),
        _ => Err(format!("MNN passes no {dtype} tensors in or out; cast to f32 or i32 in the model").into()),
    }
}

struct Lowering<'g> {
    graph: &'g Graph,
    net: Net,
    written: HashMap<ValueId, Tid>,
    /// Values that a refused node would have made: their readers are not refused a second time.
    poisoned: HashSet<ValueId>,
    refused: Vec<Unsupported>,
    next: usize,
}

impl Lowering<'_> {
    fn refuse(&mut self, node: &str, op: &str, types: &[&TensorType], reason: Reason) {
        let shapes: Vec<String> = types.iter().map(|ty| ty.show(&self.graph.syms)).collect();
        self.refused.push(Unsupported {
            node: node.to_string(),
            op: op.to_string(),
            shapes: shapes.join(", "),
            reason: reason.0,
        });
    }

    fn input(&mut self, value: ValueId) {
        let (name, ty) = (self.graph.value(value).name.clone(), self.graph.ty(value).clone());
        if let Err(reason) = boundary_type(ty.dtype) {
            self.refuse(&name, "graph input", &[&ty], reason);
        }
        let shape = shape_of(&ty);
        let dims = shape.iter().map(|d| d.and_then(|d| i32::try_from(d).ok()).unwrap_or(-1)).collect();
        let dtype = Ty::of(ty.dtype).data_type();
        let tid = self.net.tensor(name, shape, Ty::of(ty.dtype));
        let main = InputT { dims: Some(dims), dtype, dformat: MNN_DATA_FORMAT::NCHW };
        self.net.push(OpType::Input, OpParameterT::Input(Box::new(main)), Vec::new(), vec![tid], Layouts::Plain);
        self.net.inputs.push(tid);
        self.written.insert(value, tid);
    }

    fn node(&mut self, id: NodeId, options: &WriteOptions) {
        let node = self.graph.node(id);
        if is_decoder(self.graph, node) {
            // Its readers store the constant, coded or not.
            return;
        }
        if node.inputs().iter().flatten().any(|value| self.poisoned.contains(value)) {
            // Nothing to be said of a node whose operands are missing, but whether its op is known at all.
            if rules::find(node.op.name).is_none() && node.op.scalar.is_none() {
                self.refuse_node(id, "MNN has no such op".into());
            }
            self.poisoned.extend(node.outputs());
            return;
        }
        let facts = self.graph.facts(id);
        let mut cx = Cx {
            net: &mut self.net,
            graph: self.graph,
            node,
            op: facts.of(node),
            written: &mut self.written,
            options,
            next: self.next,
        };
        let result = match rules::find(node.op.name) {
            Some(rule) => rule(&mut cx),
            None => crate::scalar::by_formula(&mut cx),
        };
        self.next = cx.next;
        match result {
            Ok(tids) => {
                for (&value, &tid) in node.outputs().iter().zip(&tids) {
                    self.bind(value, tid);
                }
            }
            Err(reason) => {
                self.refuse_node(id, reason);
                self.poisoned.extend(node.outputs());
            }
        }
    }

    fn refuse_node(&mut self, id: NodeId, reason: Reason) {
        let node = self.graph.node(id);
        let types: Vec<&TensorType> = node.inputs().iter().flatten().map(|&v| self.graph.ty(v)).collect();
        self.refuse(&node.name, node.op.name, &types, reason);
    }

    /// Makes `tid` stand for `value`, under the value's name where the tensor is new.
    fn bind(&mut self, value: ValueId, tid: Tid) {
        let name = &self.graph.value(value).name;
        let is_new = !self.written.values().any(|&other| other == tid);
        if is_new && !self.net.inputs.contains(&tid) {
            self.net.tensors[tid].name.clone_from(name);
        }
        self.written.insert(value, tid);
    }

    /// The graph's outputs: each a tensor of its own with the output's name.
    fn outputs(&mut self) {
        for &value in self.graph.outputs() {
            let (name, ty) = (self.graph.value(value).name.clone(), self.graph.ty(value).clone());
            if let Err(reason) = boundary_type(ty.dtype) {
                self.refuse(&name, "graph output", &[&ty], reason);
            }
            if self.poisoned.contains(&value) {
                continue;
            }
            let tid = match (self.written.get(&value).copied(), self.graph.value(value).def) {
                (Some(tid), _) => tid,
                (None, _) => match decoded(self.graph, value).map(|constant| constant.tensor(&ty)) {
                    Some(Ok(tensor)) => self.net.constant(name.clone(), tensor),
                    _ => continue,
                },
            };
            let tid = if self.net.tensors[tid].name == name && !self.net.inputs.contains(&tid) {
                tid
            } else {
                self.copy(tid, name)
            };
            self.net.outputs.push(tid);
        }
    }

    /// A reshape to the same shape: an output that is another's alias needs a tensor of its own.
    fn copy(&mut self, from: Tid, name: String) -> Tid {
        let tensor = self.net.tensors[from].clone();
        // A 0 copies the input's dim.
        let main = ReshapeT { dims: Some(vec![0; tensor.shape.len()]), ..ReshapeT::default() };
        let tid = self.net.tensor(name, tensor.shape, tensor.ty);
        self.net.push(OpType::Reshape, OpParameterT::Reshape(Box::new(main)), vec![from], vec![tid], Layouts::Plain);
        tid
    }
}

/// The whole graph, or everything in it that cannot be written.
pub(crate) fn lower(graph: &Graph, options: &WriteOptions) -> Result<Net, WriteError> {
    let mut lowering = Lowering {
        graph,
        net: Net::default(),
        written: HashMap::new(),
        poisoned: HashSet::new(),
        refused: Vec::new(),
        next: 0,
    };
    for &value in graph.inputs() {
        lowering.input(value);
    }
    for &node in graph.schedule() {
        lowering.node(node, options);
    }
    lowering.outputs();
    if lowering.refused.is_empty() { Ok(lowering.net) } else { Err(WriteError::Unsupported(lowering.refused)) }
}
