//! Local response normalisation.

use super::{channels, element_flops};
use crate::define::BASE;
use crate::loops::{self, affine, load_wide, map, reduce, wide};
use crate::real::{Evaluated, Real, eval_real, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Binary, ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// Local response normalisation.
pub static LRN: OpDecl = OpDecl {
    name: "lrn",
    family: "norm",
    doc: "y = x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta. x: [N,C,..]. ONNX LRN.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[
        AttrDecl::with_default("alpha", AttrKind::Float, AttrDefault::Float(1e-4), "factor of the mean square"),
        AttrDecl::with_default("beta", AttrKind::Float, AttrDefault::Float(0.75), "exponent"),
        AttrDecl::with_default("bias", AttrKind::Float, AttrDefault::Float(1.0), "added to the mean square"),
        AttrDecl::optional("size", AttrKind::Int, "number of channels summed over"),
    ],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| element_flops(ctx, 2 * size(ctx).unwrap_or(1) as u64 + 4),
    samples,
    ..BASE
};

fn size(ctx: &OpCtx) -> Result<usize, OpError> {
    let s = ctx.int("size").ok_or_else(|| OpError::invalid("size is missing"))?;
    usize::try_from(s)
        .ok()
        .filter(|s| (1..1 << 24).contains(s))
        .ok_or_else(|| OpError::invalid(format!("size {s} is out of range")))
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    channels(ctx)?;
    size(ctx)?;
    let x = ctx.input(0)?;
    Ok(vec![TensorType::new(x.dtype, x.dims.iter().copied())])
}

/// alpha / size, beta, bias.
fn constants(ctx: &OpCtx) -> Result<(f64, f64, f64), OpError> {
    let f = |name, default| f64::from(ctx.float(name).unwrap_or(default));
    Ok((f("alpha", 1e-4) / size(ctx)? as f64, f("beta", 0.75), f("bias", 1.0)))
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let (alpha, beta, bias) = constants(&ctx.op)?;
    let size = size(&ctx.op)?;
    let (before, after) = ((size - 1) / 2, size / 2);
    let dims = x.dims();
    let c = dims[1];
    let plane: usize = dims[2..].iter().product();
    let data = x.view::<T>();
    let mut y = zeros::<T>(dims)?;
    for (i, y) in y.iter_mut().enumerate() {
        let (image, channel, at) = (i / (c * plane), i / plane % c, i % plane);
        let square = |k: usize| data[(image * c + k) * plane + at].wide().powi(2);
        let sum: f64 = (channel.saturating_sub(before)..=(channel + after).min(c - 1)).map(square).sum();
        *y = T::of(data[i].wide() / (bias + alpha * sum).powf(beta));
    }
    Ok(vec![Tensor::new(dims, y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let dims = ctx.static_dims(0)?;
    let d = ctx.input(0)?.dtype;
    let (alpha, beta, bias) = constants(ctx)?;
    let size = size(ctx)?;
    let mut b = ScalarBuilder::new();
    let mut index = loops::axes(&mut b, dims.len());
    let k = b.axis(dims.len());
    index[1] = affine(&mut b, &[(index[1], 1), (k, 1)], -((size as i64 - 1) / 2));
    let inside = loops::within(&mut b, index[1], 0, dims[1] as i64);
    let guard = loops::all(&mut b, &inside);
    let x = load_wide(&mut b, Source::Input(0), index, d, guard, 0.0);
    let square = b.mul(x, x);
    let sum = reduce(dims.clone(), vec![size], Combine::Sum, b, square);

    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, dims.len());
    let x = load_wide(&mut b, Source::Input(0), index.clone(), d, None, 0.0);
    let s = b.load(Source::Stage(0), index, wide(d));
    let alpha = b.lit(alpha, s);
    let s = b.mul(s, alpha);
    let bias = b.lit(bias, s);
    let s = b.add(s, bias);
    let beta = b.lit(beta, s);
    let s = b.binary(Binary::Pow, s, beta);
    let y = b.div(x, s);
    let y = b.cast(y, d);
    Ok(loops::compute(vec![sum, map(dims, b, y)]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    [1, 3, 5, 7]
        .into_iter()
        .map(|size| {
            let dims = [g.dims(1, 2), vec![3 + g.below(6)], g.dims(2, 5)].concat();
            let d = draft().data(g.f32s(&dims)).attr("size", size as i64);
            if size == 3 { d.done() } else { d.attr("alpha", 0.3f32).attr("beta", 0.5f32).attr("bias", 2.0f32).done() }
        })
        .collect()
}
