//! Quantising and dequantising tensors.

use super::{check_scales, int_tensor, quantized, rounded, zero_points};
use crate::axes::normalize_axis;
use crate::define::{BASE, arg};
use crate::elementwise;
use crate::loops;
use crate::real::{Evaluated, narrowed, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType, Traits};

const STORED: DTypeSet = DTypeSet::only(DType::I8)
    .union(DTypeSet::only(DType::U8))
    .union(DTypeSet::only(DType::I16))
    .union(DTypeSet::only(DType::U16));
const AXIS: AttrDecl = AttrDecl::with_default(
    "axis",
    AttrKind::Int,
    AttrDefault::Int(1),
    "the dimension that scales run along, unless there is only one",
);
const BLOCK_SIZE: AttrDecl = AttrDecl::with_default(
    "block_size",
    AttrKind::Int,
    AttrDefault::Int(0),
    "elements along axis that share a scale; 0 for one scale an index, or one for all",
);
/// Stored in fewer bits than x's type has, where a format or kernel packs them.
const BITS: AttrDecl = AttrDecl::with_default(
    "bits",
    AttrKind::Int,
    AttrDefault::Int(0),
    "how many bits the elements of x need, 2 to 8; 0 for as many as its type has",
);

/// Quantise.
pub static QUANTIZE_LINEAR: OpDecl = OpDecl {
    name: "quantize_linear",
    family: "quant",
    doc: "y = saturate(round(x / scale) + zero_point), half to even; the scale is a scalar, a vector along `axis`, or blocked \
          along it. The type is that of `zero_point`, else `output_dtype`, else u8. ONNX QuantizeLinear.",
    inputs: &[
        Operand::required("x", DTypeSet::FLOAT.union(DTypeSet::only(DType::I32))),
        Operand::required("scale", DTypeSet::FLOAT),
        Operand::optional("zero_point", STORED),
    ],
    outputs: &[Operand::required("y", STORED)],
    attrs: &[
        AXIS,
        BLOCK_SIZE,
        AttrDecl::optional("output_dtype", AttrKind::DType, "the result's type where no zero_point gives it"),
        AttrDecl::with_default(
            "saturate",
            AttrKind::Bool,
            AttrDefault::Bool(true),
            "for 8-bit floats only, which are not supported",
        ),
    ],
    infer: |ctx, _| {
        check(ctx)?;
        Ok(vec![TensorType::new(stored(ctx)?, ctx.input(0)?.dims.iter().copied())])
    },
    eval: quantize,
    traits: Traits::BY_NUMBERS,
    scalar: Some(|ctx, b, args| {
        check_one_scale(ctx)?;
        let zero = args.get(2).copied().flatten();
        quotient(ctx, b, arg(args, 0)?, arg(args, 1)?, zero)
    }),
    compute: Some(|ctx| nest(ctx, |b, x, scale, zero| quotient(ctx, b, x, scale, zero))),
    flops: elementwise::flops,
    samples: samples_quantize,
    ..BASE
};

/// Dequantise.
pub static DEQUANTIZE_LINEAR: OpDecl = OpDecl {
    name: "dequantize_linear",
    family: "quant",
    doc: "y = (x - zero_point) * scale; the scale is a scalar, a vector along `axis`, or blocked along it, and gives the \
          result's type. ONNX DequantizeLinear.",
    inputs: &[
        Operand::required("x", STORED.union(DTypeSet::only(DType::I32))),
        Operand::required("scale", DTypeSet::FLOAT),
        Operand::optional("zero_point", STORED.union(DTypeSet::only(DType::I32))),
    ],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[AXIS, BLOCK_SIZE, BITS],
    infer: |ctx, _| {
        check(ctx)?;
        let bits = ctx.int("bits").unwrap_or(0);
        if !(0..=8).contains(&bits) || bits == 1 {
            return Err(OpError::invalid(format!(
                "bits is {bits}; weights are stored in 2 to 8 bits, 0 for all of x's type"
            )));
        }
        if ctx.opt_input(2).is_some_and(|z| Some(z.dtype) != ctx.opt_input(0).map(|x| x.dtype)) {
            return Err(OpError::invalid("x and zero_point are of different types"));
        }
        Ok(vec![TensorType::new(ctx.input(1)?.dtype, ctx.input(0)?.dims.iter().copied())])
    },
    eval: dequantize,
    traits: Traits::BY_NUMBERS,
    scalar: Some(|ctx, b, args| {
        check_one_scale(ctx)?;
        let zero = args.get(2).copied().flatten();
        Ok(real(b, arg(args, 0)?, arg(args, 1)?, zero))
    }),
    compute: Some(|ctx| nest(ctx, |b, x, scale, zero| Ok(real(b, x, scale, zero)))),
    flops: elementwise::flops,
    samples: samples_dequantize,
    ..BASE
};

/// Quantise by the data's own range.
pub static DYNAMIC_QUANTIZE_LINEAR: OpDecl = OpDecl {
    name: "dynamic_quantize_linear",
    family: "quant",
    doc: "Quantises to u8 with scale = (max(x, 0) - min(x, 0)) / 255 and zero_point = saturate(round(-min / scale)). \
          Outputs: y, scale, zero_point. ONNX DynamicQuantizeLinear.",
    inputs: &[Operand::required("x", DTypeSet::only(DType::F32).union(DTypeSet::only(DType::F64)))],
    outputs: &[
        Operand::required("y", DTypeSet::only(DType::U8)),
        Operand::required("scale", DTypeSet::only(DType::F32).union(DTypeSet::only(DType::F64))),
        Operand::required("zero_point", DTypeSet::only(DType::U8)),
    ],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        let scalar = |d| TensorType::new(d, Vec::<Dim>::new());
        Ok(vec![TensorType::new(DType::U8, x.dims.iter().copied()), scalar(x.dtype), scalar(DType::U8)])
    },
    eval: dynamic,
    compute: Some(compute_dynamic),
    samples: |seed| {
        let mut g = Gen::new(seed);
        (0..3).map(|i| draft().data(g.tensor(DType::F32, &[3, 4 + i], -3.0, 5.0)).outputs(3).done()).collect()
    },
    ..BASE
};

/// The type that `quantize_linear` stores.
fn stored(ctx: &OpCtx) -> Result<DType, OpError> {
    let d = match (ctx.opt_input(2), ctx.dtype("output_dtype")) {
        (Some(z), Some(d)) if z.dtype != d => {
            return Err(OpError::invalid(format!("zero_point is {}, output_dtype is {d}", z.dtype)));
        }
        (Some(z), _) => z.dtype,
        (None, Some(d)) => d,
        (None, None) => DType::U8,
    };
    if STORED.has(d) { Ok(d) } else { Err(OpError::unsupported(format!("quantisation to {d} is not supported"))) }
}

/// How scales lie over a tensor.
enum Granularity {
    Tensor,
    Axis(usize),
    Blocks(usize, usize),
}

fn granularity(ctx: &OpCtx) -> Result<Granularity, OpError> {
    let (x, scale) = (ctx.input(0)?, ctx.input(1)?);
    let block = ctx.int("block_size").unwrap_or(0);
    let axis = || normalize_axis(ctx.int("axis").unwrap_or(1), x.rank());
    match (scale.rank(), block) {
        (_, b) if b < 0 => Err(OpError::invalid(format!("block_size is {b}"))),
        (0, 0) => Ok(Granularity::Tensor),
        (1, 0) if scale.dims[0] == Dim::Const(1) => Ok(Granularity::Tensor),
        (1, 0) => Ok(Granularity::Axis(axis()?)),
        (r, b) if r == x.rank() && b > 0 => Ok(Granularity::Blocks(axis()?, b as usize)),
        (r, b) => Err(OpError::invalid(format!(
            "a scale of rank {r} does not fit block_size {b} and data of rank {}",
            x.rank()
        ))),
    }
}

fn check(ctx: &OpCtx) -> Result<(), OpError> {
    let (x, scale) = (ctx.input(0)?, ctx.input(1)?);
    check_scales(ctx, 1)?;
    if let Some(z) = ctx.opt_input(2) {
        let single = |t: &TensorType| t.num_elements() == Some(1);
        if z.dims != scale.dims && !(single(z) && single(scale)) {
            return Err(OpError::invalid("scale and zero_point differ in shape"));
        }
    }
    let known = |d: Dim| d.known();
    match granularity(ctx)? {
        Granularity::Tensor => {}
        Granularity::Axis(a) => {
            if let (Some(n), Some(m)) = (known(x.dims[a]), known(scale.dims[0]))
                && n != m
            {
                return Err(OpError::invalid(format!("{m} scales for {n} indices of dimension {a}")));
            }
        }
        Granularity::Blocks(a, b) => {
            for (i, (&n, &m)) in x.dims.iter().zip(&scale.dims).enumerate() {
                if let (Some(n), Some(m)) = (known(n), known(m)) {
                    let want = if i == a { n.div_ceil(b as u64) } else { n };
                    if m != want {
                        return Err(OpError::invalid(format!("dimension {i} of the scale is {m}, not {want}")));
                    }
                }
            }
        }
    }
    Ok(())
}

/// For each element of the data, the position of its scale.
fn scale_positions(ctx: &OpCtx) -> Result<Vec<usize>, OpError> {
    let dims = ctx.static_dims(0)?;
    let n: usize = dims.iter().product();
    let inner = |a: usize| dims[a + 1..].iter().product::<usize>();
    Ok(match granularity(ctx)? {
        Granularity::Tensor => vec![0; n],
        Granularity::Axis(a) => (0..n).map(|i| i / inner(a) % dims[a]).collect(),
        Granularity::Blocks(a, b) => {
            let (inner, blocks) = (inner(a), dims[a].div_ceil(b));
            (0..n).map(|i| (i / (inner * dims[a]) * blocks + i / inner % dims[a] / b) * inner + i % inner).collect()
        }
    })
}

/// A formula of one element exists where one scale holds for all of them.
fn check_one_scale(ctx: &OpCtx) -> Result<(), OpError> {
    match granularity(ctx)? {
        Granularity::Tensor => Ok(()),
        _ => Err(OpError::unsupported("with scales along a dimension it is not element-wise")),
    }
}

/// The type that quotients and products with a scale are formed in: single precision, but for a scale in double.
fn working(b: &ScalarBuilder, scale: Expr) -> DType {
    if b.dtype(scale) == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `saturate(round(x / scale) + zero)`. There is no division by a scale that is known to be 1.
fn quotient(ctx: &OpCtx, b: &mut ScalarBuilder, x: Expr, scale: Expr, zero: Option<Expr>) -> Result<Expr, OpError> {
    let d = working(b, scale);
    let x = b.cast(x, d);
    let one = ctx.const_input(1).is_some_and(|s| s.to_f64s() == [1.0]);
    let q = if one {
        x
    } else {
        let s = b.cast(scale, d);
        b.div(x, s)
    };
    Ok(rounded(b, q, zero, stored(ctx)?))
}

/// `(x - zero) * scale`.
fn real(b: &mut ScalarBuilder, x: Expr, scale: Expr, zero: Option<Expr>) -> Expr {
    let d = working(b, scale);
    let mut y = b.cast(x, d);
    if let Some(z) = zero {
        let z = b.cast(z, d);
        y = b.sub(y, z);
    }
    let s = b.cast(scale, d);
    let y = b.mul(y, s);
    b.cast(y, b.dtype(scale))
}

/// One nest over the data, whose body gets an element, its scale and its zero point.
fn nest(
    ctx: &OpCtx,
    body: impl FnOnce(&mut ScalarBuilder, Expr, Expr, Option<Expr>) -> Result<Expr, OpError>,
) -> Result<Compute, OpError> {
    let dims = ctx.static_dims(0)?;
    let granularity = granularity(ctx)?;
    let mut b = ScalarBuilder::new();
    let at = loops::axes(&mut b, dims.len());
    let param = |b: &mut ScalarBuilder, i: usize| -> Result<Expr, OpError> {
        let ty = ctx.input(i)?;
        let index = match granularity {
            Granularity::Axis(a) if ty.rank() == 1 => vec![at[a]],
            Granularity::Blocks(a, n) if ty.rank() == at.len() => {
                let mut index = at.clone();
                index[a] = loops::div(b, at[a], n);
                index
            }
            _ => vec![b.int(0); ty.rank()],
        };
        Ok(b.load(Source::Input(i), index, ty.dtype))
    };
    let scale = param(&mut b, 1)?;
    let zero = if ctx.opt_input(2).is_some() { Some(param(&mut b, 2)?) } else { None };
    let x = b.load(Source::Input(0), at.clone(), ctx.input(0)?.dtype);
    let y = body(&mut b, x, scale, zero)?;
    Ok(loops::compute(vec![loops::map(dims, b, y)]))
}

/// Greatest and least element (zero included), scale, zero point, elements.
fn compute_dynamic(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (dims, d) = (ctx.static_dims(0)?, ctx.input(0)?.dtype);
    let extreme = |combine: Combine| {
        let mut b = ScalarBuilder::new();
        let at = loops::axes(&mut b, dims.len());
        let x = b.load(Source::Input(0), at, d);
        loops::reduce(Vec::new(), dims.clone(), combine, b, x)
    };
    // The range always holds 0.
    let bound = |b: &mut ScalarBuilder, stage: usize, combine: Combine| {
        let zero = b.constant(0.0, d);
        let e = b.load(Source::Stage(stage), Vec::new(), d);
        if combine == Combine::Max { b.max(e, zero) } else { b.min(e, zero) }
    };
    let scale = {
        let mut b = ScalarBuilder::new();
        let (max, min) = (bound(&mut b, 0, Combine::Max), bound(&mut b, 1, Combine::Min));
        let range = b.sub(max, min);
        let steps = b.constant(255.0, d);
        let s = b.div(range, steps);
        let (zero, one) = (b.constant(0.0, d), b.constant(1.0, d));
        let none = b.compare(Cmp::Eq, s, zero);
        let s = b.select(none, one, s);
        loops::map(Vec::new(), b, s)
    };
    let zero_point = {
        let mut b = ScalarBuilder::new();
        let min = bound(&mut b, 1, Combine::Min);
        let scale = b.load(Source::Stage(2), Vec::new(), d);
        let q = b.div(min, scale);
        let q = b.unary(Unary::Neg, q);
        let z = rounded(&mut b, q, None, DType::U8);
        loops::map(Vec::new(), b, z)
    };
    let elements = {
        let mut b = ScalarBuilder::new();
        let at = loops::axes(&mut b, dims.len());
        let x = b.load(Source::Input(0), at, d);
        let scale = b.load(Source::Stage(2), Vec::new(), d);
        let zero = b.load(Source::Stage(3), Vec::new(), DType::U8);
        let q = b.div(x, scale);
        let y = rounded(&mut b, q, Some(zero), DType::U8);
        loops::map(dims.clone(), b, y)
    };
    let stages = vec![extreme(Combine::Max), extreme(Combine::Min), scale, zero_point, elements];
    Ok(Compute { stages, outputs: vec![4, 2, 3] })
}

fn quantize(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let d = stored(&ctx.op)?;
    let (scale, zero) = (ctx.input(1)?.to_f64s(), zero_points(ctx.opt_input(2)));
    // A quotient in single precision, as every implementation forms it: which integer is nearest may hang on it.
    let single = ctx.input(1)?.dtype() != DType::F64;
    let quotient = |x: f64, s: f64| if single { f64::from(x as f32 / s as f32) } else { x / s };
    let positions = scale_positions(&ctx.op)?;
    let values =
        x.to_f64s().into_iter().zip(positions).map(|(x, p)| quantized(quotient(x, scale[p]), super::at(&zero, p), d));
    Ok(vec![int_tensor(d, x.dims().to_vec(), values.collect())?])
}

fn dequantize(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let (scale, zero) = (ctx.input(1)?.to_f64s(), zero_points(ctx.opt_input(2)));
    let positions = scale_positions(&ctx.op)?;
    let values = x.to_f64s().into_iter().zip(positions).map(|(x, p)| (x, super::at(&zero, p), scale[p]));
    Ok(vec![match ctx.input(1)?.dtype() {
        DType::F64 => Tensor::new(x.dims(), values.map(|(x, z, s)| (x - z) * s).collect::<Vec<f64>>()),
        d => {
            let single = values.map(|(x, z, s)| (x as f32 - z as f32) * s as f32).collect::<Vec<f32>>();
            narrowed(&Tensor::new(x.dims(), single), d)
        }
    }])
}

fn dynamic(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let values = x.to_f64s();
    let max = values.iter().fold(0.0, |a: f64, &b| a.max(b));
    let min = values.iter().fold(0.0, |a: f64, &b| a.min(b));
    let single = x.dtype() == DType::F32;
    let rounded = |v: f64| if single { f64::from(v as f32) } else { v };
    let scale = match rounded(rounded(max - min) / 255.0) {
        0.0 => 1.0,
        s => s,
    };
    let zero = rounded(-min / scale).round_ties_even().clamp(0.0, 255.0);
    let mut y = zeros::<u8>(x.dims())?;
    for (y, v) in y.iter_mut().zip(values) {
        *y = quantized(rounded(v / scale), zero, DType::U8) as u8;
    }
    let scale = if single { Tensor::scalar(scale as f32) } else { Tensor::scalar(scale) };
    Ok(vec![Tensor::new(x.dims(), y), scale, Tensor::scalar(zero as u8)])
}

/// Shape of data, shape of scales, axis, block.
fn layouts(g: &mut Gen) -> Vec<(Vec<usize>, Vec<usize>, i64, i64)> {
    let d = g.dims(3, 5);
    let blocked = vec![d[0], 2, d[2]];
    vec![
        (d.clone(), vec![], 1, 0),
        (d.clone(), vec![d[0]], 0, 0),
        (d.clone(), vec![d[2]], -1, 0),
        (vec![d[0], 6, d[2]], blocked, 1, 3),
    ]
}

fn samples_quantize(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for (dims, scales, axis, block) in layouts(&mut g) {
        for dtype in [DType::I8, DType::U8] {
            let scale = g.tensor(DType::F32, &scales, 0.01, 0.05);
            let d = draft().data(g.f32s(&dims)).param(scale).param(g.tensor(dtype, &scales, -9.0, 20.0));
            out.push(d.attr("axis", axis).attr("block_size", block).done());
        }
    }
    out
}

fn samples_dequantize(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for (dims, scales, axis, block) in layouts(&mut g) {
        for dtype in [DType::I8, DType::U8] {
            let x = g.tensor(dtype, &dims, -128.0, 255.0);
            let scale = g.tensor(DType::F32, &scales, 0.01, 0.05);
            let d = draft().data(x).param(scale).param(g.tensor(dtype, &scales, -9.0, 20.0));
            out.push(d.attr("axis", axis).attr("block_size", block).done());
        }
    }
    let d = g.dims(2, 5);
    out.push(draft().data(g.tensor(DType::I32, &d, -999.0, 999.0)).param(Tensor::scalar(0.02f32)).done());
    out
}
