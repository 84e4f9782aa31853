//! Batch normalisation with given statistics.

use super::{EPSILON, channels, check_channels, element_flops, epsilon};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, wide};
use crate::real::{Evaluated, Real, eval_real, reals};
use crate::sample::{Gen, draft};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};
use rayon::prelude::*;

/// Batch normalisation, inference form.
pub static BATCH_NORMALIZATION: OpDecl = OpDecl {
    name: "batch_normalization",
    family: "norm",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + bias, all four by channel. x: [N,C,..], the others: [C]. ONNX \
          BatchNormalization with training_mode 0.",
    inputs: &[
        Operand::required("x", DTypeSet::FLOAT),
        Operand::required("scale", DTypeSet::FLOAT),
        Operand::required("bias", DTypeSet::FLOAT),
        Operand::required("mean", DTypeSet::FLOAT),
        Operand::required("var", DTypeSet::FLOAT),
    ],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[EPSILON],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| element_flops(ctx, 2),
    samples,
    ..BASE
};

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let c = channels(ctx)?;
    for i in 1..5 {
        check_channels(ctx, i, c)?;
    }
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, ctx.input(0)?.dims.iter().copied())])
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let eps = epsilon(&ctx.op);
    let param = |i| ctx.input(i).map(Tensor::to_f64s);
    let (scale, bias, mean, var) = (param(1)?, param(2)?, param(3)?, param(4)?);
    let c = x.dims()[1];
    let plane: usize = x.dims()[2..].iter().product();
    let mut y = reals::<T>(x).into_owned();
    if plane > 0 {
        y.par_chunks_mut(plane).enumerate().for_each(|(i, y)| {
            let c = i % c;
            let factor = scale[c] / (var[c] + eps).sqrt();
            let (mean, factor, bias) = (T::of(mean[c]), T::of(factor), T::of(bias[c]));
            y.iter_mut().for_each(|y| *y = (*y - mean) * factor + bias);
        });
    }
    Ok(vec![Tensor::new(x.dims(), y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let dims = ctx.static_dims(0)?;
    let d = ctx.input(0)?.dtype;
    let w = wide(d);
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, dims.len());
    let c = index[1];
    let x = load_wide(&mut b, Source::Input(0), index, d, None, 0.0);
    let param = |b: &mut ScalarBuilder, i: usize| -> Result<_, OpError> {
        let e = b.load(Source::Input(i), vec![c], ctx.input(i)?.dtype);
        Ok(b.cast(e, w))
    };
    let (scale, bias) = (param(&mut b, 1)?, param(&mut b, 2)?);
    let (mean, var) = (param(&mut b, 3)?, param(&mut b, 4)?);
    let eps = b.lit(epsilon(ctx), var);
    let var = b.add(var, eps);
    let sd = b.unary(Unary::Sqrt, var);
    let factor = b.div(scale, sd);
    let centred = b.sub(x, mean);
    let y = b.mul(centred, factor);
    let y = b.add(y, bias);
    let y = b.cast(y, d);
    Ok(loops::compute(vec![map(dims, b, y)]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    [4, 4, 3, 2, 5]
        .into_iter()
        .map(|rank| {
            let dims = g.dims(rank, 6);
            let c = [dims[1]];
            let d = draft().data(g.f32s(&dims)).param(g.f32s(&c)).param(g.f32s(&c)).param(g.f32s(&c));
            let d = d.param(g.tensor(DType::F32, &c, 0.1, 3.0));
            if rank == 3 { d.attr("epsilon", 0.01f32).done() } else { d.done() }
        })
        .collect()
}
