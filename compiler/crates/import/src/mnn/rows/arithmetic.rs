//! Arithmetic, comparisons and functions of one operand, element by element.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError, ValueId};
use mnnc_schema::mnn::{BinaryOpOperation as B, EltwiseType, OpType, UnaryOpOperation as U};

pub(super) static ROWS: &[Row] = &[
    row(OpType::BinaryOp, binary),
    row(OpType::Eltwise, eltwise),
    row(OpType::UnaryOp, unary),
    row(OpType::Scale, scale),
    row(OpType::Select, select),
    row(OpType::AbsVal, |cx| {
        let x = cx.input(0)?;
        Ok(vec![cx.emit("abs", &[x], Attrs::new())?])
    }),
    row(OpType::ZerosLike, zeros_like),
];

/// The operands in one order of dims; the result has the format of the one of higher rank, of the first if they are equal.
fn aligned(cx: &mut OpCx) -> Result<(ValueId, ValueId), OpError> {
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    let leads = cx.rank(a) >= cx.rank(b);
    let (fa, fb) = (cx.format_of(0), cx.format_of(1));
    cx.format = if leads { fa } else { fb };
    if cx.rank(a) == cx.rank(b) {
        b = cx.reordered(b, fb, fa)?;
    } else if fa.differs(fb) && cx.rank(a).min(cx.rank(b)) > 2 {
        return Err(OpError::unsupported("operands of different ranks and data formats are not supported"));
    }
    // A constant that takes part in a wider type.
    if cx.ty(a).dtype != cx.ty(b).dtype {
        let to = cx.ty(a).dtype;
        let is_float = |d: DType| d == DType::F32;
        match is_float(to) {
            true => b = cx.cast(b, to)?,
            false => a = cx.cast(a, cx.ty(b).dtype)?,
        }
    }
    Ok((a, b))
}

fn binary(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_binary_op().ok_or_else(|| lacks("BinaryOp"))?;
    let (a, b) = aligned(cx)?;
    let y = binary_of(cx, p.op_type(), a, b)?;
    // A fused activation; only relu is defined.
    match p.activation_type() {
        0 => Ok(vec![y]),
        1 => Ok(vec![cx.emit("relu", &[y], Attrs::new())?]),
        other => Err(OpError::unsupported(format!("the fused activation {other} is not supported"))),
    }
}

/// A comparison or connective, which gives an int.
fn truth(cx: &mut OpCx, op: &str, a: ValueId, b: ValueId, negate: bool) -> Result<ValueId, OpError> {
    let mut y = cx.emit(op, &[a, b], Attrs::new())?;
    if negate {
        y = cx.emit("not", &[y], Attrs::new())?;
    }
    cx.cast(y, DType::I32)
}

fn as_flags(cx: &mut OpCx, a: ValueId) -> Result<ValueId, OpError> {
    cx.cast(a, DType::Bool)
}

fn binary_of(cx: &mut OpCx, f: B, a: ValueId, b: ValueId) -> Result<ValueId, OpError> {
    let is_float = cx.ty(a).dtype == DType::F32;
    let direct = match f {
        B::ADD => "add",
        B::SUB => "sub",
        B::MUL => "mul",
        B::DIV | B::REALDIV => "div",
        B::POW => "pow",
        B::MINIMUM | B::MIN_TEMP => "min",
        B::MAXIMUM | B::MAX_TEMP => "max",
        B::BITWISE_AND => "bitwise_and",
        B::BITWISE_OR => "bitwise_or",
        B::BITWISE_XOR => "bitwise_xor",
        B::GREATER => return truth(cx, "greater", a, b, false),
        B::GREATER_EQUAL => return truth(cx, "greater_or_equal", a, b, false),
        B::LESS => return truth(cx, "less", a, b, false),
        B::LESS_EQUAL => return truth(cx, "less_or_equal", a, b, false),
        B::EQUAL => return truth(cx, "equal", a, b, false),
        B::NOTEQUAL => return truth(cx, "equal", a, b, true),
        B::LOGICALOR | B::LOGICALXOR => {
            let (a, b) = (as_flags(cx, a)?, as_flags(cx, b)?);
            return truth(cx, if f == B::LOGICALOR { "or" } else { "xor" }, a, b, false);
        }
        B::SquaredDifference => {
            let d = cx.emit("sub", &[a, b], Attrs::new())?;
            return cx.emit("mul", &[d, d], Attrs::new());
        }
        B::FLOORDIV if is_float => {
            let q = cx.emit("div", &[a, b], Attrs::new())?;
            return cx.emit("floor", &[q], Attrs::new());
        }
        B::FLOORMOD | B::MOD => {
            // As MNN computes them: of floats FLOORMOD has the sign of the divisor and MOD that of the dividend, of integers
            // it is the other way round.
            let fmod = is_float == (f == B::MOD);
            if is_float && !fmod {
                let q = cx.emit("div", &[a, b], Attrs::new())?;
                let q = cx.emit("floor", &[q], Attrs::new())?;
                let whole = cx.emit("mul", &[q, b], Attrs::new())?;
                return cx.emit("sub", &[a, whole], Attrs::new());
            }
            return cx.emit("mod", &[a, b], Attrs::new().with("fmod", fmod));
        }
        B::FLOORDIV => {
            // The quotient of what is left when the (floored) remainder is taken away is exact.
            let rest = cx.emit("mod", &[a, b], Attrs::new())?;
            let whole = cx.emit("sub", &[a, rest], Attrs::new())?;
            return cx.emit("div", &[whole, b], Attrs::new());
        }
        B::MUL_SILU => {
            let gate = cx.emit("swish", &[b], Attrs::new())?;
            return cx.emit("mul", &[a, gate], Attrs::new());
        }
        other => {
            let name = other.variant_name().map_or_else(|| other.0.to_string(), str::to_string);
            return Err(OpError::unsupported(format!("BinaryOp {name} is not supported")));
        }
    };
    cx.emit(direct, &[a, b], Attrs::new())
}

fn eltwise(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_eltwise().ok_or_else(|| lacks("Eltwise"))?;
    let coeff: Vec<f32> = p.coeff().into_iter().flatten().collect();
    match coeff.as_slice() {
        [] => {}
        [a, b, ..] if *a == 1.0 && *b == 0.0 => return Ok(vec![cx.input(0)?]),
        list if list.iter().all(|&c| c == 1.0) => {}
        _ => return Err(OpError::unsupported("coefficients of Eltwise are not supported")),
    }
    let op = match p.type_() {
        EltwiseType::PROD => "mul",
        EltwiseType::SUM => "add",
        EltwiseType::MAXIMUM => "max",
        _ => "sub",
    };
    let all = cx.all()?;
    let (&first, rest) = all.split_first().ok_or_else(|| OpError::invalid("the op has no inputs"))?;
    let mut y = first;
    for (i, &x) in rest.iter().enumerate() {
        let x = cx.reordered(x, cx.format_of(i + 1), cx.format)?;
        y = cx.emit(op, &[y, x], Attrs::new())?;
    }
    Ok(vec![y])
}

fn unary(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_unary_op().ok_or_else(|| lacks("UnaryOp"))?;
    let x = cx.input(0)?;
    let direct = match p.op_type() {
        U::ABS => "abs",
        U::NEG => "neg",
        U::FLOOR => "floor",
        U::CEIL => "ceil",
        U::SQRT => "sqrt",
        U::EXP => "exp",
        U::LOG => "log",
        U::SIN => "sin",
        U::COS => "cos",
        U::TAN => "tan",
        U::ASIN => "asin",
        U::ACOS => "acos",
        U::ATAN => "atan",
        U::RECIPROCAL => "reciprocal",
        U::ACOSH => "acosh",
        U::SINH => "sinh",
        U::ASINH => "asinh",
        U::ATANH => "atanh",
        U::SIGN => "sign",
        U::COSH => "cosh",
        U::ERF => "erf",
        U::SIGMOID => "sigmoid",
        U::TANH => "tanh",
        U::HARDSWISH => "hard_swish",
        U::SILU => "swish",
        U::BNLL => "softplus",
        U::GELU => {
            let attrs = Attrs::new().with("approximate", "tanh");
            return Ok(vec![cx.emit("gelu", &[x], attrs)?]);
        }
        U::GELU_STANDARD => "gelu",
        U::SQUARE => return Ok(vec![cx.emit("mul", &[x, x], Attrs::new())?]),
        U::RSQRT => {
            let root = cx.emit("sqrt", &[x], Attrs::new())?;
            return Ok(vec![cx.emit("reciprocal", &[root], Attrs::new())?]);
        }
        U::LOG1P => {
            let one = cx.scalar(1.0, x)?;
            let sum = cx.emit("add", &[x, one], Attrs::new())?;
            return Ok(vec![cx.emit("log", &[sum], Attrs::new())?]);
        }
        U::EXPM1 => {
            let e = cx.emit("exp", &[x], Attrs::new())?;
            let one = cx.scalar(1.0, x)?;
            return Ok(vec![cx.emit("sub", &[e, one], Attrs::new())?]);
        }
        U::ERFC => {
            let e = cx.emit("erf", &[x], Attrs::new())?;
            let one = cx.scalar(1.0, x)?;
            return Ok(vec![cx.emit("sub", &[one, e], Attrs::new())?]);
        }
        U::ROUND => return round_half_away(cx, x),
        other => {
            let name = other.variant_name().map_or_else(|| other.0.to_string(), str::to_string);
            return Err(OpError::unsupported(format!("UnaryOp {name} is not supported")));
        }
    };
    Ok(vec![cx.emit(direct, &[x], Attrs::new())?])
}

/// MNN takes halves away from zero.
fn round_half_away(cx: &mut OpCx, x: ValueId) -> Rows {
    let size = cx.emit("abs", &[x], Attrs::new())?;
    let half = cx.scalar(0.5, x)?;
    let size = cx.emit("add", &[size, half], Attrs::new())?;
    let whole = cx.emit("floor", &[size], Attrs::new())?;
    let sign = cx.emit("sign", &[x], Attrs::new())?;
    Ok(vec![cx.emit("mul", &[whole, sign], Attrs::new())?])
}

/// A factor and a summand for each channel.
fn scale(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_scale().ok_or_else(|| lacks("Scale"))?;
    let x = cx.image(0)?;
    let channels = usize::try_from(p.channels()).unwrap_or(0);
    let mut dims = vec![1usize; cx.rank(x).saturating_sub(1)];
    match dims.first_mut() {
        Some(first) => *first = channels,
        None => return Err(OpError::invalid("the input has no channels")),
    }
    let external: Vec<i64> = p.external().into_iter().flatten().collect();
    let mut data =
        [cx.imp.floats(p.scale_data(), &dims, "the scale")?, cx.imp.floats(p.bias_data(), &dims, "the bias")?];
    if let (None, [offset, lengths @ ..]) = (&data[0], external.as_slice()) {
        let mut at = *offset;
        for (slot, &length) in data.iter_mut().zip(lengths) {
            let bytes = cx.imp.external(at, length)?;
            *slot = Some(crate::mnn::tensor::over(DType::F32, &dims, bytes, "the external scale")?);
            at = at.checked_add(length).ok_or_else(|| OpError::invalid("external sizes overflow"))?;
        }
    }
    let [factor, summand] = data;
    let factor = factor.ok_or_else(|| lacks("Scale.scaleData"))?;
    let factor = cx.constant(factor);
    let mut y = cx.emit("mul", &[x, factor], Attrs::new())?;
    if let Some(summand) = summand {
        let summand = cx.constant(summand);
        y = cx.emit("add", &[y, summand], Attrs::new())?;
    }
    Ok(vec![cx.image_out(y)?])
}

fn select(cx: &mut OpCx) -> Rows {
    let (c, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    cx.format = cx.format_of(1);
    let c = as_flags(cx, c)?;
    Ok(vec![cx.emit("where", &[c, a, b], Attrs::new())?])
}

fn zeros_like(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let shape = cx.aside("shape", &[x], Attrs::new())?;
    let zero = cx.scalar(0.0, x)?;
    Ok(vec![cx.emit("expand", &[zero, shape], Attrs::new())?])
}
