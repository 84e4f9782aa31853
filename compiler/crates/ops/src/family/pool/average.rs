//! Mean over sliding windows.

use super::{AUTO_PAD, CEIL_MODE, DILATIONS, KERNEL_SHAPE, PADS, Pool, STRIDES, drafts, infer_dims};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, reduce, wide, window_index};
use crate::real::{Evaluated, Real, eval_real};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

/// Average pooling.
pub static AVERAGE_POOL: OpDecl = OpDecl {
    name: "average_pool",
    family: "pool",
    doc: "Mean of each window, over its elements that are not padding, or with `count_include_pad` over those that are \
          input or padding. x: [N,C,D1..Dr], r in 1..=3. ONNX AveragePool.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[
        KERNEL_SHAPE,
        STRIDES,
        PADS,
        DILATIONS,
        AUTO_PAD,
        CEIL_MODE,
        AttrDecl::with_default(
            "count_include_pad",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "padding counts as zeros in the mean",
        ),
    ],
    infer: |ctx, syms| Ok(vec![TensorType::new(ctx.input(0)?.dtype, infer_dims(ctx, syms)?)]),
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| Pool::new(ctx).map_or(0, |p| p.flops()),
    samples,
    ..BASE
};

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let pool = Pool::new(&ctx.op)?;
    let include = ctx.op.flag("count_include_pad");
    let x = ctx.input(0)?.view::<T>();
    let y = pool.evaluate(&x, |taps, _, x| {
        let (mut sum, mut count) = (0.0, 0);
        taps.each(|i| {
            sum += x[i].wide();
            count += 1;
        });
        let count = if include { taps.padded_count() } else { count };
        if count == 0 { T::ZERO } else { T::of(sum / count as f64) }
    })?;
    Ok(vec![Tensor::new(pool.dims(), y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let pool = Pool::new(ctx)?;
    let d = ctx.input(0)?.dtype;
    let rank = pool.axes.len();
    let include = ctx.flag("count_include_pad");
    let mut b = ScalarBuilder::new();
    let head = [b.axis(0), b.axis(1)];
    let (spatial, guard) = window_index(&mut b, &pool.axes, 2, 2 + rank);
    let x = load_wide(&mut b, Source::Input(0), [head.to_vec(), spatial].concat(), d, guard, 0.0);
    let mut stages = vec![reduce(pool.dims(), pool.taps(), Combine::Sum, b, x)];

    let full = pool.axes.iter().all(|a| {
        let last = a.output.saturating_sub(1) * a.stride + (a.kernel - 1) * a.dilation;
        if include { last < a.begin + a.input + a.end } else { a.begin == 0 && last < a.input }
    });
    if !full {
        stages.push(count(&pool, include, wide(d)));
    }
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, 2 + rank);
    let sum = b.load(Source::Stage(0), index.clone(), wide(d));
    let n = match full {
        true => b.lit(pool.taps().iter().product::<usize>() as f64, sum),
        false => {
            let n = b.load(Source::Stage(1), index[2..].to_vec(), wide(d));
            let one = b.lit(1.0, n);
            b.max(n, one)
        }
    };
    let mean = b.div(sum, n);
    let mean = b.cast(mean, d);
    stages.push(map(pool.dims(), b, mean));
    Ok(loops::compute(stages))
}

/// The number of elements that each window averages over.
fn count(pool: &Pool, include: bool, d: DType) -> loops::Stage {
    let rank = pool.axes.len();
    let mut b = ScalarBuilder::new();
    let (index, inside) = window_index(&mut b, &pool.axes, 0, rank);
    let condition = if include {
        let ends: Vec<_> = index
            .iter()
            .zip(&pool.axes)
            .map(|(&i, a)| {
                let end = b.int((a.input + a.end) as i64);
                b.compare(Cmp::Lt, i, end)
            })
            .collect();
        loops::all(&mut b, &ends)
    } else {
        inside
    };
    let (one, zero) = (b.constant(1.0, d), b.constant(0.0, d));
    let body = match condition {
        Some(c) => b.select(c, one, zero),
        None => one,
    };
    let dims = pool.axes.iter().map(|a| a.output).collect();
    reduce(dims, pool.taps(), Combine::Sum, b, body)
}

fn samples(seed: u64) -> Vec<Sample> {
    let with = |(i, d): (usize, crate::sample::Draft)| {
        if i % 2 == 1 { d.attr("count_include_pad", true).done() } else { d.done() }
    };
    drafts(seed, DType::F32).into_iter().enumerate().map(with).collect()
}
