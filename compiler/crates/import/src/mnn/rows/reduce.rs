//! Reductions, searches and running sums.

use crate::mnn::format::Format;
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError, ValueId};
use mnnc_schema::mnn::{OpType, ReductionType};

pub(super) static ROWS: &[Row] = &[
    row(OpType::Reduction, reduction),
    row(OpType::ArgMax, |cx| arg(cx, "arg_max")),
    row(OpType::ArgMin, |cx| arg(cx, "arg_min")),
    row(OpType::TopKV2, top_k),
    row(OpType::CumSum, cum_sum),
    row(OpType::CumProd, cum_prod),
];

fn reduction(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_reduction_param().ok_or_else(|| lacks("ReductionParam"))?;
    let x = cx.input(0)?;
    let axes: Option<Vec<i64>> = match (p.dim(), cx.opt(1)) {
        (Some(dim), _) => Some(dim.iter().map(i64::from).collect()),
        (None, Some(_)) => Some(cx.const_ints(1, "the axes")?),
        (None, None) => None,
    };
    let op = match p.operation() {
        ReductionType::SUM => "reduce_sum",
        ReductionType::ASUM => "reduce_l1",
        ReductionType::SUMSQ => "reduce_sum_square",
        ReductionType::MEAN => "reduce_mean",
        ReductionType::MAXIMUM | ReductionType::ANY => "reduce_max",
        ReductionType::MINIMUM | ReductionType::ALL => "reduce_min",
        ReductionType::PROD => "reduce_prod",
        other => return Err(OpError::unsupported(format!("the reduction {} is not supported", other.0))),
    };
    if axes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(vec![x]);
    }
    let mut inputs = vec![x];
    if let Some(axes) = axes {
        inputs.push(cx.ints(&axes));
    }
    Ok(vec![cx.emit(op, &inputs, Attrs::new().with("keepdims", p.keep_dims()))?])
}

fn arg(cx: &mut OpCx, op: &str) -> Rows {
    let p = cx.op.main_as_arg_max().ok_or_else(|| lacks("ArgMax"))?;
    if cx.format_of(0) == Format::Packed {
        return Err(OpError::unsupported("Caffe's form of this operator, on a packed tensor, is not supported"));
    }
    let x = cx.input(0)?;
    let axis = cx.axis(x, p.axis())?;
    let y = cx.emit(op, &[x], Attrs::new().with("axis", axis).with("keepdims", false))?;
    Ok(vec![cx.cast(y, DType::I32)?])
}

fn top_k(cx: &mut OpCx) -> Rows {
    let largest = cx.op.main_as_top_kv2().is_none_or(|p| p.largest());
    let x = cx.input(0)?;
    let axis = match cx.opt(2) {
        Some(_) => cx.const_ints(2, "the axis")?.first().copied().unwrap_or(-1),
        None => -1,
    };
    let k = cx.shape_operand(1)?;
    let attrs = Attrs::new().with("axis", axis).with("largest", largest);
    let out = cx.emit_many("top_k", vec![Some(x), Some(k)], attrs, 2)?;
    let [values, indices] = out[..] else { return Err(OpError::invalid("top_k gives two outputs")) };
    Ok(vec![values, cx.cast(indices, DType::I32)?])
}

fn running(cx: &mut OpCx, op: &str, axis: i64, attrs: Attrs) -> Result<ValueId, OpError> {
    let x = cx.input(0)?;
    let axis = cx.ints(&[axis]);
    let axis = cx.reshape(axis, &[])?;
    cx.emit(op, &[x, axis], attrs)
}

fn cum_sum(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_cum_sum().ok_or_else(|| lacks("CumSum"))?;
    let axis = cx.const_ints(1, "the axis")?.first().copied().unwrap_or(0);
    let attrs = Attrs::new().with("exclusive", p.exclusive()).with("reverse", p.reverse());
    Ok(vec![running(cx, "cum_sum", axis, attrs)?])
}

fn cum_prod(cx: &mut OpCx) -> Rows {
    let axis = cx.op.main_as_axis().map_or(0, |p| i64::from(p.axis()));
    Ok(vec![running(cx, "cum_prod", axis, Attrs::new())?])
}
