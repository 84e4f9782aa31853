//! Normalisation of each image by channels or by groups of channels.

use super::{EPSILON, STASH_TYPE, channels, check_channels, element_flops, epsilon};
use crate::define::BASE;
use crate::loops::{self, affine, div, load_wide, map, reduce, wide};
use crate::real::{Evaluated, Real, eval_real, reals};
use crate::sample::{Gen, draft};
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};
use rayon::prelude::*;

const INPUTS: &[Operand] = &[
    Operand::required("x", DTypeSet::FLOAT),
    Operand::required("scale", DTypeSet::FLOAT),
    Operand::required("bias", DTypeSet::FLOAT),
];

/// Instance normalisation.
pub static INSTANCE_NORMALIZATION: OpDecl = OpDecl {
    name: "instance_normalization",
    family: "norm",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + bias, the statistics over each plane, scale and bias by channel. \
          x: [N,C,D1..], the others: [C]. ONNX InstanceNormalization.",
    inputs: INPUTS,
    attrs: &[EPSILON],
    infer: |ctx, _| infer(ctx, false),
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_instance),
    compute: Some(|ctx| compute(ctx, None)),
    samples: |seed| samples(seed, false),
    ..GROUPED
};

/// Group normalisation.
pub static GROUP_NORMALIZATION: OpDecl = OpDecl {
    name: "group_normalization",
    family: "norm",
    doc: "y = (x - mean) / sqrt(var + epsilon) * scale + bias, the statistics over `num_groups` groups of channels of each \
          image, scale and bias by channel. x: [N,C,..], the others: [C]. ONNX GroupNormalization since opset 21.",
    inputs: INPUTS,
    attrs: &[AttrDecl::optional("num_groups", AttrKind::Int, "how many groups the channels form"), EPSILON, STASH_TYPE],
    infer: |ctx, _| infer(ctx, true),
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval_group),
    compute: Some(|ctx| compute(ctx, Some(num_groups(ctx)?))),
    samples: |seed| samples(seed, true),
    ..GROUPED
};

const GROUPED: OpDecl = OpDecl {
    family: "norm",
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    flops: |ctx| element_flops(ctx, 7),
    ..BASE
};

fn num_groups(ctx: &OpCtx) -> Result<usize, OpError> {
    let g = ctx.int("num_groups").ok_or_else(|| OpError::invalid("num_groups is missing"))?;
    usize::try_from(g)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| OpError::invalid(format!("num_groups is {g}; it must be positive")))
}

fn infer(ctx: &OpCtx, grouped: bool) -> Result<Vec<TensorType>, OpError> {
    let c = channels(ctx)?;
    check_channels(ctx, 1, c)?;
    check_channels(ctx, 2, c)?;
    if grouped {
        let g = num_groups(ctx)?;
        if let Dim::Const(c) = c
            && c % g as u64 != 0
        {
            return Err(OpError::invalid(format!("{c} channels do not split into {g} groups")));
        }
    }
    let x = ctx.input(0)?;
    Ok(vec![TensorType::new(x.dtype, x.dims.iter().copied())])
}

fn eval_instance<T: Real>(ctx: &EvalCtx) -> Evaluated {
    eval::<T>(ctx, ctx.input(0)?.dims()[1])
}

fn eval_group<T: Real>(ctx: &EvalCtx) -> Evaluated {
    eval::<T>(ctx, num_groups(&ctx.op)?)
}

fn eval<T: Real>(ctx: &EvalCtx, groups: usize) -> Evaluated {
    let x = ctx.input(0)?;
    let (dims, eps) = (x.dims(), epsilon(&ctx.op));
    let (scale, bias) = (ctx.input(1)?.to_f64s(), ctx.input(2)?.to_f64s());
    let c = dims[1];
    let plane: usize = dims[2..].iter().product();
    let per_group = c.checked_div(groups).unwrap_or(0);
    let mut y = reals::<T>(x).into_owned();
    let len = per_group * plane;
    if len > 0 {
        y.par_chunks_mut(len).enumerate().for_each(|(i, part)| {
            let mean = part.iter().map(|v| v.wide()).sum::<f64>() / len as f64;
            let var = part.iter().map(|v| (v.wide() - mean).powi(2)).sum::<f64>() / len as f64;
            let inverse = 1.0 / (var + eps).sqrt();
            for (j, plane) in part.chunks_mut(plane).enumerate() {
                let c = i % groups * per_group + j;
                plane.iter_mut().for_each(|v| *v = T::of((v.wide() - mean) * inverse * scale[c] + bias[c]));
            }
        });
    }
    Ok(vec![Tensor::new(dims, y)])
}

fn compute(ctx: &OpCtx, groups: Option<usize>) -> Result<Compute, OpError> {
    let dims = ctx.static_dims(0)?;
    let d = ctx.input(0)?.dtype;
    let w = wide(d);
    let groups = groups.unwrap_or(dims[1]);
    let per_group = dims[1] / groups;
    let over = [vec![per_group], dims[2..].to_vec()].concat();
    let count = over.iter().product::<usize>() as f64;
    // Loops of a statistic: image, group; channel in the group, position.
    let element = |b: &mut ScalarBuilder| -> Expr {
        let (n, g, c) = (b.axis(0), b.axis(1), b.axis(2));
        let channel = affine(b, &[(g, per_group as i64), (c, 1)], 0);
        let spatial = (2..dims.len()).map(|i| b.axis(i + 1));
        let index = [n, channel].into_iter().chain(spatial).collect();
        load_wide(b, Source::Input(0), index, d, None, 0.0)
    };
    let own = vec![dims[0], groups];
    let divided = |stage: usize, eps: Option<f64>| -> Stage {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, 2);
        let sum = b.load(Source::Stage(stage), index, w);
        let n = b.lit(count, sum);
        let mut e = b.div(sum, n);
        if let Some(eps) = eps {
            let eps = b.lit(eps, e);
            e = b.add(e, eps);
            e = b.unary(Unary::Sqrt, e);
        }
        map(own.clone(), b, e)
    };
    let mut b = ScalarBuilder::new();
    let x = element(&mut b);
    let sum = reduce(own.clone(), over.clone(), Combine::Sum, b, x);
    let mut b = ScalarBuilder::new();
    let x = element(&mut b);
    let index = loops::axes(&mut b, 2);
    let mean = b.load(Source::Stage(1), index, w);
    let centred = b.sub(x, mean);
    let square = b.mul(centred, centred);
    let squares = reduce(own.clone(), over, Combine::Sum, b, square);

    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, dims.len());
    let (n, c) = (index[0], index[1]);
    let group = div(&mut b, c, per_group);
    let x = load_wide(&mut b, Source::Input(0), index, d, None, 0.0);
    let mean = b.load(Source::Stage(1), vec![n, group], w);
    let sd = b.load(Source::Stage(3), vec![n, group], w);
    let centred = b.sub(x, mean);
    let y = b.div(centred, sd);
    let y = scaled(ctx, &mut b, y, c, w)?;
    let y = b.cast(y, d);
    let stages = vec![sum, divided(0, None), squares, divided(2, Some(epsilon(ctx))), map(dims.clone(), b, y)];
    Ok(loops::compute(stages))
}

/// `y * scale[c] + bias[c]`.
fn scaled(ctx: &OpCtx, b: &mut ScalarBuilder, y: Expr, c: Expr, w: DType) -> Result<Expr, OpError> {
    let scale = b.load(Source::Input(1), vec![c], ctx.input(1)?.dtype);
    let scale = b.cast(scale, w);
    let bias = b.load(Source::Input(2), vec![c], ctx.input(2)?.dtype);
    let bias = b.cast(bias, w);
    let y = b.mul(y, scale);
    Ok(b.add(y, bias))
}

fn samples(seed: u64, grouped: bool) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    [4, 4, 3, 5]
        .into_iter()
        .map(|rank| {
            let mut dims = g.dims(rank, 6);
            let groups = 1 + g.below(3);
            if grouped {
                dims[1] *= groups;
            }
            dims[2] += 1;
            let c = [dims[1]];
            let d = draft().data(g.f32s(&dims)).param(g.f32s(&c)).param(g.f32s(&c));
            let d = if grouped { d.attr("num_groups", groups as i64) } else { d };
            d.attr("epsilon", g.pick(&[1e-5f32, 1e-2])).done()
        })
        .collect()
}
