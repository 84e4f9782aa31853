//! Convolutions on integers: which they are, and what the engine needs to know of them.

use crate::net::{Main, Net, Quant, Tid};
use half::f16;
use mnnc_schema::mnn::{
    DataType, DepthwiseBias, IDSTQuanT, OpParameterT, OpType, PoolType, QuantizedFloatParamT, TensorDescribeT,
    TensorQuantInfoT,
};
use std::collections::HashMap;

/// Least and largest integer of an activation.
const RANGE: (i8, i8) = (-128, 127);
/// Type codes of coded weights that hold integers.
const CODED: [i32; 2] = [1, 2];

/// Marks every convolution with integer weights, of rounded tensors and with a rounded result.
pub(crate) fn mark(net: &mut Net) {
    spread(net);
    part_pools(net);
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
    let mut parted = Vec::new();
    for op in &net.ops {
        let Main::Param(OpParameterT::Pool(pool)) = &op.main else { continue };
        let (Some(&x), Some(&y)) = (op.inputs.first(), op.outputs.first()) else { continue };
        let (Some(from), Some(to)) = (net.tensors[x].quant, net.tensors[y].quant) else { continue };
        let survives = pool.type_ == PoolType::MAXPOOL && from.zero >= 0 && is_positive(x);
        if from == to && !survives {
            parted.push((y, Quant { scale: to.scale.next_up(), ..to }));
        }
    }
    for (tid, quant) in parted {
        net.tensors[tid].quant = Some(quant);
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

/// What only moves elements has the same integers on both sides: the writer's own reshapes and conversions learn it from what they move.
fn spread(net: &mut Net) {
    let moves: Vec<(Tid, Tid)> = (net.ops.iter())
        .filter(|op| matches!(op.ty, OpType::Reshape | OpType::ConvertTensor))
        .filter_map(|op| Some((*op.inputs.first()?, *op.outputs.first()?)))
        .collect();
    for &(from, to) in &moves {
        if net.tensors[to].quant.is_none() && !net.outputs.contains(&to) {
            net.tensors[to].quant = net.tensors[from].quant;
        }
    }
    let uses = net.use_counts();
    for &(from, to) in moves.iter().rev() {
        if net.tensors[from].quant.is_none() && uses.get(&from) == Some(&1) && !net.inputs.contains(&from) {
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
