//! Order along a dim: greatest elements, their positions, running sums.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ir::Attr;
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{ArgMaxT, CumSumT, OpParameterT, OpType, TopKV2T};

pub(super) const RULES: Family = &[
    ("arg_max", |cx| arg(cx, OpType::ArgMax)),
    ("arg_min", |cx| arg(cx, OpType::ArgMin)),
    ("top_k", top_k),
    ("cum_sum", cum_sum),
];

fn truth(cx: &Cx, name: &str, otherwise: bool) -> bool {
    match cx.op.attr(name) {
        Some(Attr::Int(n)) => n != 0,
        Some(Attr::Bool(b)) => b,
        _ => otherwise,
    }
}

fn arg(cx: &mut Cx, op: OpType) -> Result<Vec<Tid>, Reason> {
    if truth(cx, "select_last_index", false) {
        return Err("MNN finds the first of equal elements, not the last".into());
    }
    let x = cx.input(0)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN seeks in float tensors only".into());
    }
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), cx.rank(x))?;
    let mut shape: Shape = cx.shape(x);
    shape.remove(axis);
    let main = ArgMaxT { axis: to_i32(axis)?, top_k: 1, ..ArgMaxT::default() };
    let y = cx.emit(op, OpParameterT::ArgMax(Box::new(main)), vec![x], (shape, Ty::Int), Layouts::Plain);
    let result = cx.output_shape(0);
    Ok(vec![cx.reshape(y, result)?])
}

fn top_k(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let ty = cx.ty(x);
    if ty != Ty::Float {
        return Err("MNN puts equal integers in no certain order; cast to f32".into());
    }
    let rank = cx.rank(x);
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(-1), rank)?;
    let k = cx.op.const_ints(1)?.first().copied().ok_or("k is empty")?;
    let k_size = usize::try_from(k).map_err(|_| "k is negative")?;
    // MNN sorts the last dim.
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(axis, rank - 1);
    let x = cx.permute(x, &perm)?;
    let mut shape = cx.shape(x);
    shape[rank - 1] = Some(k_size);
    let main = TopKV2T { t: ty.data_type(), sorted: true, largest: truth(cx, "largest", true) };
    let k = cx.int(to_i32(k)?);
    let main = OpParameterT::TopKV2(Box::new(main));
    let both =
        cx.emit_many(OpType::TopKV2, main, vec![x, k], vec![(shape.clone(), ty), (shape, Ty::Int)], Layouts::Plain);
    both.into_iter().map(|y| cx.permute(y, &perm)).collect()
}

fn cum_sum(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let result = (cx.shape(x), cx.ty(x));
    let axis = cx.op.const_ints(1)?.first().copied().ok_or("axis is empty")?;
    let axis = normalize_axis(axis, cx.rank(x))?;
    let axis = cx.int(to_i32(axis)?);
    let main = CumSumT { exclusive: truth(cx, "exclusive", false), reverse: truth(cx, "reverse", false) };
    Ok(vec![cx.emit(OpType::CumSum, OpParameterT::CumSum(Box::new(main)), vec![x, axis], result, Layouts::Plain)])
}
