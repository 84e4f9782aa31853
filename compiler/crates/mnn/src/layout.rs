//! Where MNN keeps tensors packed by channel (NC4HW4), and the conversions between.
//!
//! Convolution, pooling and resampling compute on packed tensors. They would convert by themselves, but in and out
//! at every op; so the file says explicitly where a tensor becomes packed and where row-major again. Graph inputs and
//! outputs are row-major always.

use crate::net::{Layouts, Main, Net, NetOp, Tid};
use mnnc_schema::mnn::{MNN_DATA_FORMAT, OpParameterT, OpType, TensorConvertInfoT};
use std::collections::{HashMap, HashSet};

struct Assignment {
    packed: HashSet<Tid>,
    /// The same elements in the other layout, once somebody asked.
    twins: HashMap<Tid, Tid>,
    constants: HashSet<Tid>,
    out: Vec<NetOp>,
}

impl Assignment {
    /// `t` packed or row-major, through a conversion if need be.
    fn ask(&mut self, net: &mut Net, t: Tid, packed: bool) -> Tid {
        if self.packed.contains(&t) == packed {
            return t;
        }
        if let Some(&twin) = self.twins.get(&t) {
            return twin;
        }
        let tensor = net.tensors[t].clone();
        let suffix = if packed { "packed" } else { "plain" };
        let twin = net.tensor(format!("{}:{suffix}", tensor.name), tensor.shape, tensor.ty);
        net.tensors[twin].quant = tensor.quant;
        let (source, dest) = match packed {
            true => (MNN_DATA_FORMAT::NCHW, MNN_DATA_FORMAT::NC4HW4),
            false => (MNN_DATA_FORMAT::NC4HW4, MNN_DATA_FORMAT::NCHW),
        };
        if packed {
            self.packed.insert(twin);
        }
        self.twins.insert(t, twin);
        self.twins.insert(twin, t);
        self.out.push(NetOp {
            ty: OpType::ConvertTensor,
            main: Main::Param(OpParameterT::TensorConvertInfo(Box::new(TensorConvertInfoT { source, dest }))),
            inputs: vec![t],
            outputs: vec![twin],
            layouts: Layouts::Follow,
        });
        twin
    }

    /// Whether an op that computes on either layout should do so packed.
    fn prefers_packed(&self, net: &Net, op: &NetOp) -> bool {
        let varying: Vec<Tid> = op.inputs.iter().copied().filter(|t| !self.constants.contains(t)).collect();
        let packed = varying.iter().filter(|t| self.packed.contains(t)).count();
        // Operands of another rank broadcast along other dims than packing assumes.
        let ranks_agree = varying.iter().all(|&t| net.tensors[t].shape.len() == 4);
        packed > 0 && 2 * packed >= varying.len() && ranks_agree
    }
}

/// Inserts the conversions that the ops' layouts need.
pub(crate) fn assign(net: &mut Net) {
    let constants = net.ops.iter().filter(|op| op.ty == OpType::Const).flat_map(|op| op.outputs.clone()).collect();
    let mut state = Assignment { packed: HashSet::new(), twins: HashMap::new(), constants, out: Vec::new() };
    for mut op in std::mem::take(&mut net.ops) {
        let packed_result = match op.layouts {
            Layouts::Plain => {
                op.inputs = op.inputs.iter().map(|&t| state.ask(net, t, false)).collect();
                false
            }
            Layouts::Packed => {
                for (i, t) in op.inputs.iter_mut().enumerate() {
                    *t = state.ask(net, *t, i == 0);
                }
                true
            }
            Layouts::Follow => {
                let packed = op.inputs.first().is_some_and(|t| state.packed.contains(t));
                for t in op.inputs.iter_mut().skip(1) {
                    *t = state.ask(net, *t, false);
                }
                packed
            }
            Layouts::FollowAll => {
                let packed = state.prefers_packed(net, &op);
                for t in &mut op.inputs {
                    if !state.constants.contains(t) {
                        *t = state.ask(net, *t, packed);
                    }
                }
                packed
            }
        };
        if packed_result {
            state.packed.extend(&op.outputs);
        }
        state.out.push(op);
    }
    let outputs = net.outputs.clone();
    for tid in outputs {
        if state.packed.contains(&tid) {
            let plain = state.ask(net, tid, false);
            swap_names(net, tid, plain);
            for output in net.outputs.iter_mut().filter(|output| **output == tid) {
                *output = plain;
            }
        }
    }
    net.ops = state.out;
}

/// A graph output keeps its name when its row-major twin takes its place.
fn swap_names(net: &mut Net, a: Tid, b: Tid) {
    let name = std::mem::take(&mut net.tensors[a].name);
    net.tensors[a].name = std::mem::replace(&mut net.tensors[b].name, name);
}
