//! Convolutions on integers: which they are, and what the engine needs to know of them.

use crate::net::{Main, Net, Quant, Tid};
use mnnc_schema::mnn::{DataType, OpParameterT, OpType, QuantizedFloatParamT, TensorDescribeT, TensorQuantInfoT};
use std::collections::HashMap;

/// Least and largest integer of an activation.
const RANGE: (i8, i8) = (-128, 127);
/// Type codes of coded weights that hold integers.
const CODED: [i32; 2] = [1, 2];

/// Marks every convolution with integer weights, of rounded tensors and with a rounded result.
pub(crate) fn mark(net: &mut Net) {
    spread(net);
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
                    min: f32::from(RANGE.0),
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
