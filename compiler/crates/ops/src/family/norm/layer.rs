//! Normalisation over trailing dimensions.

use super::{EPSILON, STASH_TYPE, Split, element_flops, epsilon};
use crate::axes::normalize_axis;
use crate::broadcast::{broadcast, broadcast_strides};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, wide};
use crate::real::{Evaluated, Real, eval_real, reals};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};
use rayon::prelude::*;

const AXIS: AttrDecl = AttrDecl::with_default(
    "axis",
    AttrKind::Int,
    AttrDefault::Int(-1),
    "first of the normalised dimensions, which reach to the last",
);

/// Layer normalisation.
pub static LAYER_NORMALIZATION: OpDecl = OpDecl {
    name: "layer_normalization",
    family: "norm",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + bias, the statistics over dimensions axis.. of each row; scale and \
          bias broadcast to x. Further outputs: mean and 1 / sqrt(var + epsilon). ONNX LayerNormalization.",
    inputs: &[
        Operand::required("x", DTypeSet::FLOAT),
        Operand::required("scale", DTypeSet::FLOAT),
        Operand::optional("bias", DTypeSet::FLOAT),
    ],
    outputs: &[
        Operand::required("y", DTypeSet::FLOAT),
        Operand::optional("mean", DTypeSet::FLOAT),
        Operand::optional("inv_std_dev", DTypeSet::FLOAT),
    ],
    attrs: &[AXIS, EPSILON, STASH_TYPE],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_layer),
    compute: Some(|ctx| compute(ctx, true)),
    flops: |ctx| element_flops(ctx, 7),
    samples: |seed| samples(seed, true),
    ..BASE
};

/// Root-mean-square normalisation.
pub static RMS_NORMALIZATION: OpDecl = OpDecl {
    name: "rms_normalization",
    family: "norm",
    doc: "y = x / sqrt(mean(x^2) + epsilon) * scale, the mean over dimensions axis.. of each row; scale broadcasts to x. \
          ONNX RMSNormalization.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT), Operand::required("scale", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[AXIS, EPSILON, STASH_TYPE],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_rms),
    compute: Some(|ctx| compute(ctx, false)),
    flops: |ctx| element_flops(ctx, 4),
    samples: |seed| samples(seed, false),
    ..BASE
};

fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    normalize_axis(ctx.int("axis").unwrap_or(-1), ctx.input(0)?.rank())
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let axis = axis(ctx)?;
    for i in 1..ctx.op.inputs.len() {
        let Some(t) = ctx.opt_input(i) else { continue };
        let out = broadcast([&x.dims[..], &t.dims], syms)?;
        let grown = out.iter().zip(&x.dims).any(|p| matches!(p, (Dim::Const(a), Dim::Const(b)) if a != b));
        if out.len() != x.rank() || grown {
            return Err(OpError::invalid(format!("{} does not broadcast to the input's shape", ctx.op.inputs[i].name)));
        }
    }
    let y = TensorType::new(x.dtype, x.dims.iter().copied());
    let stat = x.dims.iter().enumerate().map(|(i, &d)| if i < axis { d } else { Dim::Const(1) });
    let stat = TensorType::new(wide(x.dtype), stat);
    Ok([y, stat.clone(), stat].into_iter().take(ctx.op.outputs.len()).collect())
}

fn eval_layer<T: Real>(ctx: &EvalCtx) -> Evaluated {
    eval::<T>(ctx, true)
}

fn eval_rms<T: Real>(ctx: &EvalCtx) -> Evaluated {
    eval::<T>(ctx, false)
}

fn eval<T: Real>(ctx: &EvalCtx, centre: bool) -> Evaluated {
    let x = ctx.input(0)?;
    let (dims, axis, eps) = (x.dims(), axis(&ctx.op)?, epsilon(&ctx.op));
    let len: usize = dims[axis..].iter().product();
    let rows = dims[..axis].iter().product::<usize>();
    let mut y = reals::<T>(x).into_owned();
    if len == 0 {
        return Ok(vec![Tensor::new(dims, y)]);
    }
    let stats: Vec<(f64, f64)> = y
        .par_chunks_mut(len)
        .map(|row| {
            let mean = if centre { row.iter().map(|v| v.wide()).sum::<f64>() / len as f64 } else { 0.0 };
            let var = row.iter().map(|v| (v.wide() - mean).powi(2)).sum::<f64>() / len as f64;
            let inverse = 1.0 / (var + eps).sqrt();
            row.iter_mut().for_each(|v| *v = T::of((v.wide() - mean) * inverse));
            (mean, inverse)
        })
        .collect();
    for i in 1..ctx.inputs.len() {
        let Some(p) = ctx.opt_input(i) else { continue };
        let values = reals::<T>(p);
        let at = positions(p.dims(), dims);
        for (j, v) in y.iter_mut().enumerate() {
            let p = values[at(j)];
            *v = if i == 1 { *v * p } else { *v + p };
        }
    }
    let mut out = vec![Tensor::new(dims, y)];
    if centre {
        let stat_dims: Vec<usize> = dims.iter().enumerate().map(|(i, &d)| if i < axis { d } else { 1 }).collect();
        debug_assert_eq!(stats.len(), rows);
        out.push(Tensor::new(stat_dims.clone(), stats.iter().map(|s| T::of(s.0)).collect()));
        out.push(Tensor::new(stat_dims, stats.iter().map(|s| T::of(s.1)).collect()));
        out.truncate(ctx.op.num_outputs.max(1));
    }
    Ok(out)
}

/// From a position in a flat tensor of shape `dims` to that in a parameter which is broadcast to it.
fn positions(param: &[usize], dims: &[usize]) -> impl Fn(usize) -> usize {
    let steps = broadcast_strides(param, dims);
    let dims = dims.to_vec();
    move |mut i| {
        let mut at = 0;
        for (&n, &s) in dims.iter().zip(&steps).rev() {
            at += i % n * s;
            i /= n;
        }
        at
    }
}

/// A parameter's element in a nest over the whole tensor, in the wide type of `x`.
fn param(ctx: &OpCtx, b: &mut ScalarBuilder, i: usize, rank: usize, w: DType) -> Result<Option<Expr>, OpError> {
    let Some(t) = ctx.opt_input(i) else { return Ok(None) };
    let dims = ctx.static_dims(i)?;
    let skip = rank - dims.len();
    let index = dims.iter().enumerate().map(|(j, &n)| if n == 1 { b.int(0) } else { b.axis(skip + j) }).collect();
    let e = b.load(Source::Input(i), index, t.dtype);
    Ok(Some(b.cast(e, w)))
}

fn compute(ctx: &OpCtx, centre: bool) -> Result<Compute, OpError> {
    let (axis, d) = (axis(ctx)?, ctx.input(0)?.dtype);
    let w = wide(d);
    let split = Split::new(ctx.static_dims(0)?, |i| i >= axis);
    let mut stages: Vec<Stage> = Vec::new();
    let (mean, var) = if centre {
        let mean = split.mean(&mut stages, d);
        (Some(mean), split.variance(&mut stages, d, mean))
    } else {
        stages.push(split.reduce(Combine::Sum, |b, at| {
            let x = load_wide(b, Source::Input(0), at, d, None, 0.0);
            b.mul(x, x)
        }));
        (None, split.divide_by_count(&mut stages, w))
    };
    stages.push(split.finish(var, w, |b, v| {
        let eps = b.lit(epsilon(ctx), v);
        let v = b.add(v, eps);
        let root = b.unary(Unary::Sqrt, v);
        let one = b.lit(1.0, root);
        b.div(one, root)
    }));
    let inverse = stages.len() - 1;

    let rank = split.dims.len();
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, rank);
    let mut y = load_wide(&mut b, Source::Input(0), index, d, None, 0.0);
    let own = split.statistic(&mut b);
    if let Some(mean) = mean {
        let m = b.load(Source::Stage(mean), own.clone(), w);
        y = b.sub(y, m);
    }
    let inv = b.load(Source::Stage(inverse), own, w);
    y = b.mul(y, inv);
    if let Some(scale) = param(ctx, &mut b, 1, rank, w)? {
        y = b.mul(y, scale);
    }
    if let Some(bias) = param(ctx, &mut b, 2, rank, w)? {
        y = b.add(y, bias);
    }
    let y = b.cast(y, d);
    stages.push(map(split.dims.clone(), b, y));
    let mut outputs = vec![stages.len() - 1];
    // The statistics as outputs keep their dimensions, as ones.
    for stat in mean.into_iter().chain([inverse]).take(ctx.num_outputs.saturating_sub(1)) {
        let dims: Vec<usize> = split.dims.iter().enumerate().map(|(i, &n)| if i < axis { n } else { 1 }).collect();
        let mut b = ScalarBuilder::new();
        let own = loops::axes(&mut b, axis);
        let e = b.load(Source::Stage(stat), own, w);
        stages.push(map(dims, b, e));
        outputs.push(stages.len() - 1);
    }
    Ok(Compute { stages, outputs })
}

fn samples(seed: u64, layer: bool) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let rank = 2 + case % 3;
            let dims = g.dims(rank, 9);
            let axis = if case % 2 == 0 { rank - 1 } else { g.below(rank) };
            let tail = &dims[axis..];
            let axis_attr = if case == 4 { axis as i64 - rank as i64 } else { axis as i64 };
            let mut d = draft().data(g.f32s(&dims)).param(g.f32s(tail)).attr("axis", axis_attr);
            if layer && case != 2 {
                d = d.param(g.f32s(tail));
            }
            if layer && case == 3 {
                d = d.outputs(3);
            }
            d.attr("epsilon", g.pick(&[1e-5f32, 1e-3])).done()
        })
        .collect()
}
