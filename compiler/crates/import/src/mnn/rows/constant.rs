//! Constants, and what hands its input on.

use crate::mnn::format::Format;
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use crate::mnn::tensor::run_time_type;
use mnnc_ir::{Attrs, DType, OpError};
use mnnc_schema::mnn::OpType;

pub(super) static ROWS: &[Row] = &[
    row(OpType::Const, constant),
    row(OpType::TrainableParam, constant),
    row(OpType::Identity, |cx| cx.all()),
    row(OpType::Copy, |cx| cx.all()),
    row(OpType::Dropout, |cx| cx.all()),
    row(OpType::ConvertTensor, convert),
    row(OpType::Cast, cast),
    row(OpType::CastLike, cast_like),
];

fn constant(cx: &mut OpCx) -> Rows {
    let blob = cx.op.main_as_blob().ok_or_else(|| lacks("Blob"))?;
    cx.format = Format::of(blob.data_format());
    let t = cx.imp.blob(&blob)?;
    let v = cx.constant(t);
    // Wider integers do not exist at run time; halves and bf16 are expanded when they are loaded.
    match cx.ty(v).dtype {
        DType::I64 => cx.cast(v, DType::I32),
        DType::F16 => cx.cast(v, DType::F32),
        _ => Ok(v),
    }
    .map(|v| vec![v])
}

/// Another data format: other dims where channels move, else only another place in memory.
fn convert(cx: &mut OpCx) -> Rows {
    let info = cx.op.main_as_tensor_convert_info().ok_or_else(|| lacks("TensorConvertInfo"))?;
    let x = cx.input(0)?;
    let from = cx.format_of(0);
    cx.format = Format::of(info.dest());
    Ok(vec![cx.reordered(x, from, cx.format)?])
}

fn cast(cx: &mut OpCx) -> Rows {
    let param = cx.op.main_as_cast_param().ok_or_else(|| lacks("CastParam"))?;
    let x = cx.input(0)?;
    let to = param.dst_t();
    if to == mnnc_schema::mnn::DataType::DT_BOOL {
        let flags = cx.aside("cast", &[x], Attrs::new().with("to", DType::Bool))?;
        return Ok(vec![cx.emit("cast", &[flags], Attrs::new().with("to", DType::I32))?]);
    }
    to_type(cx, run_time_type(to)?)
}

fn cast_like(cx: &mut OpCx) -> Rows {
    let like = cx.input(1)?;
    let to = cx.ty(like).dtype;
    to_type(cx, to)
}

fn to_type(cx: &mut OpCx, to: DType) -> Rows {
    let x = cx.input(0)?;
    if cx.ty(x).dtype == to {
        return Ok(vec![x]);
    }
    if to == DType::BF16 {
        return Err(OpError::unsupported("a conversion to bf16 is not supported"));
    }
    Ok(vec![cx.emit("cast", &[x], Attrs::new().with("to", to))?])
}
