//! Division by the Lp norm along a dimension.

use super::{Split, element_flops};
use crate::axes::normalize_axis;
use crate::define::BASE;
use crate::loops::{self, load_wide, map, wide};
use crate::real::{Evaluated, Real, eval_real};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// Lp normalisation.
pub static LP_NORMALIZATION: OpDecl = OpDecl {
    name: "lp_normalization",
    family: "norm",
    doc: "y = x / (sum of |x|^p along axis)^(1/p), 0 where the norm is 0. ONNX LpNormalization.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[
        AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(-1), "the normalised dimension"),
        AttrDecl::with_default("p", AttrKind::Int, AttrDefault::Int(2), "1 or 2"),
    ],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| element_flops(ctx, 3),
    samples,
    ..BASE
};

fn params(ctx: &OpCtx) -> Result<(usize, i64), OpError> {
    let axis = normalize_axis(ctx.int("axis").unwrap_or(-1), ctx.input(0)?.rank())?;
    match ctx.int("p").unwrap_or(2) {
        p @ 1..=2 => Ok((axis, p)),
        p => Err(OpError::invalid(format!("p is {p}; 1 and 2 are defined"))),
    }
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    params(ctx)?;
    let x = ctx.input(0)?;
    Ok(vec![TensorType::new(x.dtype, x.dims.iter().copied())])
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let (axis, p) = params(&ctx.op)?;
    let mut y = x.to_vec::<T>();
    for group in Split::new(x.dims().to_vec(), |i| i == axis).groups() {
        let power = |&i: &usize| if p == 1 { y[i].wide().abs() } else { y[i].wide().powi(2) };
        let sum: f64 = group.iter().map(power).sum();
        let norm = if p == 1 { sum } else { sum.sqrt() };
        for i in group {
            y[i] = if norm == 0.0 { T::ZERO } else { T::of(y[i].wide() / norm) };
        }
    }
    Ok(vec![Tensor::new(x.dims(), y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (axis, p) = params(ctx)?;
    let d = ctx.input(0)?.dtype;
    let w = wide(d);
    let split = Split::new(ctx.static_dims(0)?, |i| i == axis);
    let sum = split.reduce(Combine::Sum, |b, at| {
        let x = load_wide(b, Source::Input(0), at, d, None, 0.0);
        if p == 1 { b.unary(Unary::Abs, x) } else { b.mul(x, x) }
    });
    let norm = split.finish(0, w, |b, s| if p == 1 { s } else { b.unary(Unary::Sqrt, s) });
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, split.dims.len());
    let x = load_wide(&mut b, Source::Input(0), index, d, None, 0.0);
    let own = split.statistic(&mut b);
    let n = b.load(Source::Stage(1), own, w);
    let zero = b.lit(0.0, n);
    let empty = b.compare(Cmp::Eq, n, zero);
    let y = b.div(x, n);
    let y = b.select(empty, zero, y);
    let y = b.cast(y, d);
    let last = map(split.dims.clone(), b, y);
    Ok(loops::compute(vec![sum, norm, last]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..4)
        .map(|case| {
            let dims = g.dims(2 + case % 2, 6);
            let axis = g.int(-(dims.len() as i64), dims.len() as i64 - 1);
            draft().data(g.f32s(&dims)).attr("axis", axis).attr("p", 1 + case as i64 % 2).done()
        })
        .collect()
}
