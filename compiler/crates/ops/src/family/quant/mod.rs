//! Affine quantisation, as ONNX defines it: `real = scale * (stored - zero_point)`.

mod conv;
mod conv_transpose;
mod linear;
mod matmul;
pub mod rows;

pub use conv::{CONV_INTEGER, Q_LINEAR_CONV};
pub use conv_transpose::CONV_TRANSPOSE_INTEGER;
pub use linear::{DEQUANTIZE_LINEAR, DYNAMIC_QUANTIZE_LINEAR, QUANTIZE_LINEAR};
pub use matmul::{MATMUL_INTEGER, Q_LINEAR_MATMUL};
pub use rows::DYNAMIC_QUANTIZE_ROWS;

use mnnc_ir::scalar::{Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, DTypeSet, Dim, OpCtx, OpError, Tensor};

/// 8-bit integers.
const BYTE: DTypeSet = DTypeSet::only(DType::I8).union(DTypeSet::only(DType::U8));

/// The least and greatest value of an integer type.
fn limits(d: DType) -> (f64, f64) {
    (crate::loops::lowest(d), crate::loops::highest(d))
}

/// Integer elements of an operand that may be absent (then zero).
fn zero_points(t: Option<&Tensor>) -> Vec<f64> {
    t.map_or_else(|| vec![0.0], Tensor::to_f64s)
}

/// A parameter is a scalar or a vector with one element for each of `n` channels.
fn check_param(ctx: &OpCtx, i: usize, n: Option<Dim>) -> Result<(), OpError> {
    let Some(t) = ctx.opt_input(i) else { return Ok(()) };
    let ok = match (t.dims.as_slice(), n) {
        ([], _) | ([Dim::Const(1)], _) => true,
        ([Dim::Const(p)], Some(Dim::Const(q))) => *p == q,
        ([_], Some(_)) => true,
        _ => false,
    };
    if ok { Ok(()) } else { Err(OpError::invalid(format!("{} has a shape that does not fit", ctx.op.inputs[i].name))) }
}

/// Scales that are known must be usable: quantising divides by them. A constant's may be negative, which turns its range of integers around:
/// the side with one more of them goes where it is needed.
fn check_scales(ctx: &OpCtx, i: usize) -> Result<(), OpError> {
    let signed = ctx.op.name == "dequantize_linear";
    let Some(t) = ctx.const_input(i) else { return Ok(()) };
    let values = t.to_f64s();
    match values.iter().position(|s| !(s.is_finite() && (*s > 0.0 || signed && *s < 0.0))) {
        None => Ok(()),
        Some(at) => {
            let (name, n, s) = (ctx.op.inputs[i].name, values.len(), values[at]);
            let wanted = if signed { "finite and not 0" } else { "positive, finite numbers" };
            Err(OpError::invalid(format!("{name} {at} of {n} is {s}; scales must be {wanted}")))
        }
    }
}

/// The element of a scalar or per-channel parameter.
fn at(values: &[f64], channel: usize) -> f64 {
    if values.len() == 1 { values[0] } else { values.get(channel).copied().unwrap_or(0.0) }
}

/// Rounds a real quotient to an element of type `d`: half to even, saturating.
fn quantized(x: f64, zero_point: f64, d: DType) -> f64 {
    let (lo, hi) = limits(d);
    (x.round_ties_even() + zero_point).clamp(lo, hi)
}

/// A tensor of type `d` from integers that fit it.
fn int_tensor(d: DType, dims: Vec<usize>, values: Vec<f64>) -> Result<Tensor, OpError> {
    macro_rules! of {
        ($t:ty) => {
            Tensor::new(dims, values.into_iter().map(|x| x as i64 as $t).collect::<Vec<$t>>())
        };
    }
    Ok(match d {
        DType::I8 => of!(i8),
        DType::U8 => of!(u8),
        DType::I16 => of!(i16),
        DType::U16 => of!(u16),
        DType::I32 => of!(i32),
        _ => return Err(OpError::unsupported(format!("{d} is not a quantised type"))),
    })
}

/// Operand `i` at its index, in `to`: one number for all, or one for each channel. Zero if it is absent.
fn load_param(ctx: &OpCtx, b: &mut ScalarBuilder, i: usize, channel: Expr, to: DType) -> Expr {
    let Some(ty) = ctx.opt_input(i) else { return b.constant(0.0, to) };
    let zero = b.int(0);
    let index = ty.dims.iter().map(|&d| if d == Dim::Const(1) { zero } else { channel }).collect();
    let e = b.load(Source::Input(i), index, ty.dtype);
    b.cast(e, to)
}

/// The integer that stands for the quotient `q`: rounded half to even, shifted, saturated.
fn rounded(b: &mut ScalarBuilder, q: Expr, zero_point: Option<Expr>, to: DType) -> Expr {
    let mut y = b.unary(Unary::Round, q);
    if let Some(z) = zero_point {
        let z = b.cast(z, b.dtype(y));
        y = b.add(y, z);
    }
    b.cast(y, to)
}
