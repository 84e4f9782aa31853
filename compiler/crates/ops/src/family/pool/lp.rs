//! Lp norm over sliding windows.

use super::{AUTO_PAD, CEIL_MODE, DILATIONS, KERNEL_SHAPE, P, PADS, Pool, STRIDES, drafts, infer_dims};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, reduce, wide, window_index};
use crate::real::{Evaluated, Real, eval_real};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Binary, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

/// Lp pooling.
pub static LP_POOL: OpDecl = OpDecl {
    name: "lp_pool",
    family: "pool",
    doc: "(sum of |x|^p)^(1/p) of each window, padding being zero. x: [N,C,D1..Dr], r in 1..=3. ONNX LpPool.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[KERNEL_SHAPE, STRIDES, PADS, DILATIONS, AUTO_PAD, CEIL_MODE, P],
    infer: |ctx, syms| {
        exponent(ctx)?;
        Ok(vec![TensorType::new(ctx.input(0)?.dtype, infer_dims(ctx, syms)?)])
    },
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(|ctx| norm(&Pool::new(ctx)?, ctx)),
    flops: |ctx| Pool::new(ctx).map_or(0, |p| p.flops().saturating_mul(3)),
    samples: |seed| {
        let with = |(i, d): (usize, crate::sample::Draft)| d.attr("p", 1 + i as i64 % 3).done();
        drafts(seed, DType::F32).into_iter().enumerate().map(with).collect::<Vec<Sample>>()
    },
    ..BASE
};

/// The checked `p`.
pub(super) fn exponent(ctx: &OpCtx) -> Result<i64, OpError> {
    let p = ctx.int("p").unwrap_or(2);
    if (1..=64).contains(&p) { Ok(p) } else { Err(OpError::invalid(format!("p is {p}; 1 to 64 are supported"))) }
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    evaluate::<T>(&Pool::new(&ctx.op)?, ctx)
}

/// Evaluates the norm over the windows of `pool`.
pub(super) fn evaluate<T: Real>(pool: &Pool, ctx: &EvalCtx) -> Evaluated {
    let p = exponent(&ctx.op)?;
    let x = ctx.input(0)?.view::<T>();
    let y = pool.evaluate(&x, |taps, _, x| {
        let mut sum = 0.0;
        taps.each(|i| sum += x[i].wide().abs().powi(p as i32));
        T::of(sum.powf(1.0 / p as f64))
    })?;
    Ok(vec![Tensor::new(pool.dims(), y)])
}

/// The loop form of the norm over the windows of `pool`.
pub(super) fn norm(pool: &Pool, ctx: &OpCtx) -> Result<Compute, OpError> {
    let d = ctx.input(0)?.dtype;
    let p = exponent(ctx)?;
    let rank = pool.axes.len();
    let mut b = ScalarBuilder::new();
    let head = [b.axis(0), b.axis(1)];
    let (spatial, guard) = window_index(&mut b, &pool.axes, 2, 2 + rank);
    let x = load_wide(&mut b, Source::Input(0), [head.to_vec(), spatial].concat(), d, guard, 0.0);
    let x = b.unary(Unary::Abs, x);
    let power = match p {
        1 => x,
        2 => b.mul(x, x),
        _ => raise(&mut b, x, p as f64),
    };
    let sum = reduce(pool.dims(), pool.taps(), Combine::Sum, b, power);
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, 2 + rank);
    let sum_at = b.load(Source::Stage(0), index, wide(d));
    let root = match p {
        1 => sum_at,
        2 => b.unary(Unary::Sqrt, sum_at),
        _ => raise(&mut b, sum_at, 1.0 / p as f64),
    };
    let root = b.cast(root, d);
    Ok(loops::compute(vec![sum, map(pool.dims(), b, root)]))
}

fn raise(b: &mut ScalarBuilder, x: Expr, p: f64) -> Expr {
    let p = b.lit(p, x);
    b.binary(Binary::Pow, x, p)
}
