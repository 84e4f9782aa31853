//! Mean-variance normalisation.

use super::{Split, element_flops};
use crate::axes::normalize_axes;
use crate::define::BASE;
use crate::loops::{self, load_wide, map, wide};
use crate::real::{Evaluated, Real, eval_real};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// Added to the standard deviation.
const EPSILON: f64 = 1e-9;

/// Mean-variance normalisation.
pub static MEAN_VARIANCE_NORMALIZATION: OpDecl = OpDecl {
    name: "mean_variance_normalization",
    family: "norm",
    doc: "y = (x - mean) / (standard deviation + 1e-9), both over `axes`. ONNX MeanVarianceNormalization.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[AttrDecl::with_default(
        "axes",
        AttrKind::Ints,
        AttrDefault::Ints(&[0, 2, 3]),
        "dimensions of the statistics",
    )],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| element_flops(ctx, 6),
    samples,
    ..BASE
};

fn axes(ctx: &OpCtx) -> Result<Vec<usize>, OpError> {
    normalize_axes(&ctx.ints("axes").unwrap_or_default(), ctx.input(0)?.rank())
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    axes(ctx)?;
    let x = ctx.input(0)?;
    Ok(vec![TensorType::new(x.dtype, x.dims.iter().copied())])
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let axes = axes(&ctx.op)?;
    let mut y = x.to_vec::<T>();
    for group in Split::new(x.dims().to_vec(), |i| axes.contains(&i)).groups() {
        let n = group.len() as f64;
        let mean = group.iter().map(|&i| y[i].wide()).sum::<f64>() / n;
        let var = group.iter().map(|&i| (y[i].wide() - mean).powi(2)).sum::<f64>() / n;
        for i in group {
            y[i] = T::of((y[i].wide() - mean) / (var.sqrt() + EPSILON));
        }
    }
    Ok(vec![Tensor::new(x.dims(), y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let axes = axes(ctx)?;
    let d = ctx.input(0)?.dtype;
    let w = wide(d);
    let split = Split::new(ctx.static_dims(0)?, |i| axes.contains(&i));
    let mut stages = Vec::new();
    let mean = split.mean(&mut stages, d);
    let var = split.variance(&mut stages, d, mean);
    stages.push(split.finish(var, w, |b, v| {
        let sd = b.unary(Unary::Sqrt, v);
        let eps = b.lit(EPSILON, sd);
        b.add(sd, eps)
    }));
    let sd = stages.len() - 1;
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, split.dims.len());
    let x = load_wide(&mut b, Source::Input(0), index, d, None, 0.0);
    let own = split.statistic(&mut b);
    let mean = b.load(Source::Stage(mean), own.clone(), w);
    let sd = b.load(Source::Stage(sd), own, w);
    let centred = b.sub(x, mean);
    let y = b.div(centred, sd);
    let y = b.cast(y, d);
    stages.push(map(split.dims.clone(), b, y));
    Ok(loops::compute(stages))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut dims = || [g.dims(2, 3), g.dims(2, 5)].concat().iter().map(|d| d + 1).collect::<Vec<_>>();
    let shapes = [dims(), dims(), dims()];
    let [a, b, c] = shapes.map(|s| Gen::new(seed).f32s(&s));
    vec![
        draft().data(a).done(),
        draft().data(b).attr("axes", vec![2, 3]).done(),
        draft().data(c).attr("axes", vec![1, -1]).done(),
    ]
}
