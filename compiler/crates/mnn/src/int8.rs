//! Convolutions on integers: which they are, and what the engine needs to know of them.

use crate::net::{Layouts, Main, Net, NetOp, NetTensor, Quant, Tid, Ty};
use half::f16;
use mnnc_ir::Tensor;
use mnnc_schema::mnn::{
    BinaryOpOperation, BinaryOpT, DataType, DepthwiseBias, IDSTQuanT, OpParameterT, OpType, PReluT, PoolType,
    QuantizedFloatParamT, TensorDescribeT, TensorQuantInfoT,
};
use std::collections::{HashMap, HashSet};

/// Least and largest integer of an activation.
const RANGE: (i8, i8) = (-128, 127);
/// What of two tensors of integers the engine computes right.
const EXACT: [BinaryOpOperation; 3] = [BinaryOpOperation::ADD, BinaryOpOperation::SUB, BinaryOpOperation::MUL];
/// The number of resizing to the nearest in the format.
const NEAREST: i32 = 1;
/// Type codes of coded weights that hold integers.
const CODED: [i32; 2] = [1, 2];

/// Marks every convolution with integer weights, of rounded tensors and with a rounded result.
pub(crate) fn mark(net: &mut Net) {
    spread(net);
    part_pools(net);
    part_ops(net);
    clamp_sums(net);
    let quants: HashMap<Tid, Quant> = net.tensors.iter().filter_map(|(t, tensor)| Some((t, tensor.quant?))).collect();
    for op in &mut net.ops {
        let Main::Param(OpParameterT::Convolution2D(conv)) = &mut op.main else { continue };
        if !matches!(op.ty, OpType::Convolution | OpType::ConvolutionDepthwise | OpType::Deconvolution) {
            continue;
        }
        let ([x], [y]) = (&op.inputs[..], &op.outputs[..]) else { continue };
        let (Some(x), Some(y)) = (quants.get(x), quants.get(y)) else { continue };
        let Some(weights) = conv.quan_parameter.as_mut().filter(|q| CODED.contains(&q.type_) && q.read_type == 0)
        else {
            continue;
        };
        (weights.scale_in, weights.scale_out) = (x.scale, y.scale);
        if let (OpType::ConvolutionDepthwise, Some(bias)) = (op.ty, &mut conv.bias) {
            for (b, scale) in bias.iter_mut().zip(scales(weights)) {
                *b = DepthwiseBias::new(scale, x.scale, (y.scale, y.zero)).stored(*b);
            }
        }
        conv.symmetric_quan = Some(Box::new(QuantizedFloatParamT {
            nbits: 8,
            zero_point: x.zero as i8,
            output_zero_point: y.zero as i8,
            clamp_min: RANGE.0,
            clamp_max: RANGE.1,
            output_data_type: DataType::DT_INT8,
            ..QuantizedFloatParamT::default()
        }));
    }
}

/// The scale of each row of symmetric weights.
fn scales(weights: &IDSTQuanT) -> Vec<f32> {
    match (&weights.alpha, &weights.alpha_fp16) {
        (Some(scales), _) => scales.clone(),
        (None, Some(halves)) => halves.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect(),
        (None, None) => Vec::new(),
    }
}

/// Keeps pooling out of the engine's integer kernels where those are wrong: on x86 they compare and add the bytes, which lie 128 higher, as signed ones,
/// and the averages are cut, not rounded. A maximum of what is positive and lies above 0 in `i8` survives that. The engine pools integers if both
/// sides have the same scale; so the result gets the next one, which rounds the same numbers to the same integers.
fn part_pools(net: &mut Net) {
    let producers = net.producers();
    let is_positive = |tid: Tid| {
        let Some(op) = producers.get(&tid).map(|&at| &net.ops[at]) else { return false };
        match &op.main {
            Main::Param(OpParameterT::Convolution2D(conv)) => {
                conv.common.as_ref().is_some_and(|common| common.relu || common.relu6)
            }
            _ => false,
        }
    };
    for op in &net.ops {
        let Main::Param(OpParameterT::Pool(pool)) = &op.main else { continue };
        let (Some(&x), Some(&y)) = (op.inputs.first(), op.outputs.first()) else { continue };
        let (Some(from), Some(to)) = (net.tensors[x].quant, net.tensors[y].quant) else { continue };
        let survives = pool.type_ == PoolType::MAXPOOL && from.zero >= 0 && is_positive(x);
        // At once: the next pool may read this one's result.
        if from == to && !survives {
            net.tensors[y].quant = Some(Quant { scale: to.scale.next_up(), ..to });
        }
    }
}

/// Keeps other ops out of integer kernels that are wrong, or far less exact than they need to be. On x86 the engine takes maxima and the like of bytes that lie
/// 128 higher as if they were not, interpolates the bytes of one scale into those of another, and rounds what groups of a convolution add up.
///
/// An op computes in float if what it reads has no scale. So it reads a product with 1 in place of its operand; an op that hands scales on makes a tensor
/// without one, too, of which such a product is the result.
fn part_ops(net: &mut Net) {
    let ops = std::mem::take(&mut net.ops);
    let handed = handed_on(net, &ops);
    let mut one = None;
    for mut op in ops {
        let taken = |t: &Tid| net.tensors[*t].quant.or_else(|| handed.get(t).copied());
        let quants: Vec<Option<Quant>> = op.inputs.iter().chain(&op.outputs).map(taken).collect();
        let integers = quants.iter().all(Option::is_some);
        let parted = integers && !is_right(&op, &quants) || takes_floats_for_integers(&op, &quants);
        let copies = copies_bits(&op, &quants);
        if !parted && !copies {
            let op = keeping_slopes(net, op);
            net.ops.push(op);
            continue;
        }
        let one = *one.get_or_insert_with(|| net.new_constant("one".to_string(), Tensor::scalar(1f32)));
        if quants[0].is_some() {
            let x = op.inputs[0];
            op.inputs[0] = bare(net, x);
            times_one(net, one, x, op.inputs[0]);
        }
        let y = op.outputs[0];
        if op.ty == OpType::Interp || copies && quants.last().is_some_and(Option::is_some) {
            op.outputs[0] = bare(net, y);
        }
        let made = op.outputs[0];
        net.ops.push(op);
        if made != y {
            times_one(net, one, made, y);
        }
    }
}

/// The scales that a ReLU hands on from its result to what it reads, or the other way, where the one has none of its own: the engine takes it for
/// integers, too.
fn handed_on(net: &Net, ops: &[NetOp]) -> HashMap<Tid, Quant> {
    let slope = |op: &NetOp| matches!(&op.main, Main::Param(OpParameterT::Relu(relu)) if relu.slope != 0.0);
    let relus = ops.iter().filter(|op| matches!(op.ty, OpType::ReLU | OpType::ReLU6) && !slope(op));
    let pairs = relus.filter_map(|op| Some((*op.inputs.first()?, *op.outputs.first()?)));
    let handed = pairs.filter_map(|(x, y)| match (net.tensors[x].quant, net.tensors[y].quant) {
        (None, Some(q)) => Some((x, q)),
        (Some(q), None) => Some((y, q)),
        _ => None,
    });
    handed.collect()
}

/// A tensor like this one, without a scale.
fn bare(net: &mut Net, like: Tid) -> Tid {
    let tensor = NetTensor { quant: None, ..net.tensors[like].clone() };
    let name = format!("{}:float:{}", tensor.name, net.ops.len());
    net.tensors.push(NetTensor { name, ..tensor })
}

fn times_one(net: &mut Net, one: Tid, x: Tid, y: Tid) {
    let main = BinaryOpT { op_type: BinaryOpOperation::MUL, t: DataType::DT_FLOAT, ..BinaryOpT::default() };
    net.push(OpType::BinaryOp, OpParameterT::BinaryOp(Box::new(main)), vec![x, one], vec![y], Layouts::FollowAll);
}

/// A leaky ReLU would hand the scale of its result on to what it reads, which has a larger range; the same as an op with slopes does not.
fn keeping_slopes(net: &Net, op: NetOp) -> NetOp {
    let own = |t: Option<&Tid>| t.is_some_and(|&t| net.tensors[t].quant.is_some());
    let would_hand_on = !own(op.inputs.first()) && own(op.outputs.first());
    match &op.main {
        Main::Param(OpParameterT::Relu(relu)) if relu.slope != 0.0 && would_hand_on => {
            let slopes = PReluT { slope_count: 1, slope: Some(vec![relu.slope]) };
            NetOp { ty: OpType::PReLU, main: Main::Param(OpParameterT::PRelu(Box::new(slopes))), ..op }
        }
        _ => op,
    }
}

/// Whether the engine would read the floats of the second operand as integers: it looks at the first and at the result.
fn takes_floats_for_integers(op: &NetOp, quants: &[Option<Quant>]) -> bool {
    op.ty == OpType::BinaryOp && matches!(quants, [Some(_), None, Some(_)])
}

/// Whether the engine copies what is read, whatever its type and scale, as the integers of the result: padding does.
fn copies_bits(op: &NetOp, quants: &[Option<Quant>]) -> bool {
    op.ty == OpType::Padding && quants.last().is_some_and(|y| quants[0] != *y)
}

/// Whether the engine's kernel on integers gives what the op means.
fn is_right(op: &NetOp, quants: &[Option<Quant>]) -> bool {
    let Main::Param(main) = &op.main else { return true };
    match main {
        OpParameterT::BinaryOp(binary) => EXACT.contains(&binary.op_type),
        OpParameterT::Interp(interp) => interp.resize_type == NEAREST && quants[0] == quants[1],
        OpParameterT::Convolution2D(conv) => {
            op.ty != OpType::Convolution || conv.common.as_ref().is_none_or(|common| common.group <= 1)
        }
        _ => true,
    }
}

/// A sum of integers ignores its activation but for clamping at the integer 0, which stands for 0 only where the zero point does. The least integer of its
/// result says the same.
fn clamp_sums(net: &mut Net) {
    for op in &mut net.ops {
        let Main::Param(OpParameterT::BinaryOp(binary)) = &mut op.main else { continue };
        if binary.activation_type != 1 || !op.inputs.iter().all(|&x| net.tensors[x].quant.is_some()) {
            continue;
        }
        if let Some(quant) = op.outputs.first().and_then(|&y| net.tensors[y].quant.as_mut()) {
            binary.activation_type = 0;
            quant.min = quant.zero as i8;
        }
    }
}

/// Ops whose results are elements of what they read first.
const MOVES: &[OpType] = &[
    OpType::Reshape,
    OpType::ConvertTensor,
    OpType::Slice,
    OpType::StridedSlice,
    OpType::SliceTf,
    OpType::Permute,
    OpType::GatherV2,
    OpType::Tile,
    OpType::BroadcastTo,
    OpType::DepthToSpace,
    OpType::SpaceToDepth,
];

/// What only moves elements has the same integers on both sides: the tensors that the writer makes between learn it from what is moved.
fn spread(net: &mut Net) {
    let pairs = |of: &[OpType]| -> Vec<(Tid, Tid)> {
        let moving = net.ops.iter().filter(|op| of.contains(&op.ty));
        moving.flat_map(|op| op.inputs.iter().flat_map(|&x| op.outputs.iter().map(move |&y| (x, y)))).collect()
    };
    // A reshape may read its shape, too, which is no float.
    let onwards = pairs(MOVES);
    let back = pairs(&[OpType::Reshape, OpType::ConvertTensor, OpType::Concat]);
    for (from, to) in onwards {
        if net.tensors[to].quant.is_none() && !net.outputs.contains(&to) {
            net.tensors[to].quant = net.tensors[from].quant;
        }
    }
    let uses = net.use_counts();
    let constants: HashSet<Tid> =
        net.ops.iter().filter(|op| op.ty == OpType::Const).flat_map(|op| op.outputs.clone()).collect();
    for (from, to) in back.into_iter().rev() {
        let tensor = &net.tensors[from];
        let own = tensor.ty == Ty::Float && uses.get(&from) == Some(&1) && !net.inputs.contains(&from);
        if tensor.quant.is_none() && own && !constants.contains(&from) {
            net.tensors[from].quant = net.tensors[to].quant;
        }
    }
}

/// The description of every rounded tensor of the file, whose numbers are in `index`.
pub(crate) fn descriptions(net: &Net, index: &HashMap<Tid, i32>) -> Option<Vec<TensorDescribeT>> {
    let mut all: Vec<TensorDescribeT> = (net.tensors.iter())
        .filter_map(|(tid, tensor)| {
            let quant = tensor.quant?;
            Some(TensorDescribeT {
                index: *index.get(&tid)?,
                name: Some(tensor.name.clone()),
                quant_info: Some(Box::new(TensorQuantInfoT {
                    scale: quant.scale,
                    zero: quant.zero as f32,
                    min: f32::from(quant.min),
                    max: f32::from(RANGE.1),
                    type_: DataType::DT_INT8,
                })),
                ..TensorDescribeT::default()
            })
        })
        .collect();
    all.sort_by_key(|d| d.index);
    (!all.is_empty()).then_some(all)
}
