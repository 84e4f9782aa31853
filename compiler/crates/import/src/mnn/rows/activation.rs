//! Activations with parameters of their own.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError};
use mnnc_schema::mnn::OpType;

pub(super) static ROWS: &[Row] = &[
    row(OpType::ReLU, relu),
    row(OpType::ReLU6, relu6),
    row(OpType::PReLU, prelu),
    row(OpType::ELU, elu),
    row(OpType::Selu, selu),
    row(OpType::Sigmoid, |cx| plain(cx, "sigmoid")),
    row(OpType::TanH, |cx| plain(cx, "tanh")),
    row(OpType::Softmax, softmax),
    row(OpType::Threshold, threshold),
];

fn plain(cx: &mut OpCx, op: &str) -> Rows {
    let x = cx.input(0)?;
    Ok(vec![cx.emit(op, &[x], Attrs::new())?])
}

fn relu(cx: &mut OpCx) -> Rows {
    let slope = cx.op.main_as_relu().map_or(0.0, |p| p.slope());
    let x = cx.input(0)?;
    if slope == 0.0 {
        return plain(cx, "relu");
    }
    Ok(vec![cx.emit("leaky_relu", &[x], Attrs::new().with("alpha", slope))?])
}

fn relu6(cx: &mut OpCx) -> Rows {
    let (low, high) = cx.op.main_as_relu6().map_or((0.0, 6.0), |p| (p.min_value(), p.max_value()));
    let x = cx.input(0)?;
    let (low, high) = (cx.scalar(f64::from(low), x)?, cx.scalar(f64::from(high), x)?);
    Ok(vec![cx.emit("clip", &[x, low, high], Attrs::new())?])
}

fn prelu(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_prelu().ok_or_else(|| lacks("PRelu"))?;
    let slopes = p.slope().map_or(0, |s| s.len());
    let slope = cx.imp.floats(p.slope(), &[slopes], "the slope")?.ok_or_else(|| lacks("PRelu.slope"))?;
    if slopes == 1 {
        let x = cx.input(0)?;
        let slope = cx.constant(slope);
        return Ok(vec![cx.emit("prelu", &[x, slope], Attrs::new())?]);
    }
    let x = cx.image(0)?;
    let mut dims = vec![1usize; cx.rank(x).saturating_sub(1)];
    if let Some(first) = dims.first_mut() {
        *first = slopes;
    }
    let slope =
        slope.reshaped(dims).ok_or_else(|| OpError::invalid("slopes for channels of a tensor that has none"))?;
    let slope = cx.constant(slope);
    let y = cx.emit("prelu", &[x, slope], Attrs::new())?;
    Ok(vec![cx.image_out(y)?])
}

fn elu(cx: &mut OpCx) -> Rows {
    let alpha = cx.op.main_as_elu().map_or(1.0, |p| p.alpha());
    let x = cx.input(0)?;
    Ok(vec![cx.emit("elu", &[x], Attrs::new().with("alpha", alpha))?])
}

fn selu(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_selu().ok_or_else(|| lacks("Selu"))?;
    let x = cx.input(0)?;
    Ok(vec![cx.emit("selu", &[x], Attrs::new().with("alpha", p.alpha()).with("gamma", p.scale()))?])
}

fn softmax(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_axis().ok_or_else(|| lacks("Axis"))?.axis();
    let x = cx.input(0)?;
    let axis = cx.axis(x, axis)?;
    Ok(vec![cx.emit("softmax", &[x], Attrs::new().with("axis", axis))?])
}

/// 1 above the bound, else 0. The bound is the slope of a ReLU's description.
fn threshold(cx: &mut OpCx) -> Rows {
    let bound = cx.op.main_as_elu().map_or(0.0, |p| p.alpha());
    let x = cx.input(0)?;
    let bound = cx.scalar(f64::from(bound), x)?;
    let above = cx.emit("greater", &[x, bound], Attrs::new())?;
    Ok(vec![cx.cast(above, DType::F32)?])
}
