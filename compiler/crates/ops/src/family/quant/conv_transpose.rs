//! Transposed convolution of quantised operands. Evaluated in `f64`, which holds every sum of 8-bit products exactly.

use super::{BYTE, at, check_param, int_tensor, load_param, zero_points};
use crate::define::BASE;
use crate::family::conv_transpose::{ATTRS, convolve, flops, infer_dims, shape, sums};
use crate::loops;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::Source;
use mnnc_ir::{DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

/// Integer transposed convolution.
pub static CONV_TRANSPOSE_INTEGER: OpDecl = OpDecl {
    name: "conv_transpose_integer",
    family: "quant",
    doc: "Transposed convolution of x - x_zero_point and w in i32. Geometry as `conv_transpose`. Between the ops of quantised graphs; no \
          format has it.",
    inputs: &[
        Operand::required("x", BYTE),
        Operand::required("w", DTypeSet::only(DType::I8)),
        Operand::optional("x_zero_point", BYTE),
    ],
    outputs: &[Operand::required("y", DTypeSet::only(DType::I32))],
    attrs: ATTRS,
    infer: |ctx, syms| {
        let dims = infer_dims(ctx, syms)?;
        check_param(ctx, 2, None)?;
        Ok(vec![TensorType::new(DType::I32, dims)])
    },
    eval,
    compute: Some(compute),
    flops,
    samples,
    ..BASE
};

fn eval(ctx: &EvalCtx) -> Evaluated {
    let shape = shape(&ctx.op)?;
    let zero = zero_points(ctx.opt_input(2));
    let mut x = ctx.input(0)?.to_f64s();
    x.iter_mut().for_each(|v| *v -= at(&zero, 0));
    let sums = convolve(&x, &ctx.input(1)?.to_f64s(), None, &shape)?;
    Ok(vec![int_tensor(DType::I32, shape.dims(), sums)?])
}

/// What no input falls on counts as the data's zero point.
fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (shape, d) = (shape(ctx)?, ctx.input(0)?.dtype);
    let stage = sums(
        &shape,
        |b, index, guard| {
            let first = b.int(0);
            let zero = load_param(ctx, b, 2, first, d);
            let e = match guard {
                Some(g) => b.load_or(Source::Input(0), index, g, zero),
                None => b.load(Source::Input(0), index, d),
            };
            let (e, zero) = (b.cast(e, DType::I32), b.cast(zero, DType::I32));
            if ctx.opt_input(2).is_some() { b.sub(e, zero) } else { e }
        },
        |b, index| {
            let e = b.load(Source::Input(1), index, DType::I8);
            b.cast(e, DType::I32)
        },
    );
    Ok(loops::compute(vec![stage]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
    (0..6)
        .map(|case| {
            let (groups, cg, mg) = (g.pick(&[1, 1, 2]), 1 + g.below(6), 1 + g.below(5));
            let (kernel, strides) = (g.dims(2, 4), g.dims(2, 3));
            let x = [vec![1 + g.below(2), groups * cg], g.dims(2, 5).iter().map(|d| d + 1).collect()].concat();
            let w = [vec![groups * cg, mg], kernel.clone()].concat();
            let pads: Vec<i64> = (0..4).map(|i| g.int(0, (kernel[i % 2] as i64 - 1) / 2)).collect();
            let d = draft().data(g.tensor(DType::U8, &x, 0.0, 255.0)).param(g.tensor(DType::I8, &w, -128.0, 127.0));
            let d = if case == 0 { d } else { d.param(Tensor::scalar(3u8)) };
            d.attr("group", groups as i64).attr("pads", pads).attr("strides", ints(&strides)).done()
        })
        .collect()
}
