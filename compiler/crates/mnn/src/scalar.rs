//! Any element-wise op through its formula: one MNN op for each node of the scalar expression.
//!
//! This is how an op that MNN has no name for is written nevertheless. Constants of the formula are scalars that
//! broadcast.

use crate::cx::{Cx, Reason};
use crate::net::{Tid, Ty};
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder, ScalarFn, ScalarNode, Unary};
use mnnc_schema::mnn::{BinaryOpOperation as B, UnaryOpOperation as U};

/// Writes the node by its op's formula.
pub(crate) fn by_formula(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let Some(formula) = cx.op.op.scalar else {
        return Err("MNN has no such op, nor is it a formula of ops that it has".into());
    };
    let mut builder = ScalarBuilder::new();
    let args: Vec<Option<Expr>> =
        (0..cx.node.inputs().len()).map(|i| cx.op.opt_input(i).map(|ty| builder.arg(i, ty.dtype))).collect();
    let result = formula(&cx.op, &mut builder, &args)?;
    let function = builder.finish(result);
    let mut tids = Vec::with_capacity(function.nodes.len());
    for at in 0..function.nodes.len() {
        tids.push(node(cx, &function, Expr(at as u32), &tids)?);
    }
    let result = tids[function.result.0 as usize];
    // A formula that ignores an operand's shape still has the shape of all of them.
    if cx.shape(result) != cx.output_shape(0) {
        return Err("its formula is constant over an operand, which the format cannot say".into());
    }
    Ok(vec![result])
}

fn node(cx: &mut Cx, f: &ScalarFn, e: Expr, done: &[Tid]) -> Result<Tid, Reason> {
    let at = |e: &Expr| done[e.0 as usize];
    let dtype = f.dtype(e);
    Ok(match f.node(e) {
        ScalarNode::Arg(i) => {
            let tid = cx.input(*i)?;
            match cx.ty(tid) {
                Ty::Float | Ty::Int => tid,
                // MNN computes on 8-bit elements nowhere; all of them fit an int32.
                Ty::I8 | Ty::U8 => cx.cast(tid, Ty::Int),
            }
        }
        ScalarNode::Const(x) => match Ty::of(dtype) {
            Ty::Float => cx.float(*x as f32),
            _ => cx.int(int_literal(*x)?),
        },
        ScalarNode::Unary(u, a) => unary(cx, *u, at(a), f.dtype(*a))?,
        ScalarNode::Binary(b, x, y) => binary(cx, *b, at(x), at(y), f.dtype(*x), constant(f, *y))?,
        ScalarNode::Compare(relation, x, y) => compare(cx, *relation, at(x), at(y)),
        ScalarNode::Select(c, x, y) => cx.select(at(c), at(x), at(y)),
        ScalarNode::Cast(a) => cast(cx, at(a), f.dtype(*a), dtype)?,
        ScalarNode::Axis(_) | ScalarNode::Load { .. } => {
            return Err("its formula depends on the position, which the format cannot say".into());
        }
    })
}

fn int_literal(x: f64) -> Result<i32, Reason> {
    let whole = x as i32;
    // An i64 literal beyond 32 bits stands for "unbounded" in clips: the nearest int32 does too.
    if f64::from(whole) == x || x.abs() >= 2f64.powi(62) {
        Ok(whole)
    } else {
        Err(format!("literal {x} exceeds MNN's 32-bit integers").into())
    }
}

fn constant(f: &ScalarFn, e: Expr) -> Option<f64> {
    match f.node(e) {
        ScalarNode::Const(x) => Some(*x),
        _ => None,
    }
}

/// Narrow integers wrap at their own width, which int32 arithmetic does not show.
fn check_wrapping(dtype: DType) -> Result<(), Reason> {
    match dtype {
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::U32 | DType::U64 => {
            Err(format!("MNN has no {dtype} arithmetic; cast to i32 or f32").into())
        }
        _ => Ok(()),
    }
}

fn unary(cx: &mut Cx, u: Unary, x: Tid, dtype: DType) -> Result<Tid, Reason> {
    if dtype.is_int() {
        check_wrapping(dtype)?;
    }
    let is_float = dtype.is_float();
    let direct = match u {
        Unary::Neg => U::NEG,
        Unary::Abs => U::ABS,
        Unary::Sign => U::SIGN,
        Unary::Sqrt => U::SQRT,
        Unary::Exp => U::EXP,
        Unary::Log => U::LOG,
        Unary::Sin => U::SIN,
        Unary::Cos => U::COS,
        Unary::Tan => U::TAN,
        Unary::Asin => U::ASIN,
        Unary::Acos => U::ACOS,
        Unary::Atan => U::ATAN,
        Unary::Sinh => U::SINH,
        Unary::Cosh => U::COSH,
        Unary::Tanh => U::TANH,
        Unary::Asinh => U::ASINH,
        Unary::Acosh => U::ACOSH,
        Unary::Atanh => U::ATANH,
        Unary::Erf => U::ERF,
        Unary::Floor => U::FLOOR,
        Unary::Ceil => U::CEIL,
        Unary::Trunc => {
            let (size, sign) = (cx.unary(U::ABS, x), cx.unary(U::SIGN, x));
            let whole = cx.unary(U::FLOOR, size);
            return Ok(cx.mul(whole, sign));
        }
        Unary::Round => return Ok(round_half_even(cx, x)),
        Unary::IsNan => return Ok(cx.binary(B::NOTEQUAL, x, x)),
        Unary::IsInf => {
            let size = cx.unary(U::ABS, x);
            let infinity = cx.float(f32::INFINITY);
            return Ok(cx.binary(B::EQUAL, size, infinity));
        }
        Unary::Not if dtype == DType::Bool => {
            let one = cx.int(1);
            return Ok(cx.sub(one, x));
        }
        Unary::Not => {
            // -1 - x is the bitwise complement.
            let minus_one = cx.int(-1);
            return Ok(cx.sub(minus_one, x));
        }
    };
    if !is_float {
        return match u {
            Unary::Neg => {
                let zero = cx.int(0);
                Ok(cx.sub(zero, x))
            }
            Unary::Abs => {
                let zero = cx.int(0);
                let negated = cx.sub(zero, x);
                Ok(cx.binary(B::MAXIMUM, x, negated))
            }
            Unary::Sign => {
                let zero = cx.int(0);
                let above = cx.binary(B::GREATER, x, zero);
                let below = cx.binary(B::LESS, x, zero);
                Ok(cx.sub(above, below))
            }
            _ => Err(format!("MNN has no {u:?} of {dtype}").into()),
        };
    }
    Ok(cx.unary(direct, x))
}

/// MNN's own ROUND takes halves away from zero. Half to even is the nearest integer, less the tie's excess:
/// with f = floor(x + 0.5), a tie (f - x = 0.5) that came out odd goes down by one.
fn round_half_even(cx: &mut Cx, x: Tid) -> Tid {
    let half = cx.float(0.5);
    let one = cx.float(1.0);
    let shifted = cx.add(x, half);
    let up = cx.unary(U::FLOOR, shifted);
    let excess = cx.sub(up, x);
    let tie = cx.binary(B::EQUAL, excess, half);
    let halved = cx.mul(up, half);
    let floor = cx.unary(U::FLOOR, halved);
    let odd = cx.binary(B::NOTEQUAL, halved, floor);
    let down = cx.sub(up, one);
    let both = cx.mul(tie, odd);
    cx.select(both, down, up)
}

fn binary(cx: &mut Cx, b: Binary, x: Tid, y: Tid, dtype: DType, divisor: Option<f64>) -> Result<Tid, Reason> {
    let is_bool = dtype == DType::Bool;
    if dtype.is_int() && !matches!(b, Binary::Min | Binary::Max | Binary::And | Binary::Or | Binary::Xor) {
        check_wrapping(dtype)?;
    }
    let f = match b {
        Binary::Add => B::ADD,
        Binary::Sub => B::SUB,
        Binary::Mul => B::MUL,
        Binary::Div if dtype.is_float() => B::REALDIV,
        Binary::Div | Binary::Rem if !dtype.is_float() => return integer_division(cx, b, x, y, divisor),
        Binary::Rem => {
            let quotient = cx.binary(B::REALDIV, x, y);
            let (size, sign) = (cx.unary(U::ABS, quotient), cx.unary(U::SIGN, quotient));
            let whole = cx.unary(U::FLOOR, size);
            let whole = cx.mul(whole, sign);
            let part = cx.mul(whole, y);
            // A greater divisor, also an infinite one, leaves everything.
            let zero = cx.float(0.0);
            let (left, right) = (cx.unary(U::ABS, x), cx.unary(U::ABS, y));
            let less = cx.binary(B::GREATER, right, left);
            let part = cx.select(less, zero, part);
            return Ok(cx.sub(x, part));
        }
        Binary::Pow if dtype.is_float() => B::POW,
        Binary::Min => B::MINIMUM,
        Binary::Max => B::MAXIMUM,
        Binary::And if is_bool => B::MUL,
        Binary::Or if is_bool => B::MAXIMUM,
        Binary::Xor if is_bool => B::NOTEQUAL,
        Binary::And => B::BITWISE_AND,
        Binary::Or => B::BITWISE_OR,
        Binary::Xor => B::BITWISE_XOR,
        _ => return Err(format!("MNN has no {b:?} of {dtype}").into()),
    };
    Ok(cx.binary(f, x, y))
}

/// MNN's REALDIV divides integers as C does (its DIV and MOD do not): right, but for a zero divisor, which stops the process. Unless the divisor is known, zeros
/// are replaced by ones, and the result by zero.
fn integer_division(cx: &mut Cx, b: Binary, x: Tid, y: Tid, divisor: Option<f64>) -> Result<Tid, Reason> {
    let safe = divisor.is_some_and(|d| d != 0.0);
    let zero = cx.int(0);
    let is_zero = cx.binary(B::EQUAL, y, zero);
    let by = if safe { y } else { cx.add(y, is_zero) };
    let mut quotient = cx.binary(B::REALDIV, x, by);
    if b == Binary::Rem {
        let part = cx.mul(quotient, by);
        quotient = cx.sub(x, part);
    }
    if !safe {
        let one = cx.int(1);
        let is_not_zero = cx.sub(one, is_zero);
        quotient = cx.mul(quotient, is_not_zero);
    }
    Ok(quotient)
}

fn compare(cx: &mut Cx, relation: Cmp, x: Tid, y: Tid) -> Tid {
    let f = match relation {
        Cmp::Eq => B::EQUAL,
        Cmp::Ne => B::NOTEQUAL,
        Cmp::Lt => B::LESS,
        Cmp::Le => B::LESS_EQUAL,
        Cmp::Gt => B::GREATER,
        Cmp::Ge => B::GREATER_EQUAL,
    };
    cx.binary(f, x, y)
}

/// Conversion between types of the graph. What the format has one type for needs no op.
pub(crate) fn cast(cx: &mut Cx, x: Tid, from: DType, to: DType) -> Result<Tid, Reason> {
    let ty = Ty::of(to);
    if to == DType::Bool && from != DType::Bool {
        let zero = if cx.ty(x) == Ty::Float { cx.float(0.0) } else { cx.int(0) };
        let x = if matches!(cx.ty(x), Ty::I8 | Ty::U8) { cx.cast(x, Ty::Int) } else { x };
        return Ok(cx.binary(B::NOTEQUAL, x, zero));
    }
    let narrowing = to.is_int()
        && to.size() < 4
        && (from.is_float() || from.size() > to.size() || from.is_signed_int() != to.is_signed_int());
    if narrowing && from != DType::Bool {
        return Err(format!("MNN converts {from} to {to} without the definition's wrapping; convert to i32").into());
    }
    Ok(cx.cast(x, ty))
}
