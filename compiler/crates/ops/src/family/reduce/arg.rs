//! Positions of extremes.

use super::eval::Places;
use super::loop_form::Nest;
use super::{FAMILY, KEEPDIMS, left};
use crate::axes::normalize_axis;
use crate::define::{BASE, X_NUMERIC};
use crate::loops;
use crate::num::for_dtype;
use crate::sample::{Gen, draft};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Binary, Cmp, ScalarBuilder, Unary};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType,
};
use rayon::prelude::*;

const ARG: OpDecl = OpDecl {
    family: FAMILY,
    inputs: X_NUMERIC,
    outputs: &[Operand::required("output", DTypeSet::I64)],
    attrs: &[
        AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(0), "Dimension to search along."),
        KEEPDIMS,
        AttrDecl::with_default("select_last_index", AttrKind::Bool, AttrDefault::Bool(false), "Of equals, the last."),
    ],
    infer,
    flops: |ctx| ctx.opt_input(0).and_then(TensorType::num_elements).unwrap_or(0) as u64,
    samples,
    ..BASE
};

/// `arg_max`.
pub static ARG_MAX: OpDecl = OpDecl {
    name: "arg_max",
    doc: "The position of the greatest element along `axis`, of equals the first; a NaN counts as greatest.",
    eval: |ctx| eval(ctx, Combine::Max),
    compute: Some(|ctx| compute(ctx, Combine::Max)),
    ..ARG
};

/// `arg_min`.
pub static ARG_MIN: OpDecl = OpDecl {
    name: "arg_min",
    doc: "The position of the least element along `axis`, of equals the first; a NaN counts as least.",
    eval: |ctx| eval(ctx, Combine::Min),
    compute: Some(|ctx| compute(ctx, Combine::Min)),
    ..ARG
};

fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    normalize_axis(ctx.int("axis").unwrap_or(0), ctx.input(0)?.rank())
}

fn marks(ctx: &OpCtx) -> Result<Vec<bool>, OpError> {
    let axis = axis(ctx)?;
    Ok((0..ctx.input(0)?.rank()).map(|i| i == axis).collect())
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let axis = axis(ctx)?;
    if x.dims[axis] == Dim::Const(0) {
        return Err(OpError::invalid(format!("dimension {axis} has no elements to choose from")));
    }
    let dims = left(&x.dims, &marks(ctx)?, ctx.flag("keepdims"), Dim::Const(1));
    Ok(vec![TensorType::new(DType::I64, dims)])
}

fn eval(ctx: &EvalCtx, find: Combine) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0)?;
    let marks = marks(&ctx.op)?;
    let places = Places::new(x.dims(), &marks);
    let last = ctx.op.flag("select_last_index");
    let out: Vec<i64> = for_dtype!(x.dtype(), T => {
        let v = x.view::<T>();
        let one = |&first: &usize| {
            let mut best = 0;
            for (k, &i) in places.inner.iter().enumerate().skip(1) {
                let (a, b) = (v[first + i], v[first + places.inner[best]]);
                // A NaN, which differs from itself, wins over numbers.
                let (a_nan, b_nan) = (a.partial_cmp(&a).is_none(), b.partial_cmp(&b).is_none());
                let better = if find == Combine::Max { a > b } else { a < b };
                if (better || a_nan && !b_nan) || last && (a == b || a_nan && b_nan) {
                    best = k;
                }
            }
            best as i64
        };
        if v.len() < 100_000 { places.first.iter().map(one).collect() } else { places.first.par_iter().map(one).collect() }
    });
    Ok(vec![Tensor::new(left(x.dims(), &marks, ctx.op.flag("keepdims"), 1), out)])
}

/// First the extreme, then the least (or greatest) position that has it.
fn compute(ctx: &OpCtx, find: Combine) -> Result<Compute, OpError> {
    let d = ctx.input(0)?.dtype;
    let nest = Nest::new(&ctx.static_dims(0)?, &marks(ctx)?, ctx.flag("keepdims"));
    let mut b = ScalarBuilder::new();
    let x = nest.element(&mut b, d, d);
    let extreme = nest.combine(find, b, x);
    let mut b = ScalarBuilder::new();
    let x = nest.element(&mut b, d, d);
    let e = nest.result_of(&mut b, 0, d);
    let mut hit = b.compare(Cmp::Eq, x, e);
    if d.is_float() {
        let nan = b.unary(Unary::IsNan, x);
        hit = b.binary(Binary::Or, hit, nan);
    }
    let position = b.axis(nest.dims.len());
    let last = ctx.flag("select_last_index");
    let miss = b.int(if last { -1 } else { nest.over[0] as i64 });
    let body = b.select(hit, position, miss);
    let place = nest.combine(if last { Combine::Max } else { Combine::Min }, b, body);
    Ok(loops::compute(vec![extreme, place]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let ties = g.tensor(DType::I32, &[3, 7], 0.0, 2.0);
    vec![
        draft().data(g.f32s(&[2, 3, 4])).done(),
        draft().attr("axis", -1i64).attr("keepdims", false).data(g.f32s(&[2, 1000])).done(),
        draft().attr("axis", 1i64).data(ties.clone()).done(),
        draft().attr("axis", 1i64).attr("select_last_index", true).data(ties).done(),
        draft().attr("axis", 1i64).data(g.tensor(DType::U8, &[2, 5, 3], 0.0, 250.0)).done(),
    ]
}
