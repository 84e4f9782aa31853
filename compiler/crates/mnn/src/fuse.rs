//! Small rewrites of the finished program: an activation goes into the op before it, what nobody reads goes.

use crate::net::{Main, Net, Tid};
use mnnc_ir::Tensor;
use mnnc_schema::mnn::{BinaryOpOperation, OpParameterT, OpType};
use std::collections::{HashMap, HashSet};

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
        (OpType::ReLU6, Main::Param(OpParameterT::Relu6(clamp)))
            if clamp.min_value == 0.0 && clamp.max_value == 6.0 =>
        {
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
            let Some(common) = conv.common.as_mut().filter(|common| !common.relu && !common.relu6) else {
                return false;
            };
            match activation {
                Activation::Relu => common.relu = true,
                Activation::Relu6 => common.relu6 = true,
            }
            true
        }
        // MNN's own converter fuses into additions; its engine knows the flag on float additions.
        OpParameterT::BinaryOp(binary)
            if activation == Activation::Relu
                && binary.op_type == BinaryOpOperation::ADD
                && binary.activation_type == 0 =>
        {
            binary.activation_type = 1;
            true
        }
        _ => false,
    }
}

/// Puts ReLU and ReLU6 into the convolution (ReLU also into the addition) that alone feeds them, directly or through a
/// reshape.
pub(crate) fn fuse_activations(net: &mut Net) {
    rewrite(net, |net, chains, at| {
        let op = &net.ops[at];
        let activation = activation(op.ty, &op.main)?;
        let chain = chains.above(net, *op.inputs.first()?)?;
        take_over(&mut net.ops[chain.producer].main, activation).then_some(chain.last)
    });
}

/// Puts the addition of a constant for each output channel into the bias of the convolution that alone feeds it.
/// (Convolutions of the graph have theirs already; those that stand for matrix products get theirs here.)
pub(crate) fn fuse_biases(net: &mut Net) {
    rewrite(net, |net, chains, at| {
        let op = &net.ops[at];
        let Main::Param(OpParameterT::BinaryOp(binary)) = &op.main else { return None };
        let [a, b] = op.inputs[..] else { return None };
        if binary.op_type != BinaryOpOperation::ADD || binary.activation_type != 0 {
            return None;
        }
        let (x, bias) = match (chains.constant(net, a), chains.constant(net, b)) {
            (None, Some(bias)) => (a, bias),
            (Some(bias), None) => (b, bias),
            _ => return None,
        };
        let out = net.tensors[*op.outputs.first()?].shape.clone();
        let chain = chains.above(net, x)?;
        let channels = net.tensors[*net.ops[chain.producer].outputs.first()?].shape.get(1).copied().flatten()?;
        // Along the last dim behind a reshape to rows, along dim 1 of the convolution's own result.
        let trailing = if chain.last == chain.producer { out.len().checked_sub(2)? } else { 0 };
        let x_shape = &net.tensors[x].shape;
        let fits = *x_shape == out
            && out.len().checked_sub(1 + trailing).and_then(|dim| out[dim]) == Some(channels)
            && bias.len() == channels
            && bias.dims().iter().rev().nth(trailing) == Some(&channels)
            && bias.dtype().is_float();
        // Behind a reshape the rows have to be the convolution's own: one product each.
        let rows_alone = chain.last == chain.producer
            || net.tensors[*net.ops[chain.producer].outputs.first()?].shape[2..] == [Some(1), Some(1)];
        if !fits || !rows_alone {
            return None;
        }
        let addends = crate::cx::floats(bias);
        let Main::Param(OpParameterT::Convolution2D(conv)) = &mut net.ops[chain.producer].main else { return None };
        if conv.common.as_ref().is_none_or(|common| common.relu || common.relu6) {
            return None;
        }
        for (sum, addend) in conv.bias.as_mut()?.iter_mut().zip(addends) {
            *sum += addend;
        }
        Some(chain.last)
    });
}

/// A tensor's way up: the op that makes it, past one reshape.
struct Chain {
    /// The op above the reshape, or above the tensor itself.
    producer: usize,
    /// The op that makes the tensor: the reshape, if there is one, else the producer.
    last: usize,
}

/// What the rewrites ask about the program.
struct Chains {
    uses: HashMap<Tid, usize>,
    producers: HashMap<Tid, usize>,
}

impl Chains {
    /// The op above `t`, if nothing else reads what lies between.
    fn above(&self, net: &Net, t: Tid) -> Option<Chain> {
        let alone = |t: Tid| self.uses.get(&t) == Some(&1) && !net.outputs.contains(&t);
        let last = *self.producers.get(&t)?;
        let made_here = net.ops[last].outputs.len() == 1 && alone(t);
        if !made_here || net.ops[last].ty != OpType::Reshape {
            return made_here.then_some(Chain { producer: last, last });
        }
        let above = *net.ops[last].inputs.first()?;
        let producer = *self.producers.get(&above)?;
        let is_convolution = matches!(net.ops[producer].main, Main::Param(OpParameterT::Convolution2D(_)));
        (is_convolution && alone(above)).then_some(Chain { producer, last })
    }

    fn constant<'n>(&self, net: &'n Net, t: Tid) -> Option<&'n Tensor> {
        match &net.ops[*self.producers.get(&t)?].main {
            Main::Const(tensor) => Some(tensor),
            Main::Param(_) => None,
        }
    }
}

/// Applies `step` to every op. It returns the op above whose result is now what this op computed; this one goes.
fn rewrite(net: &mut Net, step: impl Fn(&mut Net, &Chains, usize) -> Option<usize>) {
    let mut chains = Chains { uses: net.use_counts(), producers: net.producers() };
    let mut gone = HashSet::new();
    for at in 0..net.ops.len() {
        if let Some(above) = step(net, &chains, at) {
            let outputs = net.ops[at].outputs.clone();
            chains.producers.extend(outputs.iter().map(|&tid| (tid, above)));
            net.ops[above].outputs = outputs;
            gone.insert(at);
        }
    }
    retain(net, |at| !gone.contains(&at));
}

fn retain(net: &mut Net, keep: impl Fn(usize) -> bool) {
    let mut at = 0;
    net.ops.retain(|_| {
        at += 1;
        keep(at - 1)
    });
}

/// Makes reshapes of reshapes one, and drops those that give back the shape that was.
pub(crate) fn collapse_reshapes(net: &mut Net) {
    let mut origins: HashMap<Tid, Tid> = HashMap::new();
    let mut same: HashMap<Tid, Tid> = HashMap::new();
    let mut gone = HashSet::new();
    for at in 0..net.ops.len() {
        let op = &mut net.ops[at];
        for input in &mut op.inputs {
            *input = same.get(input).copied().unwrap_or(*input);
        }
        let Main::Param(OpParameterT::Reshape(main)) = &op.main else { continue };
        let (Some(&from), Some(&to)) = (op.inputs.first(), op.outputs.first()) else { continue };
        // A 0 copies a dim of the operand, which must then stay the same operand; so must one with a shape of its own.
        if op.inputs.len() > 1 || main.dims.as_ref().is_none_or(|dims| dims.contains(&0)) {
            continue;
        }
        let origin = origins.get(&from).copied().unwrap_or(from);
        op.inputs[0] = origin;
        origins.insert(to, origin);
        let (before, after) = (&net.tensors[origin].shape, &net.tensors[to].shape);
        if before == after && after.iter().all(Option::is_some) && !net.outputs.contains(&to) {
            same.insert(to, origin);
            gone.insert(at);
        }
    }
    retain(net, |at| !gone.contains(&at));
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
    retain(net, |at| keep[at]);
}
