//! Reductions.

use super::Family;
use super::pool::pool_all;
use crate::cx::{Cx, Reason};
use crate::net::{Tid, Ty};
use mnnc_ir::Attr;
use mnnc_ops::axes::normalize_axes;
use mnnc_schema::mnn::{PoolType, ReductionType as R, UnaryOpOperation as U};

pub(super) const RULES: Family = &[
    ("reduce_mean", |cx| plain(cx, R::MEAN)),
    ("reduce_sum", |cx| plain(cx, R::SUM)),
    ("reduce_max", |cx| plain(cx, R::MAXIMUM)),
    ("reduce_min", |cx| plain(cx, R::MINIMUM)),
    ("reduce_prod", |cx| plain(cx, R::PROD)),
    ("reduce_l1", |cx| mapped(cx, Some(U::ABS), None)),
    ("reduce_l2", |cx| mapped(cx, Some(U::SQUARE), Some(U::SQRT))),
    ("reduce_sum_square", |cx| mapped(cx, Some(U::SQUARE), None)),
    ("reduce_log_sum", |cx| mapped(cx, None, Some(U::LOG))),
    ("reduce_log_sum_exp", log_sum_exp),
];

/// The reduced dims, sorted, and whether they stay as 1.
fn parameters(cx: &Cx, rank: usize) -> Result<(Vec<usize>, bool), Reason> {
    let truth = |attr: Option<Attr>, otherwise: bool| match attr {
        Some(Attr::Int(n)) => n != 0,
        Some(Attr::Bool(b)) => b,
        _ => otherwise,
    };
    let keep = truth(cx.op.attr("keepdims"), true);
    let given = if cx.op.opt_input(1).is_some() {
        cx.op.const_ints(1)?
    } else if cx.op.op.attr("axes").is_some() {
        cx.op.ints("axes").unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut axes = normalize_axes(&given, rank)?;
    axes.sort_unstable();
    let nothing_means_none =
        cx.op.op.attr("noop_with_empty_axes").is_some() && truth(cx.op.attr("noop_with_empty_axes"), false);
    if axes.is_empty() && !nothing_means_none {
        axes = (0..rank).collect();
    }
    Ok((axes, keep))
}

fn operand(cx: &mut Cx) -> Result<Tid, Reason> {
    let x = cx.input(0)?;
    match cx.ty(x) {
        Ty::Float | Ty::Int => Ok(x),
        _ => Err("MNN reduces float and int tensors only".into()),
    }
}

fn plain(cx: &mut Cx, f: R) -> Result<Vec<Tid>, Reason> {
    let x = operand(cx)?;
    let rank = cx.rank(x);
    let (axes, keep) = parameters(cx, rank)?;
    if cx.ty(x) == Ty::Float && rank == 4 && axes == [2, 3] && matches!(f, R::MEAN | R::MAXIMUM) {
        let kind = if f == R::MEAN { PoolType::AVEPOOL } else { PoolType::MAXPOOL };
        let y = pool_all(cx, x, kind);
        let shape = cx.output_shape(0);
        return Ok(vec![cx.reshape(y, shape)?]);
    }
    Ok(vec![cx.reduce(f, x, &axes, keep)?])
}

fn mapped(cx: &mut Cx, before: Option<U>, after: Option<U>) -> Result<Vec<Tid>, Reason> {
    let x = operand(cx)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN takes norms of float tensors only".into());
    }
    let (axes, keep) = parameters(cx, cx.rank(x))?;
    let x = before.map_or(x, |f| cx.unary(f, x));
    let y = cx.reduce(R::SUM, x, &axes, keep)?;
    Ok(vec![after.map_or(y, |f| cx.unary(f, y))])
}

fn log_sum_exp(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = operand(cx)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN takes norms of float tensors only".into());
    }
    let (axes, keep) = parameters(cx, cx.rank(x))?;
    // The greatest element taken out first, so that no exponential overflows.
    let top = cx.reduce(R::MAXIMUM, x, &axes, true)?;
    let x = cx.sub(x, top);
    let x = cx.unary(U::EXP, x);
    let sum = cx.reduce(R::SUM, x, &axes, true)?;
    let log = cx.unary(U::LOG, sum);
    let y = cx.add(log, top);
    let shape = cx.output_shape(0);
    if keep { Ok(vec![y]) } else { Ok(vec![cx.reshape(y, shape)?]) }
}
