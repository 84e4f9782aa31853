//! Normalisations.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, OpError};

pub(super) static ROWS: &[Row] = &[
    plain("InstanceNormalization", "instance_normalization"),
    plain("LRN", "lrn"),
    plain("LpNormalization", "lp_normalization"),
    plain("MeanVarianceNormalization", "mean_variance_normalization"),
    with("BatchNormalization", batch_norm),
    with("GroupNormalization", group_norm),
    with("LayerNormalization", |cx| layer_norm(cx, "layer_normalization")),
    with("RMSNormalization", |cx| layer_norm(cx, "rms_normalization")),
    // ONNX Runtime's exporters wrote this one into the standard domain before there was RMSNormalization.
    with("SimplifiedLayerNormalization", |cx| layer_norm(cx, "rms_normalization")),
];

/// Inference only: running statistics in, one output.
fn batch_norm(cx: &mut NodeCx) -> Converted {
    if cx.int("spatial")?.unwrap_or(1) == 0 {
        return Err(OpError::unsupported("statistics for each element (spatial=0) are not supported"));
    }
    if cx.int("training_mode")?.unwrap_or(0) != 0 || cx.num_outputs() > 1 {
        return Err(OpError::unsupported("training mode is not supported; export the model for inference"));
    }
    let attrs = cx.attrs(op("batch_normalization")?, &["spatial", "training_mode", "momentum"])?;
    cx.finish("batch_normalization", cx.inputs.clone(), attrs)
}

/// Scale and bias were one for each group before opset 21, and are one for each channel since.
fn group_norm(cx: &mut NodeCx) -> Converted {
    if cx.opset >= 21 {
        let attrs = cx.attrs(op("group_normalization")?, &["stash_type"])?;
        return cx.finish("group_normalization", cx.inputs.clone(), attrs);
    }
    let groups = cx.int("num_groups")?.ok_or_else(|| OpError::invalid("attribute num_groups is missing"))?;
    let x = cx.input(0)?;
    let channels = cx
        .ty(x)
        .dims
        .get(1)
        .and_then(|d| d.known())
        .map(|c| c as i64)
        .ok_or_else(|| OpError::unsupported("the number of channels must be known"))?;
    if groups < 1 || channels % groups != 0 {
        return Err(OpError::invalid(format!("{channels} channels do not divide into {groups} groups")));
    }
    let of_channel: Vec<i64> = (0..channels).map(|c| c / (channels / groups)).collect();
    let index = cx.add_ints(&of_channel);
    let mut inputs = vec![x];
    for i in 1..3 {
        let p = cx.input(i)?;
        inputs.push(cx.emit("gather", &[p, index], Attrs::new().with("axis", 0i64))?);
    }
    let attrs = cx.attrs(op("group_normalization")?, &["stash_type"])?;
    cx.finish_all("group_normalization", &inputs, attrs)
}

/// `stash_type` is a precision that the result does not depend on beyond rounding.
fn layer_norm(cx: &mut NodeCx, name: &'static str) -> Converted {
    let attrs = cx.attrs(op(name)?, &["stash_type"])?;
    cx.finish(name, cx.inputs.clone(), attrs)
}
