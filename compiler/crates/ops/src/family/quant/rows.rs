//! Quantisation of activations at run time, with a scale for each row, pixel or image.

use crate::define::BASE;
use crate::family::norm::Split;
use crate::loops::map;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType};

/// A largest magnitude below this is nothing: all elements are stored as zero, with scale 0.
pub const LEAST: f32 = 1.0 / (1u128 << 100) as f32;

/// The zero point of rows that may be negative.
pub const SIGNED: i64 = 128;

/// Quantise rows.
pub static DYNAMIC_QUANTIZE_ROWS: OpDecl = OpDecl {
    name: "dynamic_quantize_rows",
    family: "quant",
    doc: "Quantises to u8, each slice along `axes` by its own range: with m = max(|x|), n = 127 for zero_point 128, or m = max(x), \
          n = 255 for zero_point 0 (x must not be negative), scale = m / n and y = saturate(round(x * (n / m)) + zero_point). Where m is \
          below 2^-100, scale is 0 and y the zero point. Outputs: y, scale (size 1 along `axes`). For MNN's dynamic quantisation.",
    inputs: &[Operand::required("x", DTypeSet::only(DType::F32))],
    outputs: &[
        Operand::required("y", DTypeSet::only(DType::U8)),
        Operand::required("scale", DTypeSet::only(DType::F32)),
    ],
    attrs: &[
        AttrDecl::optional("axes", AttrKind::Ints, "dimensions whose elements share a scale; none if absent"),
        AttrDecl::with_default(
            "zero_point",
            AttrKind::Int,
            AttrDefault::Int(SIGNED),
            "128, or 0 where no element is negative",
        ),
    ],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        let shared = axes(ctx)?;
        if !matches!(ctx.int("zero_point"), Some(0 | SIGNED)) {
            return Err(OpError::invalid("zero_point is neither 0 nor 128"));
        }
        let scale = x.dims.iter().enumerate().map(|(i, &d)| if shared[i] { Dim::Const(1) } else { d });
        Ok(vec![TensorType::new(DType::U8, x.dims.iter().copied()), TensorType::new(DType::F32, scale)])
    },
    eval,
    compute: Some(compute),
    flops: |ctx| ctx.input(0).ok().and_then(|t| t.num_elements()).map_or(0, |n| 3 * n as u64),
    samples,
    ..BASE
};

/// For every dimension whether its elements share a scale.
fn axes(ctx: &OpCtx) -> Result<Vec<bool>, OpError> {
    let rank = ctx.input(0)?.rank();
    let mut shared = vec![false; rank];
    for axis in ctx.ints("axes").unwrap_or_default() {
        shared[crate::axes::normalize_axis(axis, rank)?] = true;
    }
    Ok(shared)
}

/// The zero point, and the steps between it and the largest element.
fn steps(ctx: &OpCtx) -> (f32, f32) {
    if ctx.int("zero_point") == Some(0) { (0.0, 255.0) } else { (SIGNED as f32, 127.0) }
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let shared = axes(&ctx.op)?;
    let (zero, n) = steps(&ctx.op);
    let values = x.view::<f32>();
    let split = Split::new(x.dims().to_vec(), |i| shared[i]);
    let mut y = vec![0u8; values.len()];
    let mut scales = Vec::new();
    for group in split.groups() {
        let magnitude = |x: f32| if zero == 0.0 { x } else { x.abs() };
        let m = group.iter().fold(0f32, |m, &i| m.max(magnitude(values[i])));
        let (factor, scale) = if m >= LEAST { (n / m, m / n) } else { (0.0, 0.0) };
        scales.push(scale);
        for i in group {
            y[i] = ((values[i] * factor).round_ties_even() + zero).clamp(0.0, 255.0) as u8;
        }
    }
    let dims: Vec<usize> = x.dims().iter().zip(&shared).map(|(&d, &s)| if s { 1 } else { d }).collect();
    Ok(vec![Tensor::new(x.dims(), y), Tensor::new(dims, scales)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let shared = axes(ctx)?;
    let (zero, n) = steps(ctx);
    let split = Split::new(ctx.static_dims(0)?, |i| shared[i]);
    let largest = split.reduce(Combine::Max, |b, at| {
        let x = b.load(Source::Input(0), at, DType::F32);
        // Zero, too, is an element: the maximum of none is that of it.
        let none = b.constant(0.0, DType::F32);
        if zero == 0.0 { b.binary(Binary::Max, x, none) } else { b.unary(Unary::Abs, x) }
    });
    let of_largest = |b: &mut ScalarBuilder, f: fn(&mut ScalarBuilder, Expr, Expr) -> Expr| {
        let own = split.statistic(b);
        let m = b.load(Source::Stage(0), own, DType::F32);
        let (least, none, n) = (
            b.constant(f64::from(LEAST), DType::F32),
            b.constant(0.0, DType::F32),
            b.constant(f64::from(n), DType::F32),
        );
        let some = b.compare(Cmp::Ge, m, least);
        let value = f(b, m, n);
        b.select(some, value, none)
    };
    let mut b = ScalarBuilder::new();
    let scale = of_largest(&mut b, |b, m, n| b.div(m, n));
    let dims = split.dims.iter().zip(&shared).map(|(&d, &s)| if s { 1 } else { d }).collect();
    let scale = map(dims, b, scale);
    let mut b = ScalarBuilder::new();
    let at = crate::loops::axes(&mut b, split.dims.len());
    let x = b.load(Source::Input(0), at, DType::F32);
    let factor = of_largest(&mut b, |b, m, n| b.div(n, m));
    let q = b.mul(x, factor);
    let q = b.unary(Unary::Round, q);
    let zero = b.constant(f64::from(zero), DType::F32);
    let q = b.add(q, zero);
    let (low, high) = (b.constant(0.0, DType::F32), b.constant(255.0, DType::F32));
    let q = b.binary(Binary::Max, q, low);
    let q = b.binary(Binary::Min, q, high);
    let q = b.cast(q, DType::U8);
    let y = map(split.dims.clone(), b, q);
    Ok(Compute { stages: vec![largest, scale, y], outputs: vec![2, 1] })
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for (axes, zero) in [(vec![-1i64], SIGNED), (vec![1], SIGNED), (vec![1, 2, 3], 0), (vec![1], 0)] {
        let dims = g.dims(4, 5);
        let low = if zero == 0 { 0.0 } else { -4.0 };
        let d = draft().data(g.tensor(DType::F32, &dims, low, 3.0)).outputs(2);
        out.push(d.attr("axes", axes).attr("zero_point", zero).done());
    }
    out.push(draft().data(Tensor::new([2usize, 3], vec![0f32; 6])).outputs(2).attr("axes", vec![1i64]).done());
    out
}
