//! Picking and placing by index.

use crate::mnn::op::{OpCx, Rows};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError, ValueId};
use mnnc_schema::mnn::{BinaryOpOperation as B, OpType};

pub(super) static ROWS: &[Row] = &[
    row(OpType::GatherV2, gather),
    row(OpType::Gather, gather),
    row(OpType::GatherElements, gather_elements),
    row(OpType::GatherND, gather_nd),
    row(OpType::ScatterNd, scatter_nd),
    row(OpType::ScatterElements, scatter_elements),
    row(OpType::OneHot, one_hot),
    row(OpType::Where, positions),
];

/// The axis of input `i`, or else that of the parameter, or else 0.
fn axis_of(cx: &OpCx, i: usize) -> Result<i64, OpError> {
    if let Some(p) = cx.op.main_as_axis() {
        return Ok(i64::from(p.axis()));
    }
    match cx.opt(i) {
        Some(_) => Ok(cx.const_ints(i, "the axis")?.first().copied().unwrap_or(0)),
        None => Ok(0),
    }
}

fn gather(cx: &mut OpCx) -> Rows {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = axis_of(cx, 2)?;
    Ok(vec![cx.emit("gather", &[x, indices], Attrs::new().with("axis", axis))?])
}

fn gather_elements(cx: &mut OpCx) -> Rows {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = axis_of(cx, 2)?;
    Ok(vec![cx.emit("gather_elements", &[x, indices], Attrs::new().with("axis", axis))?])
}

fn gather_nd(cx: &mut OpCx) -> Rows {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let batch = cx.op.main_as_axis().map_or(0, |p| i64::from(p.axis()));
    let indices = cx.cast(indices, DType::I64)?;
    Ok(vec![cx.emit("gather_nd", &[x, indices], Attrs::new().with("batch_dims", batch))?])
}

/// How what is placed meets what is there.
fn reduction(cx: &OpCx) -> Result<&'static str, OpError> {
    Ok(match cx.op.main_as_binary_op().map(|p| p.op_type()) {
        None | Some(B(-1)) => "none",
        Some(B::ADD) => "add",
        Some(B::MUL) => "mul",
        Some(B::MAXIMUM) => "max",
        Some(B::MINIMUM) => "min",
        Some(other) => return Err(OpError::unsupported(format!("the reduction {} is not supported", other.0))),
    })
}

/// Indices, updates, shape, and perhaps what is there before; else zeros are.
fn scatter_nd(cx: &mut OpCx) -> Rows {
    let (indices, updates) = (cx.input(0)?, cx.input(1)?);
    cx.format = cx.format_of(1);
    let reduction = reduction(cx)?;
    let data: ValueId = match cx.opt(3) {
        Some(data) => data,
        None => {
            let shape = cx.shape_operand(2)?;
            let zero = cx.scalar(0.0, updates)?;
            cx.aside("expand", &[zero, shape], Attrs::new())?
        }
    };
    let indices = cx.cast(indices, DType::I64)?;
    // Without data, equal indices add up.
    let reduction = if cx.opt(3).is_none() && reduction == "none" { "add" } else { reduction };
    Ok(vec![cx.emit("scatter_nd", &[data, indices, updates], Attrs::new().with("reduction", reduction))?])
}

fn scatter_elements(cx: &mut OpCx) -> Rows {
    let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = match cx.opt(3) {
        Some(_) => cx.const_ints(3, "the axis")?.first().copied().unwrap_or(0),
        None => 0,
    };
    let attrs = Attrs::new().with("axis", axis).with("reduction", reduction(cx)?);
    Ok(vec![cx.emit("scatter_elements", &[data, indices, updates], attrs)?])
}

fn one_hot(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_one_hot_param().map_or(-1, |p| i64::from(p.axis()));
    let (indices, depth, on, off) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (off, on) = (cx.reshape(off, &[1])?, cx.reshape(on, &[1])?);
    let values = cx.aside("concat", &[off, on], Attrs::new().with("axis", 0i64))?;
    let depth = if cx.rank(depth) == 0 { depth } else { cx.reshape(depth, &[])? };
    // Indices from the back are none in MNN: they match nowhere, as those beyond the depth.
    let (zero, beyond) = (cx.scalar(0.0, indices)?, cx.cast(depth, cx.ty(indices).dtype)?);
    let negative = cx.aside("less", &[indices, zero], Attrs::new())?;
    let indices = cx.aside("where", &[negative, beyond, indices], Attrs::new())?;
    Ok(vec![cx.emit("one_hot", &[indices, depth, values], Attrs::new().with("axis", axis))?])
}

/// Index tuples of what is not zero, one a row.
fn positions(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let places = cx.emit("non_zero", &[x], Attrs::new())?;
    let rows = cx.aside("transpose", &[places], Attrs::new().with("perm", vec![1i64, 0]))?;
    Ok(vec![cx.cast(rows, DType::I32)?])
}
