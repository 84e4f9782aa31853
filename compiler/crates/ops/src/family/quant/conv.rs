//! Convolutions of quantised operands. Evaluated in `f64`, which holds every sum of 8-bit products exactly.

use super::{BYTE, at, check_param, check_scales, int_tensor, load_param, quantized, rounded, zero_points};
use crate::define::BASE;
use crate::family::conv::{self, ConvShape, GROUP, check_bias, conv_flops, direct};
use crate::loops::{self, Stage};
use crate::real::Evaluated;
use crate::sample::{Draft, Gen, draft};
use crate::window::{AUTO_PAD, DILATIONS, KERNEL_SHAPE, PADS, STRIDES};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

const I32: DTypeSet = DTypeSet::only(DType::I32);
const ATTRS: &[AttrDecl] = &[KERNEL_SHAPE, STRIDES, PADS, DILATIONS, GROUP, AUTO_PAD];

/// Integer convolution.
pub static CONV_INTEGER: OpDecl = OpDecl {
    name: "conv_integer",
    family: "quant",
    doc: "Convolution of x - x_zero_point and w - w_zero_point in i32; w's zero point is a scalar or by output channel. \
          Geometry as `conv`. ONNX ConvInteger.",
    inputs: &[
        Operand::required("x", BYTE),
        Operand::required("w", BYTE),
        Operand::optional("x_zero_point", BYTE),
        Operand::optional("w_zero_point", BYTE),
    ],
    outputs: &[Operand::required("y", I32)],
    attrs: ATTRS,
    infer: |ctx, syms| {
        let dims = conv::infer_dims(ctx, 0, 1, syms)?;
        check_param(ctx, 2, None)?;
        check_param(ctx, 3, Some(dims[1]))?;
        Ok(vec![TensorType::new(DType::I32, dims)])
    },
    eval: |ctx| {
        let (shape, sums) = centred(ctx, [0, 1], [2, 3])?;
        Ok(vec![int_tensor(DType::I32, shape.dims(), sums)?])
    },
    compute: Some(|ctx| Ok(loops::compute(vec![sums(ctx, [0, 1], [2, 3])?.1]))),
    flops: |ctx| conv::shape(ctx, 0, 1).map_or(0, |s| conv_flops(&s)),
    samples: samples_integer,
    ..BASE
};

/// Quantised convolution.
pub static Q_LINEAR_CONV: OpDecl = OpDecl {
    name: "q_linear_conv",
    family: "quant",
    doc: "Convolution of quantised x and w, requantised: y = saturate(round((sum + b) * x_scale * w_scale / y_scale) + \
          y_zero_point). w's parameters are scalars or by output channel; b is i32 in units of x_scale * w_scale. Geometry as \
          `conv`. ONNX QLinearConv.",
    inputs: &[
        Operand::required("x", BYTE),
        Operand::required("x_scale", DTypeSet::FLOAT),
        Operand::required("x_zero_point", BYTE),
        Operand::required("w", BYTE),
        Operand::required("w_scale", DTypeSet::FLOAT),
        Operand::required("w_zero_point", BYTE),
        Operand::required("y_scale", DTypeSet::FLOAT),
        Operand::required("y_zero_point", BYTE),
        Operand::optional("b", I32),
    ],
    outputs: &[Operand::required("y", BYTE)],
    attrs: ATTRS,
    infer: |ctx, syms| {
        let dims = conv::infer_dims(ctx, 0, 3, syms)?;
        for i in [1, 2, 6, 7] {
            check_param(ctx, i, None)?;
        }
        check_param(ctx, 4, Some(dims[1]))?;
        check_param(ctx, 5, Some(dims[1]))?;
        check_bias(ctx, 8, dims[1])?;
        [1, 4, 6].into_iter().try_for_each(|i| check_scales(ctx, i))?;
        Ok(vec![TensorType::new(ctx.input(7)?.dtype, dims)])
    },
    eval: eval_q_linear,
    compute: Some(compute_q_linear),
    flops: |ctx| conv::shape(ctx, 0, 3).map_or(0, |s| conv_flops(&s)),
    samples: samples_q_linear,
    ..BASE
};

/// The convolution of the operands less their zero points.
fn centred(ctx: &EvalCtx, [x, w]: [usize; 2], zeros: [usize; 2]) -> Result<(ConvShape, Vec<f64>), OpError> {
    let shape = conv::shape(&ctx.op, x, w)?;
    let (zx, zw) = (zero_points(ctx.opt_input(zeros[0])), zero_points(ctx.opt_input(zeros[1])));
    let mut xs = ctx.input(x)?.to_f64s();
    xs.iter_mut().for_each(|v| *v -= at(&zx, 0));
    let mut ws = ctx.input(w)?.to_f64s();
    let per_channel = (ws.len() / (shape.groups * shape.outputs).max(1)).max(1);
    ws.iter_mut().enumerate().for_each(|(i, v)| *v -= at(&zw, i / per_channel));
    let sums = direct::convolve(&xs, &ws, None, &shape)?;
    Ok((shape, sums))
}

/// The loop form of the sums in i32: what is padded counts as the data's zero point.
fn sums(ctx: &OpCtx, [x, w]: [usize; 2], [zx, zw]: [usize; 2]) -> Result<(ConvShape, Stage), OpError> {
    let shape = conv::shape(ctx, x, w)?;
    let (dx, dw) = (ctx.input(x)?.dtype, ctx.input(w)?.dtype);
    let stage = conv::loops::sums(
        &shape,
        |b, index, guard| {
            let first = b.int(0);
            let zero = load_param(ctx, b, zx, first, dx);
            let e = match guard {
                Some(g) => b.load_or(Source::Input(x), index, g, zero),
                None => b.load(Source::Input(x), index, dx),
            };
            let (e, zero) = (b.cast(e, DType::I32), b.cast(zero, DType::I32));
            if ctx.opt_input(zx).is_some() { b.sub(e, zero) } else { e }
        },
        |b, index| {
            let zero = load_param(ctx, b, zw, index[0], DType::I32);
            let e = b.load(Source::Input(w), index, dw);
            let e = b.cast(e, DType::I32);
            if ctx.opt_input(zw).is_some() { b.sub(e, zero) } else { e }
        },
    );
    Ok((shape, stage))
}

fn compute_q_linear(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (shape, sums) = sums(ctx, [0, 3], [2, 5])?;
    let to = ctx.input(7)?.dtype;
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, shape.dims().len());
    let m = index[1];
    let mut s = b.load(Source::Stage(0), index, DType::I32);
    if ctx.opt_input(8).is_some() {
        let bias = load_param(ctx, &mut b, 8, m, DType::I32);
        s = b.add(s, bias);
    }
    let s = b.cast(s, DType::F32);
    let [sx, sw, sy] = [1, 4, 6].map(|i| load_param(ctx, &mut b, i, m, DType::F32));
    let product = b.mul(sx, sw);
    let factor = b.div(product, sy);
    let q = b.mul(s, factor);
    let zero = load_param(ctx, &mut b, 7, m, DType::F32);
    let y = rounded(&mut b, q, Some(zero), to);
    Ok(loops::compute(vec![sums, loops::map(shape.dims(), b, y)]))
}

fn eval_q_linear(ctx: &EvalCtx) -> Evaluated {
    let (shape, sums) = centred(ctx, [0, 3], [2, 5])?;
    let scale = |i: usize| ctx.input(i).map(Tensor::to_f64s);
    let (sx, sw, sy) = (scale(1)?, scale(4)?, scale(6)?);
    let zero = zero_points(ctx.opt_input(7));
    let bias = ctx.opt_input(8).map(Tensor::to_f64s);
    let d = ctx.input(7)?.dtype();
    let channels = shape.groups * shape.outputs;
    let plane: usize = shape.axes.iter().map(|a| a.output).product();
    let requantise = |(i, s): (usize, f64)| {
        let c = i / plane % channels;
        let sum = s + bias.as_ref().map_or(0.0, |b| b[c]);
        let factor = (at(&sx, 0) as f32 * at(&sw, c) as f32) / at(&sy, 0) as f32;
        quantized(f64::from(sum as f32 * factor), at(&zero, 0), d)
    };
    let values = sums.into_iter().enumerate().map(requantise).collect();
    Ok(vec![int_tensor(d, shape.dims(), values)?])
}

/// Shapes of data and weights, and the geometry as attributes.
fn geometry(g: &mut Gen, d: impl FnOnce(&mut Gen, &[usize], &[usize]) -> Draft) -> Draft {
    let (groups, cg, mg) = (1 + g.below(2), 1 + g.below(4), 1 + g.below(4));
    let kernel = g.dims(2, 3);
    let x = [vec![1 + g.below(2), groups * cg], kernel.iter().map(|k| k + g.below(6)).collect()].concat();
    let w = [vec![groups * mg, cg], kernel.clone()].concat();
    let ints = |v: Vec<usize>| v.into_iter().map(|x| x as i64).collect::<Vec<i64>>();
    let pads: Vec<i64> = (0..4).map(|i| g.int(0, kernel[i % 2] as i64 - 1)).collect();
    let strides = ints(g.dims(2, 2));
    let d = d(g, &x, &w).attr("group", groups as i64).attr("kernel_shape", ints(kernel));
    d.attr("pads", pads).attr("strides", strides)
}

fn samples_integer(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..4)
        .map(|case| {
            geometry(&mut g, |g, x, w| {
                let d = draft().data(g.tensor(DType::U8, x, 0.0, 255.0)).param(g.tensor(DType::U8, w, 0.0, 255.0));
                if case == 0 { d } else { d.param(Tensor::scalar(3u8)).param(Tensor::scalar(7u8)) }
            })
            .done()
        })
        .collect()
}

fn samples_q_linear(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..5)
        .map(|case| {
            geometry(&mut g, |g, x, w| {
                let channels: &[usize] = if case % 2 == 0 { &[] } else { &w[..1] };
                let d = draft()
                    .data(g.tensor(DType::U8, x, 0.0, 255.0))
                    .param(Tensor::scalar(0.02f32))
                    .param(Tensor::scalar(128u8))
                    .param(g.tensor(DType::I8, w, -128.0, 127.0))
                    .param(g.tensor(DType::F32, channels, 0.01, 0.03))
                    .param(g.tensor(DType::I8, channels, 0.0, 0.0))
                    .param(Tensor::scalar(0.5f32))
                    .param(Tensor::scalar(120u8));
                if case < 3 { d.param(g.tensor(DType::I32, &w[..1], -999.0, 999.0)) } else { d }
            })
            .done()
        })
        .collect()
}
