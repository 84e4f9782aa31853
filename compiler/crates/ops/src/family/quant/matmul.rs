//! Matrix products of quantised operands. Evaluated in `f64`, which holds every sum of 8-bit products exactly.

use super::{BYTE, at, check_param, check_scales, int_tensor, load_param, quantized, rounded, zero_points};
use crate::define::BASE;
use crate::family::linear::{MatmulShape, infer_matmul_dims, matmul_sums};
use crate::loops::{self, Stage};
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};
use mnnc_ir::{DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

const I32: DTypeSet = DTypeSet::only(DType::I32);

/// Integer matrix product.
pub static MATMUL_INTEGER: OpDecl = OpDecl {
    name: "matmul_integer",
    family: "quant",
    doc: "(a - a_zero_point) * (b - b_zero_point) as a matrix product in i32; a's zero point is a scalar or by row, b's a \
          scalar or by column. ONNX MatMulInteger.",
    inputs: &[
        Operand::required("a", BYTE),
        Operand::required("b", BYTE),
        Operand::optional("a_zero_point", BYTE),
        Operand::optional("b_zero_point", BYTE),
    ],
    outputs: &[Operand::required("y", I32)],
    infer: |ctx, syms| {
        check_rows_columns(ctx, 0, 2, &[2])?;
        check_rows_columns(ctx, 1, 1, &[3])?;
        Ok(vec![TensorType::new(DType::I32, infer_matmul_dims(ctx, 0, 1, syms)?)])
    },
    eval: |ctx| {
        let (shape, sums) = centred_product(ctx, [0, 1], [2, 3])?;
        Ok(vec![int_tensor(DType::I32, shape.dims, sums)?])
    },
    compute: Some(|ctx| Ok(loops::compute(vec![sums(ctx, [0, 1], [2, 3])?.1]))),
    flops: |ctx| MatmulShape::new(ctx, 0, 1).map_or(0, |s| s.flops()),
    samples: samples_integer,
    ..BASE
};

/// Quantised matrix product.
pub static Q_LINEAR_MATMUL: OpDecl = OpDecl {
    name: "q_linear_matmul",
    family: "quant",
    doc: "Matrix product of quantised a and b, requantised: y = saturate(round(sum * a_scale * b_scale / y_scale) + \
          y_zero_point). a's parameters are scalars, b's scalars or by column. ONNX QLinearMatMul.",
    inputs: &[
        Operand::required("a", BYTE),
        Operand::required("a_scale", DTypeSet::FLOAT),
        Operand::required("a_zero_point", BYTE),
        Operand::required("b", BYTE),
        Operand::required("b_scale", DTypeSet::FLOAT),
        Operand::required("b_zero_point", BYTE),
        Operand::required("y_scale", DTypeSet::FLOAT),
        Operand::required("y_zero_point", BYTE),
    ],
    outputs: &[Operand::required("y", BYTE)],
    infer: |ctx, syms| {
        check_rows_columns(ctx, 0, 2, &[1, 2])?;
        check_rows_columns(ctx, 3, 1, &[4, 5])?;
        check_param(ctx, 6, None)?;
        check_param(ctx, 7, None)?;
        [1, 4, 6].into_iter().try_for_each(|i| check_scales(ctx, i))?;
        Ok(vec![TensorType::new(ctx.input(7)?.dtype, infer_matmul_dims(ctx, 0, 3, syms)?)])
    },
    eval: eval_q_linear,
    compute: Some(compute_q_linear),
    flops: |ctx| MatmulShape::new(ctx, 0, 3).map_or(0, |s| s.flops()),
    samples: samples_q_linear,
    ..BASE
};

/// Parameters of operand `i` are scalars, or vectors along its dimension `back` from the end.
fn check_rows_columns(ctx: &OpCtx, i: usize, back: usize, params: &[usize]) -> Result<(), OpError> {
    let t = ctx.input(i)?;
    let along = t.rank().checked_sub(back).and_then(|p| t.dims.get(p)).copied();
    params.iter().try_for_each(|&p| check_param(ctx, p, along))
}

/// The matrix product of the operands less their zero points.
fn centred_product(ctx: &EvalCtx, [a, b]: [usize; 2], zeros: [usize; 2]) -> Result<(MatmulShape, Vec<f64>), OpError> {
    let shape = MatmulShape::new(&ctx.op, a, b)?;
    let (_, n, k) = shape.mnk;
    let (za, zb) = (zero_points(ctx.opt_input(zeros[0])), zero_points(ctx.opt_input(zeros[1])));
    let rows = shape.mnk.0.max(1);
    let mut x = ctx.input(a)?.to_f64s();
    x.iter_mut().enumerate().for_each(|(i, v)| *v -= at(&za, i.checked_div(k).unwrap_or(0) % rows));
    let mut y = ctx.input(b)?.to_f64s();
    y.iter_mut().enumerate().for_each(|(i, v)| *v -= at(&zb, i % n.max(1)));
    let sums = shape.evaluate(&x, &y)?;
    Ok((shape, sums))
}

/// The loop form of the sums in i32.
fn sums(ctx: &OpCtx, operands: [usize; 2], zeros: [usize; 2]) -> Result<(MatmulShape, Stage), OpError> {
    let shape = MatmulShape::new(ctx, operands[0], operands[1])?;
    let dims = [ctx.static_dims(operands[0])?, ctx.static_dims(operands[1])?];
    let types = [ctx.input(operands[0])?.dtype, ctx.input(operands[1])?.dtype];
    let centred = |i: usize| {
        move |b: &mut ScalarBuilder, index: Vec<Expr>, channel: Expr| {
            let e = b.load(Source::Input(operands[i]), index, types[i]);
            let e = b.cast(e, DType::I32);
            if ctx.opt_input(zeros[i]).is_none() {
                return e;
            }
            let zero = load_param(ctx, b, zeros[i], channel, DType::I32);
            b.sub(e, zero)
        }
    };
    let stage = matmul_sums(&shape, [&dims[0], &dims[1]], centred(0), centred(1));
    Ok((shape, stage))
}

fn compute_q_linear(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (shape, sums) = sums(ctx, [0, 3], [2, 5])?;
    let to = ctx.input(7)?.dtype;
    let [left, right] = [ctx.input(0)?.rank(), ctx.input(3)?.rank()];
    let mut b = ScalarBuilder::new();
    let index = loops::axes(&mut b, shape.dims.len());
    let zero = b.int(0);
    let row = if left == 1 { zero } else { index[shape.batch.len()] };
    let col = if right == 1 { zero } else { index[index.len() - 1] };
    let s = b.load(Source::Stage(0), index, DType::I32);
    let s = b.cast(s, DType::F32);
    let params = [(1, row), (4, col), (6, zero), (7, zero)];
    let [sa, sb, sy, zy] = params.map(|(i, at)| load_param(ctx, &mut b, i, at, DType::F32));
    let product = b.mul(sa, sb);
    let factor = b.div(product, sy);
    let q = b.mul(s, factor);
    let y = rounded(&mut b, q, Some(zy), to);
    Ok(loops::compute(vec![sums, loops::map(shape.dims, b, y)]))
}

fn eval_q_linear(ctx: &EvalCtx) -> Evaluated {
    let (shape, sums) = centred_product(ctx, [0, 3], [2, 5])?;
    let scale = |i: usize| ctx.input(i).map(Tensor::to_f64s);
    let (sa, sb, sy) = (scale(1)?, scale(4)?, scale(6)?);
    let zero = zero_points(ctx.opt_input(7));
    let d = ctx.input(7)?.dtype();
    let (m, n, _) = shape.mnk;
    let requantise = |(i, s): (usize, f64)| {
        let factor = (at(&sa, i / n % m.max(1)) * at(&sb, i % n)) as f32 / at(&sy, 0) as f32;
        quantized(f64::from(s as f32 * factor), at(&zero, 0), d)
    };
    let values = sums.into_iter().enumerate().map(requantise).collect();
    Ok(vec![int_tensor(d, shape.dims, values)?])
}

fn samples_integer(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..4)
        .map(|case| {
            let (m, n, k) = (1 + g.below(5), 1 + g.below(5), 1 + g.below(20));
            let bt = if case % 2 == 0 { DType::I8 } else { DType::U8 };
            let a = if case == 2 { vec![2, m, k] } else { vec![m, k] };
            let d = draft().data(g.tensor(DType::U8, &a, 0.0, 255.0)).param(g.tensor(bt, &[k, n], -128.0, 255.0));
            match case {
                0 => d,
                3 => d.param(g.tensor(DType::U8, &[], 0.0, 200.0)),
                _ => d.param(g.tensor(DType::U8, &[], 0.0, 200.0)).param(g.tensor(bt, &[n], -5.0, 5.0)),
            }
            .done()
        })
        .collect()
}

fn samples_q_linear(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..4)
        .map(|case| {
            let (m, n, k) = (1 + g.below(5), 1 + g.below(5), 1 + g.below(20));
            let columns: &[usize] = if case % 2 == 0 { &[] } else { &[n] };
            let bt = if case < 2 { DType::I8 } else { DType::U8 };
            draft()
                .data(g.tensor(DType::U8, &[m, k], 0.0, 255.0))
                .param(Tensor::scalar(0.02f32))
                .param(Tensor::scalar(120u8))
                .param(g.tensor(bt, &[k, n], -128.0, 255.0))
                .param(g.tensor(DType::F32, columns, 0.01, 0.03))
                .param(g.tensor(bt, columns, 0.0, 0.0))
                .param(Tensor::scalar(0.5f32))
                .param(Tensor::scalar(128u8))
                .done()
        })
        .collect()
}
