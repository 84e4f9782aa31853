//! Small rewrites of the finished program: an activation goes into the op before it, what nobody reads goes.

use crate::net::{Main, Net};
use mnnc_schema::mnn::{BinaryOpOperation, OpParameterT, OpType};
use std::collections::HashSet;

/// The activations that other ops can carry.
#[derive(Copy, Clone, PartialEq)]
enum Activation {
    Relu,
    Relu6,
}

fn activation(op: OpType, main: &Main) -> Option<Activation> {
    match (op, main) {
        (OpType::ReLU, Main::Param(OpParameterT::NONE)) => Some(Activation::Relu),
        (OpType::ReLU, Main::Param(OpParameterT::Relu(relu))) if relu.slope == 0.0 => Some(Activation::Relu),
        (OpType::ReLU6, Main::Param(OpParameterT::Relu6(clamp))) if clamp.min_value == 0.0 && clamp.max_value == 6.0 => {
            Some(Activation::Relu6)
        }
        _ => None,
    }
}

/// Whether `main` took the activation over.
fn take_over(main: &mut Main, activation: Activation) -> bool {
    let Main::Param(main) = main else { return false };
    match main {
        OpParameterT::Convolution2D(conv) => {
            let Some(common) = conv.common.as_mut().filter(|common| !common.relu && !common.relu6) else { return false };
            match activation {
                Activation::Relu => common.relu = true,
                Activation::Relu6 => common.relu6 = true,
            }
            true
        }
        // MNN's own converter fuses into additions; its engine knows the flag on float additions.
        OpParameterT::BinaryOp(binary)
            if activation == Activation::Relu && binary.op_type == BinaryOpOperation::ADD && binary.activation_type == 0 =>
        {
            binary.activation_type = 1;
            true
        }
        _ => false,
    }
}

/// Puts ReLU and ReLU6 into the convolution (ReLU also into the addition) that alone feeds them.
pub(crate) fn fuse_activations(net: &mut Net) {
    let uses = net.use_counts();
    let producers = net.producers();
    let mut gone = HashSet::new();
    for at in 0..net.ops.len() {
        let op = &net.ops[at];
        let Some(activation) = activation(op.ty, &op.main) else { continue };
        let (Some(&from), Some(&to)) = (op.inputs.first(), op.outputs.first()) else { continue };
        if uses.get(&from) != Some(&1) || net.outputs.contains(&from) {
            continue;
        }
        let Some(&producer) = producers.get(&from) else { continue };
        let producer_op = &mut net.ops[producer];
        if producer_op.outputs.len() == 1 && take_over(&mut producer_op.main, activation) {
            producer_op.outputs = vec![to];
            gone.insert(at);
        }
    }
    let mut at = 0;
    net.ops.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}

/// Drops ops that nobody reads; graph inputs stay, used or not.
pub(crate) fn drop_dead(net: &mut Net) {
    let mut live: HashSet<_> = net.outputs.iter().copied().collect();
    let mut keep = vec![false; net.ops.len()];
    for (at, op) in net.ops.iter().enumerate().rev() {
        if op.ty == OpType::Input || op.outputs.iter().any(|tid| live.contains(tid)) {
            keep[at] = true;
            live.extend(&op.inputs);
        }
    }
    let mut at = 0;
    net.ops.retain(|_| {
        at += 1;
        keep[at - 1]
    });
}
