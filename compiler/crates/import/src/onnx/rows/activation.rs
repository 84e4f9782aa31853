//! Activations.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, OpError, Tensor};

pub(super) static ROWS: &[Row] = &[
    plain("Celu", "celu"),
    plain("Elu", "elu"),
    plain("Gelu", "gelu"),
    plain("HardSigmoid", "hard_sigmoid"),
    plain("HardSwish", "hard_swish"),
    plain("LeakyRelu", "leaky_relu"),
    plain("Mish", "mish"),
    plain("PRelu", "prelu"),
    plain("Relu", "relu"),
    plain("Selu", "selu"),
    plain("Shrink", "shrink"),
    plain("Sigmoid", "sigmoid"),
    plain("Softplus", "softplus"),
    plain("Softsign", "softsign"),
    plain("Swish", "swish"),
    plain("Tanh", "tanh"),
    plain("ThresholdedRelu", "thresholded_relu"),
    with("Clip", clip),
    with("Dropout", dropout),
    with("Hardmax", |cx| softmax(cx, "hardmax")),
    with("LogSoftmax", |cx| softmax(cx, "log_softmax")),
    with("Softmax", |cx| softmax(cx, "softmax")),
];

/// Bounds were attributes before opset 11, and are inputs since.
fn clip(cx: &mut NodeCx) -> Converted {
    if cx.opset >= 11 {
        return cx.plain("clip");
    }
    let x = cx.input(0)?;
    let mut inputs = vec![Some(x)];
    for (i, name) in ["min", "max"].iter().enumerate() {
        let bound = cx.float(name)?.map(|b| cx.add_scalar(f64::from(b), x)).transpose()?;
        if bound.is_some() {
            inputs.resize(i + 1, None);
            inputs.push(bound);
        }
    }
    cx.finish("clip", inputs, Attrs::new())
}

/// Does nothing at inference; its mask is true everywhere.
fn dropout(cx: &mut NodeCx) -> Converted {
    if let Some(mode) = cx.opt(2) {
        match cx.imp.build.graph.constant(mode).and_then(Tensor::to_i64s) {
            Some(v) if v.iter().all(|&x| x == 0) => {}
            _ => return Err(OpError::unsupported("training mode is not supported; export the model for inference")),
        }
    }
    let x = cx.input(0)?;
    let y = cx.finish_with(op("identity")?, vec![Some(x)], Attrs::new(), 1, Vec::new())?;
    if cx.num_outputs() < 2 {
        return Ok(y);
    }
    let shape = cx.emit("shape", &[x], Attrs::new())?;
    let yes = cx.add_const(Tensor::bools(vec![], vec![true]));
    let mask = cx.emit("expand", &[yes, shape], Attrs::new())?;
    Ok([y, vec![mask]].concat())
}

/// Since opset 13 along one axis, by default the last. Before, the tensor was taken as a matrix whose rows are the
/// dimensions before `axis`, by default 1, and whose columns are all others.
fn softmax(cx: &mut NodeCx, name: &'static str) -> Converted {
    let rank = cx.rank(0)? as i64;
    let legacy = cx.opset < 13;
    let axis = cx.int("axis")?.unwrap_or(if legacy { 1 } else { -1 });
    if !(-rank..=rank).contains(&axis) {
        return Err(OpError::invalid(format!("axis {axis} is out of range for rank {rank}")));
    }
    let axis = if axis < 0 { axis + rank } else { axis };
    let x = cx.input(0)?;
    let dims = cx.ty(x).dims.clone();
    let columns = dims.get(axis as usize..).unwrap_or(&[]);
    let wide = columns.iter().filter(|d| d.known() != Some(1)).count();
    if !legacy || columns.len() == 1 {
        return cx.finish_all(name, &[x], Attrs::new().with("axis", axis));
    }
    if wide <= 1 && !columns.is_empty() {
        // Of the columns' dimensions only one is not 1: the softmax runs along that one.
        let at = columns.iter().position(|d| d.known() != Some(1)).unwrap_or(0) as i64;
        return cx.finish_all(name, &[x], Attrs::new().with("axis", axis + at));
    }
    let flat = cx.emit("flatten", &[x], Attrs::new().with("axis", axis))?;
    let soft = cx.emit(name, &[flat], Attrs::new().with("axis", 1i64))?;
    let shape = cx.emit("shape", &[x], Attrs::new())?;
    let shape = cx.reshape_shape(soft, shape)?;
    cx.finish_all("reshape", &[soft, shape], Attrs::new())
}
