//! Pooling of whole planes to one element.

use super::{P, Pool, lp};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, reduce, wide};
use crate::real::{Evaluated, Real, eval_real};
use crate::sample::{Gen, draft};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// What the global poolings share.
const GLOBAL: OpDecl = OpDecl {
    family: "pool",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    infer,
    flops: |ctx| Pool::global(ctx).map_or(0, |p| p.flops()),
    samples,
    ..BASE
};

/// Mean of each plane.
pub static GLOBAL_AVERAGE_POOL: OpDecl = OpDecl {
    name: "global_average_pool",
    doc: "Mean over all spatial dimensions. x: [N,C,D1..Dr], y: [N,C,1..1]. ONNX GlobalAveragePool.",
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_average),
    compute: Some(compute_average),
    ..GLOBAL
};

/// Maximum of each plane.
pub static GLOBAL_MAX_POOL: OpDecl = OpDecl {
    name: "global_max_pool",
    doc: "Maximum over all spatial dimensions. x: [N,C,D1..Dr], y: [N,C,1..1]. ONNX GlobalMaxPool.",
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_max),
    compute: Some(compute_max),
    ..GLOBAL
};

/// Lp norm of each plane.
pub static GLOBAL_LP_POOL: OpDecl = OpDecl {
    name: "global_lp_pool",
    doc: "(sum of |x|^p)^(1/p) over all spatial dimensions. x: [N,C,D1..Dr], y: [N,C,1..1]. ONNX GlobalLpPool.",
    attrs: &[P],
    infer: |ctx, syms| {
        lp::exponent(ctx)?;
        infer(ctx, syms)
    },
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_lp),
    compute: Some(|ctx| lp::norm(&Pool::global(ctx)?, ctx)),
    ..GLOBAL
};

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    if x.rank() < 3 {
        return Err(OpError::invalid(format!(
            "the input has rank {}; batch, channels and a spatial dimension are needed",
            x.rank()
        )));
    }
    if x.dims[2..].contains(&Dim::Const(0)) {
        return Err(OpError::invalid("the planes are empty"));
    }
    let dims = x.dims.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { Dim::Const(1) });
    Ok(vec![TensorType::new(x.dtype, dims)])
}

fn eval_average<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let pool = Pool::global(&ctx.op)?;
    let x = ctx.input(0)?.view::<T>();
    let mean = |x: &[T]| T::of(x.iter().map(|v| v.wide()).sum::<f64>() / x.len() as f64);
    Ok(vec![Tensor::new(pool.dims(), pool.evaluate(&x, |_, _, x| mean(x))?)])
}

fn eval_max<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let pool = Pool::global(&ctx.op)?;
    let x = ctx.input(0)?.view::<T>();
    let max = |x: &[T]| x.iter().fold(T::LOWEST, |a, &b| if b > a { b } else { a });
    Ok(vec![Tensor::new(pool.dims(), pool.evaluate(&x, |_, _, x| max(x))?)])
}

fn eval_lp<T: Real>(ctx: &EvalCtx) -> Evaluated {
    lp::evaluate::<T>(&Pool::global(&ctx.op)?, ctx)
}

/// A reduction over each plane.
fn plane(ctx: &OpCtx, combine: Combine) -> Result<(Pool, loops::Stage), OpError> {
    let pool = Pool::global(ctx)?;
    let d = ctx.input(0)?.dtype;
    let rank = pool.axes.len();
    let mut b = ScalarBuilder::new();
    let head = [b.axis(0), b.axis(1)];
    let inner: Vec<_> = (0..rank).map(|i| b.axis(2 + rank + i)).collect();
    let index = [head.to_vec(), inner].concat();
    let x = match combine {
        Combine::Sum => load_wide(&mut b, Source::Input(0), index, d, None, 0.0),
        _ => b.load(Source::Input(0), index, d),
    };
    let stage = reduce(pool.dims(), pool.taps(), combine, b, x);
    Ok((pool, stage))
}

fn compute_average(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (pool, sum) = plane(ctx, Combine::Sum)?;
    let d = ctx.input(0)?.dtype;
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, 2 + pool.axes.len());
    let total = b.load(Source::Stage(0), index, wide(d));
    let n = b.lit(pool.taps().iter().product::<usize>() as f64, total);
    let mean = b.div(total, n);
    let mean = b.cast(mean, d);
    Ok(loops::compute(vec![sum, map(pool.dims(), b, mean)]))
}

fn compute_max(ctx: &OpCtx) -> Result<Compute, OpError> {
    Ok(loops::compute(vec![plane(ctx, Combine::Max)?.1]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    [2, 2, 1, 3]
        .into_iter()
        .map(|rank| {
            let dims = [g.dims(2, 4), g.dims(rank, 7)].concat();
            draft().data(g.f32s(&dims)).done()
        })
        .collect()
}
