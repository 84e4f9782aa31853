//! Tensors made from shapes and numbers: what a shape is, and constants, ramps, diagonals of a shape.

use crate::define::{BASE, X_ANY};
use crate::dims::{check_rank, const_list, product, sizes, unknown_dims};
use crate::loops;
use crate::num::for_dtype;
use crate::sample::{Gen, draft};
use crate::separable::{retyped, separable};
use half::{bf16, f16};
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType,
};

const FAMILY: &str = "fill";
const LENGTHS: &[Operand] = &[Operand::required("output", DTypeSet::I64)];

/// `shape`.
pub static SHAPE: OpDecl = OpDecl {
    name: "shape",
    family: FAMILY,
    doc: "The sizes of dimensions `start..end`, positions as in `slice`. Needs only the type of its operand.",
    inputs: X_ANY,
    outputs: LENGTHS,
    attrs: &[
        AttrDecl::with_default("start", AttrKind::Int, AttrDefault::Int(0), "First dimension."),
        AttrDecl::optional("end", AttrKind::Int, "Dimension after the last; all if unset."),
    ],
    infer: |ctx, _| {
        let (a, b) = shape_range(ctx, ctx.input(0)?.rank());
        Ok(vec![TensorType::new(DType::I64, [b - a])])
    },
    eval: |ctx| {
        let dims = ctx.input(0)?.dims();
        let (a, b) = shape_range(&ctx.op, dims.len());
        Ok(vec![Tensor::ints(&dims[a..b].iter().map(|&d| d as i64).collect::<Vec<_>>())])
    },
    compute: Some(|ctx| {
        let dims = ctx.static_dims(0)?;
        let (first, end) = shape_range(ctx, dims.len());
        let mut b = ScalarBuilder::new();
        let at = b.axis(0);
        let mut out = b.int(0);
        for (i, &d) in dims[first..end].iter().enumerate() {
            let (i, d) = (b.int(i as i64), b.int(d as i64));
            let here = b.compare(Cmp::Eq, at, i);
            out = b.select(here, d, out);
        }
        Ok(loops::compute(vec![loops::map(vec![end - first], b, out)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        let x = g.f32s(&[2, 3, 4]);
        vec![
            draft().data(x.clone()).done(),
            draft().attr("start", 1i64).data(x.clone()).done(),
            draft().attr("start", -2i64).attr("end", -1i64).data(x.clone()).done(),
            draft().attr("start", 2i64).attr("end", 1i64).data(x).done(),
            draft().data(g.f32s(&[])).done(),
        ]
    },
    ..BASE
};

fn shape_range(ctx: &OpCtx, rank: usize) -> (usize, usize) {
    let r = rank as i64;
    let place = |p: i64| (if p < 0 { p.saturating_add(r) } else { p }).clamp(0, r) as usize;
    let (a, b) = (place(ctx.int("start").unwrap_or(0)), place(ctx.int("end").unwrap_or(r)));
    (a, b.max(a))
}

/// `size`.
pub static SIZE: OpDecl = OpDecl {
    name: "size",
    family: FAMILY,
    doc: "The number of elements. Needs only the type of its operand.",
    inputs: X_ANY,
    outputs: LENGTHS,
    infer: |_, _| Ok(vec![TensorType::new(DType::I64, [0usize; 0])]),
    eval: |ctx| Ok(vec![Tensor::scalar(ctx.input(0)?.len() as i64)]),
    compute: Some(|ctx| {
        let n = product(&ctx.static_dims(0)?)?;
        let mut b = ScalarBuilder::new();
        let n = b.int(n as i64);
        Ok(loops::compute(vec![loops::map(vec![], b, n)]))
    }),
    samples: |seed| vec![draft().data(Gen::new(seed).f32s(&[2, 3, 4])).done()],
    ..BASE
};

/// `constant_of_shape`.
pub static CONSTANT_OF_SHAPE: OpDecl = OpDecl {
    name: "constant_of_shape",
    family: FAMILY,
    doc: "A tensor of shape `shape`, each element `value`.",
    inputs: &[Operand::required("shape", DTypeSet::I64), Operand::required("value", DTypeSet::ANY)],
    infer: |ctx, syms| {
        let value = ctx.input(1)?;
        if value.rank() > 1 || value.num_elements().is_some_and(|n| n != 1) {
            return Err(OpError::invalid(format!("value must be one element, it is {}", value.show(syms))));
        }
        Ok(vec![match const_list(ctx, 0)? {
            Some(shape) => {
                check_rank(shape.len())?;
                TensorType::new(value.dtype, sizes(&shape, "shape")?)
            }
            None => TensorType::new(value.dtype, unknown_dims(ctx, 0, syms)?),
        }])
    },
    eval: |ctx| {
        let dims = sizes(&ctx.op.const_ints(0)?, "shape")?;
        let along = |i: usize| vec![Some(0); dims[i]];
        Ok(vec![separable(ctx.input(1)?, &dims, along, None)?])
    },
    compute: Some(|ctx| {
        let dims = sizes(&ctx.const_ints(0)?, "shape")?;
        let value = ctx.input(1)?;
        let mut b = ScalarBuilder::new();
        let at = vec![b.int(0); value.rank()];
        let body = b.load(Source::Input(1), at, value.dtype);
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |_| {
        vec![
            draft().ints(&[2, 3]).param(Tensor::new(vec![1], vec![1.5f32])).done(),
            draft().ints(&[]).param(Tensor::new(vec![1], vec![7i64])).done(),
            draft().ints(&[2, 0]).param(Tensor::new(vec![1], vec![1u8])).done(),
        ]
    },
    ..BASE
};

/// Types of a ramp.
const RAMP: DTypeSet = DTypeSet::from_bits_retain(0b0000_0000_1110_1111);

/// `range`.
pub static RANGE: OpDecl = OpDecl {
    name: "range",
    family: FAMILY,
    doc: "`start, start + delta, …` before `limit`.",
    inputs: &[Operand::required("start", RAMP), Operand::required("limit", RAMP), Operand::required("delta", RAMP)],
    infer: |ctx, syms| {
        let dtype = ctx.input(0)?.dtype;
        for i in 0..3 {
            let ty = ctx.input(i)?;
            if ty.dtype != dtype || ty.rank() > 1 || ty.num_elements().is_some_and(|n| n != 1) {
                let name = ctx.op.inputs[i].name;
                return Err(OpError::invalid(format!("{name} is {}, it must be one {dtype}", ty.show(syms))));
            }
        }
        Ok(vec![TensorType::new(dtype, [range_len(ctx)?.map_or_else(|| syms.fresh(), Dim::from)])])
    },
    eval: |ctx| {
        let n = range_len(&ctx.op)?.ok_or_else(|| OpError::invalid("the length is not known"))?;
        let (start, delta) = (ctx.input(0)?, ctx.input(2)?);
        macro_rules! ramp {
            ($t:ty, |$s:ident, $d:ident, $i:ident| $e:expr) => {{
                let ($s, $d) = (start.view::<$t>()[0], delta.view::<$t>()[0]);
                Tensor::new(vec![n], (0..n).map(|$i| $e).collect::<Vec<$t>>())
            }};
        }
        Ok(vec![match start.dtype() {
            DType::F32 => ramp!(f32, |s, d, i| s + i as f32 * d),
            DType::F64 => ramp!(f64, |s, d, i| s + i as f64 * d),
            // In f32, rounded once.
            DType::F16 => ramp!(f16, |s, d, i| f16::from_f32(s.to_f32() + i as f32 * d.to_f32())),
            DType::BF16 => ramp!(bf16, |s, d, i| bf16::from_f32(s.to_f32() + i as f32 * d.to_f32())),
            DType::I16 => ramp!(i16, |s, d, i| s.wrapping_add((i as i16).wrapping_mul(d))),
            DType::I32 => ramp!(i32, |s, d, i| s.wrapping_add((i as i32).wrapping_mul(d))),
            _ => ramp!(i64, |s, d, i| s.wrapping_add((i as i64).wrapping_mul(d))),
        }])
    },
    compute: Some(|ctx| {
        let n = range_len(ctx)?.ok_or_else(|| OpError::unsupported("start, limit and delta must be constants"))?;
        let dtype = ctx.input(0)?.dtype;
        let mut b = ScalarBuilder::new();
        let [start, delta] = [0, 2].map(|i| {
            let at = vec![b.int(0); ctx.inputs[i].as_ref().map_or(0, TensorType::rank)];
            let x = b.load(Source::Input(i), at, dtype);
            b.cast(x, loops::wide(dtype))
        });
        let i = b.axis(0);
        let i = b.cast(i, loops::wide(dtype));
        let step = b.mul(i, delta);
        let body = b.add(start, step);
        let body = b.cast(body, dtype);
        Ok(loops::compute(vec![loops::map(vec![n], b, body)]))
    }),
    samples: |_| {
        let f = Tensor::scalar::<f32>;
        let i = Tensor::scalar::<i64>;
        vec![
            draft().param(i(0)).param(i(7)).param(i(1)).done(),
            draft().param(i(10)).param(i(-3)).param(i(-4)).done(),
            draft().param(i(3)).param(i(3)).param(i(1)).done(),
            draft().param(f(0.5)).param(f(2.0)).param(f(0.25)).done(),
            draft()
                .param(Tensor::scalar(f16::ONE))
                .param(Tensor::scalar(f16::from_f32(7.0)))
                .param(Tensor::scalar(f16::ONE))
                .done(),
            draft().param(Tensor::scalar(1i32)).param(Tensor::scalar(6i32)).param(Tensor::scalar(2i32)).done(),
        ]
    },
    ..BASE
};

/// The length of a ramp, if its limits are known.
fn range_len(ctx: &OpCtx) -> Result<Option<usize>, OpError> {
    let [Some(start), Some(limit), Some(delta)] = [0, 1, 2].map(|i| ctx.const_input(i)) else { return Ok(None) };
    if [start, limit, delta].iter().any(|t| t.len() != 1) {
        return Err(OpError::invalid("start, limit and delta must be one number each"));
    }
    if let (Some(s), Some(l), Some(d)) = (start.to_i64s(), limit.to_i64s(), delta.to_i64s()) {
        let (s, l, d) = (i128::from(s[0]), i128::from(l[0]), i128::from(d[0]));
        if d == 0 {
            return Err(OpError::invalid("delta is 0"));
        }
        let (distance, step) = if d > 0 { (l - s, d) } else { (s - l, -d) };
        let n = if distance > 0 { (distance + step - 1) / step } else { 0 };
        let n = usize::try_from(n).map_err(|_| OpError::invalid(format!("{n} elements are too many")))?;
        return Ok(Some(n));
    }
    let (s, l, d) = (start.to_f64s()[0], limit.to_f64s()[0], delta.to_f64s()[0]);
    // The distance is taken in the type of the numbers, as others do.
    let distance = if loops::wide(start.dtype()) == DType::F32 { f64::from(l as f32 - s as f32) } else { l - s };
    let n = (distance / d).ceil().max(0.0);
    if !(0.0..1e15).contains(&n) {
        return Err(OpError::invalid(format!("from {s} to {l} by {d} is no finite range")));
    }
    Ok(Some(n as usize))
}

/// `eye_like`.
pub static EYE_LIKE: OpDecl = OpDecl {
    name: "eye_like",
    family: FAMILY,
    doc: "A matrix of the input's shape with ones on diagonal `k`, zeros elsewhere.",
    inputs: X_ANY,
    attrs: &[
        AttrDecl::optional("dtype", AttrKind::DType, "Element type; the input's if unset."),
        AttrDecl::with_default("k", AttrKind::Int, AttrDefault::Int(0), "Diagonal; above the main one if positive."),
    ],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        if x.rank() != 2 {
            return Err(OpError::invalid(format!("the input must be a matrix, it has rank {}", x.rank())));
        }
        Ok(vec![TensorType::new(ctx.dtype("dtype").unwrap_or(x.dtype), x.dims.iter().copied())])
    },
    eval: eval_eye,
    compute: Some(|ctx| {
        let dims = ctx.static_dims(0)?;
        let dtype = ctx.dtype("dtype").unwrap_or(ctx.input(0)?.dtype);
        let mut b = ScalarBuilder::new();
        let (i, j) = (b.axis(0), b.axis(1));
        let diagonal = loops::affine(&mut b, &[(i, 1)], diagonal(ctx));
        let on = b.compare(Cmp::Eq, j, diagonal);
        let (one, zero) = (b.constant(1.0, dtype), b.constant(0.0, dtype));
        let body = b.select(on, one, zero);
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |seed| {
        let x = Gen::new(seed).f32s(&[3, 5]);
        vec![
            draft().data(x.clone()).done(),
            draft().attr("k", 2i64).attr("dtype", DType::I64).data(x.clone()).done(),
            draft().attr("k", -1i64).attr("dtype", DType::F64).data(x).done(),
        ]
    },
    ..BASE
};

/// Attribute `k`, kept where index arithmetic cannot overflow.
fn diagonal(ctx: &OpCtx) -> i64 {
    ctx.int("k").unwrap_or(0).clamp(-(1 << 62), 1 << 62)
}

fn eval_eye(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0)?;
    let (rows, columns) = (x.dims()[0], x.dims()[1]);
    let dtype = ctx.op.dtype("dtype").unwrap_or(x.dtype());
    let k = diagonal(&ctx.op);
    // The bits of one, whatever the type.
    let one = crate::evaluate_op(
        &crate::family::cast::CAST,
        &mnnc_ir::Attrs::new().with("to", dtype),
        &[Some(Tensor::scalar(1.0f32))],
        1,
        usize::MAX,
    )?;
    let n = product(x.dims())?;
    let out = for_dtype!(dtype, T => {
        let mut v = vec![T::default(); n];
        let one = one[0].view::<T>()[0];
        for i in 0..rows {
            if let Ok(j) = usize::try_from(i as i64 + k) && j < columns {
                v[i * columns + j] = one;
            }
        }
        Tensor::new(vec![n], v)
    });
    Ok(vec![retyped(out, dtype, x.dims()).ok_or_else(|| OpError::invalid("a matrix of another size"))?])
}
