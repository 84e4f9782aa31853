//! Softmax and its kin.

use crate::axes::normalize_axis;
use crate::define::BASE;
use crate::family::norm::Split;
use crate::loops::{self, load_wide, map, wide};
use crate::real::{Evaluated, Real, eval_real};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};
use rayon::prelude::*;

const ALONG_AXIS: OpDecl = OpDecl {
    family: "softmax",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(-1), "the dimension it runs along")],
    infer,
    flops: |ctx| ctx.input(0).ok().and_then(|t| t.num_elements()).map_or(0, |n| 5 * n as u64),
    samples,
    ..BASE
};

/// Softmax.
pub static SOFTMAX: OpDecl = OpDecl {
    name: "softmax",
    doc: "y = exp(x - m) / sum(exp(x - m)) along one dimension, m being the maximum. ONNX Softmax since opset 13.",
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_softmax),
    compute: Some(|ctx| compute(ctx, false)),
    ..ALONG_AXIS
};

/// Logarithm of softmax.
pub static LOG_SOFTMAX: OpDecl = OpDecl {
    name: "log_softmax",
    doc: "y = x - m - log(sum(exp(x - m))) along one dimension, m being the maximum. ONNX LogSoftmax since opset 13.",
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_log_softmax),
    compute: Some(|ctx| compute(ctx, true)),
    ..ALONG_AXIS
};

/// One at the maximum.
pub static HARDMAX: OpDecl = OpDecl {
    name: "hardmax",
    doc: "1 at the first maximum along one dimension, 0 elsewhere. ONNX Hardmax since opset 13.",
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_hardmax),
    compute: Some(compute_hardmax),
    ..ALONG_AXIS
};

fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    normalize_axis(ctx.int("axis").unwrap_or(-1), ctx.input(0)?.rank())
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    axis(ctx)?;
    let x = ctx.input(0)?;
    Ok(vec![TensorType::new(x.dtype, x.dims.iter().copied())])
}

/// Applies `f` to every line along the axis.
fn along<T: Real>(ctx: &EvalCtx, f: impl Fn(&mut [T]) + Sync) -> Evaluated {
    let x = ctx.input(0)?;
    let (dims, axis) = (x.dims(), axis(&ctx.op)?);
    let n = dims[axis];
    let inner: usize = dims[axis + 1..].iter().product();
    let mut y = x.to_vec::<T>();
    if !y.is_empty() {
        y.par_chunks_mut(n * inner).for_each(|block| {
            if inner == 1 {
                return f(block);
            }
            let mut line = vec![T::ZERO; n];
            for i in 0..inner {
                line.iter_mut().zip(block[i..].iter().step_by(inner)).for_each(|(l, &x)| *l = x);
                f(&mut line);
                block[i..].iter_mut().step_by(inner).zip(&line).for_each(|(x, &l)| *x = l);
            }
        });
    }
    Ok(vec![Tensor::new(dims, y)])
}

fn maximum<T: Real>(line: &[T]) -> T {
    line.iter().fold(T::LOWEST, |m, &x| if x > m { x } else { m })
}

fn eval_softmax<T: Real>(ctx: &EvalCtx) -> Evaluated {
    along::<T>(ctx, |line| {
        let m = maximum(line);
        line.iter_mut().for_each(|x| *x = (*x - m).exp());
        let sum = T::of(line.iter().map(|x| x.wide()).sum());
        line.iter_mut().for_each(|x| *x = *x / sum);
    })
}

fn eval_log_softmax<T: Real>(ctx: &EvalCtx) -> Evaluated {
    along::<T>(ctx, |line| {
        let m = maximum(line);
        let sum: f64 = line.iter().map(|&x| (x - m).exp().wide()).sum();
        let log = T::of(sum.ln());
        line.iter_mut().for_each(|x| *x = *x - m - log);
    })
}

fn eval_hardmax<T: Real>(ctx: &EvalCtx) -> Evaluated {
    along::<T>(ctx, |line| {
        let mut best = 0;
        for i in 1..line.len() {
            if line[i] > line[best] {
                best = i;
            }
        }
        line.iter_mut().enumerate().for_each(|(i, x)| *x = if i == best { T::ONE } else { T::ZERO });
    })
}

fn element(b: &mut ScalarBuilder, at: Vec<Expr>, d: DType) -> Expr {
    load_wide(b, Source::Input(0), at, d, None, 0.0)
}

fn last(split: &Split, d: DType, f: impl FnOnce(&mut ScalarBuilder, Vec<Expr>, Vec<Expr>) -> Expr) -> Stage {
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, split.dims.len());
    let own = split.statistic(&mut b);
    let y = f(&mut b, index, own);
    let y = b.cast(y, d);
    map(split.dims.clone(), b, y)
}

fn compute(ctx: &OpCtx, log: bool) -> Result<Compute, OpError> {
    let (axis, d) = (axis(ctx)?, ctx.input(0)?.dtype);
    let w = wide(d);
    let split = Split::new(ctx.static_dims(0)?, |i| i == axis);
    let maximum = split.reduce(Combine::Max, |b, at| element(b, at, d));
    let sum = split.reduce(Combine::Sum, |b, at| {
        let x = element(b, at, d);
        let own = split.own(b);
        let m = b.load(Source::Stage(0), own, w);
        let x = b.sub(x, m);
        b.unary(Unary::Exp, x)
    });
    let y = last(&split, d, |b, at, own| {
        let x = element(b, at, d);
        let m = b.load(Source::Stage(0), own.clone(), w);
        let s = b.load(Source::Stage(1), own, w);
        let x = b.sub(x, m);
        if log {
            let s = b.unary(Unary::Log, s);
            b.sub(x, s)
        } else {
            let e = b.unary(Unary::Exp, x);
            b.div(e, s)
        }
    });
    Ok(loops::compute(vec![maximum, sum, y]))
}

fn compute_hardmax(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (axis, d) = (axis(ctx)?, ctx.input(0)?.dtype);
    let w = wide(d);
    let split = Split::new(ctx.static_dims(0)?, |i| i == axis);
    let n = split.dims[axis] as i64;
    let maximum = split.reduce(Combine::Max, |b, at| element(b, at, d));
    let first = split.reduce(Combine::Min, |b, at| {
        let position = at[axis];
        let x = element(b, at, d);
        let own = split.own(b);
        let m = b.load(Source::Stage(0), own, w);
        let equal = b.compare(Cmp::Eq, x, m);
        let none = b.int(n);
        b.select(equal, position, none)
    });
    let y = last(&split, d, |b, at, own| {
        let found = b.load(Source::Stage(1), own, DType::I64);
        let here = b.compare(Cmp::Eq, at[axis], found);
        let (one, zero) = (b.constant(1.0, d), b.constant(0.0, d));
        b.select(here, one, zero)
    });
    Ok(loops::compute(vec![maximum, first, y]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(1 + case % 4, 7);
            let rank = dims.len() as i64;
            let d = draft().data(g.tensor(DType::F32, &dims, -9.0, 9.0));
            if case == 0 { d.done() } else { d.attr("axis", g.int(-rank, rank - 1)).done() }
        })
        .collect()
}
