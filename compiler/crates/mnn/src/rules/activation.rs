//! Activations and other element-wise ops that MNN has names for. All others go by their formula.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Tid, Ty};
use crate::scalar::by_formula;
use mnnc_schema::mnn::{ELUT, OpParameterT, OpType, PReluT, ReluT, SeluT, UnaryOpOperation as U};

pub(super) const RULES: Family = &[
    ("relu", relu),
    ("leaky_relu", leaky_relu),
    ("prelu", prelu),
    ("elu", elu),
    ("selu", selu),
    ("clip", clip),
    ("hard_sigmoid", hard_sigmoid),
    ("sigmoid", |cx| named(cx, U::SIGMOID)),
    ("tanh", |cx| named(cx, U::TANH)),
    ("hard_swish", |cx| named(cx, U::HARDSWISH)),
    ("swish", swish),
    ("gelu", gelu),
    ("sqrt", |cx| named(cx, U::SQRT)),
    ("reciprocal", |cx| named(cx, U::RECIPROCAL)),
    ("pow", pow),
    ("mod", modulo),
];

/// The operand, if it is float: MNN's named activations know nothing else.
fn float_operand(cx: &mut Cx) -> Result<Option<Tid>, Reason> {
    let x = cx.input(0)?;
    Ok((cx.ty(x) == Ty::Float).then_some(x))
}

fn named(cx: &mut Cx, f: U) -> Result<Vec<Tid>, Reason> {
    match float_operand(cx)? {
        Some(x) => Ok(vec![cx.unary(f, x)]),
        None => by_formula(cx),
    }
}

fn emit_same(cx: &mut Cx, op: OpType, main: OpParameterT, x: Tid, layouts: Layouts) -> Vec<Tid> {
    let result = (cx.shape(x), Ty::Float);
    vec![cx.emit(op, main, vec![x], result, layouts)]
}

fn relu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    match float_operand(cx)? {
        Some(x) => Ok(emit_same(cx, OpType::ReLU, OpParameterT::Relu(Box::default()), x, Layouts::Follow)),
        None => by_formula(cx),
    }
}

fn leaky_relu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let slope = cx.op.float("alpha").unwrap_or(0.01);
    match float_operand(cx)? {
        Some(x) if slope != 0.0 => {
            let main = OpParameterT::Relu(Box::new(ReluT { slope }));
            Ok(emit_same(cx, OpType::ReLU, main, x, Layouts::Follow))
        }
        _ => by_formula(cx),
    }
}

/// One slope for each channel of an image is MNN's PReLU; one for all is a leaky ReLU.
fn prelu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (Some(x), Some(slope)) = (float_operand(cx)?, cx.opt_const_floats(1)) else { return by_formula(cx) };
    let dims = cx.op.static_dims(1)?;
    let shape = cx.shape(x);
    if let [slope] = slope[..]
        && slope != 0.0
        && dims.len() <= shape.len()
    {
        let main = OpParameterT::Relu(Box::new(ReluT { slope }));
        return Ok(emit_same(cx, OpType::ReLU, main, x, Layouts::Follow));
    }
    // [C, 1, 1] or [1, C, 1, 1] over [N, C, H, W].
    let per_channel = shape.len() == 4 && matches!(dims[..], [_, 1, 1] | [1, _, 1, 1]) && shape[1] == Some(slope.len());
    if !per_channel {
        return by_formula(cx);
    }
    let main = PReluT { slope_count: to_i32(slope.len())?, slope: Some(slope) };
    Ok(emit_same(cx, OpType::PReLU, OpParameterT::PRelu(Box::new(main)), x, Layouts::Packed))
}

fn elu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let alpha = cx.op.float("alpha").unwrap_or(1.0);
    match float_operand(cx)? {
        Some(x) => {
            let main = OpParameterT::ELU(Box::new(ELUT { alpha }));
            Ok(emit_same(cx, OpType::ELU, main, x, Layouts::Follow))
        }
        None => by_formula(cx),
    }
}

fn selu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (Some(alpha), Some(scale)) = (cx.op.float("alpha"), cx.op.float("gamma")) else { return by_formula(cx) };
    match float_operand(cx)? {
        Some(x) => {
            let main = OpParameterT::Selu(Box::new(SeluT { scale, alpha }));
            Ok(emit_same(cx, OpType::Selu, main, x, Layouts::Follow))
        }
        None => by_formula(cx),
    }
}

fn clip(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let Some(x) = float_operand(cx)? else { return by_formula(cx) };
    let bound = |i: usize, otherwise: f32| match (cx.op.opt_input(i), cx.opt_const_floats(i)) {
        (None, _) => Some(otherwise),
        (Some(_), Some(list)) => list.first().copied(),
        (Some(_), None) => None,
    };
    let (Some(low), Some(high)) = (bound(1, f32::MIN), bound(2, f32::MAX)) else { return by_formula(cx) };
    // Where the bounds cross, everything is the upper one; a NaN bound is the formula's matter.
    if low <= high { Ok(vec![cx.clamp(x, low, high)]) } else { by_formula(cx) }
}

fn hard_sigmoid(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let Some(x) = float_operand(cx)? else { return by_formula(cx) };
    let (alpha, beta) = (cx.op.float("alpha").unwrap_or(0.2), cx.op.float("beta").unwrap_or(0.5));
    let (alpha, beta) = (cx.float(alpha), cx.float(beta));
    let x = cx.mul(x, alpha);
    let x = cx.add(x, beta);
    Ok(vec![cx.clamp(x, 0.0, 1.0)])
}

fn swish(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let scaled = cx.op.op.attr("alpha").is_some() && cx.op.float("alpha").is_some_and(|alpha| alpha != 1.0);
    if scaled { by_formula(cx) } else { named(cx, U::SILU) }
}

fn gelu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    match cx.op.string("approximate").as_deref() {
        None | Some("" | "none") => named(cx, U::GELU_STANDARD),
        Some("tanh") => named(cx, U::GELU),
        Some(_) => by_formula(cx),
    }
}

/// Common constant exponents have cheaper and more exact names.
fn pow(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let Some(x) = float_operand(cx)? else { return by_formula(cx) };
    let Some([exponent]) =
        cx.opt_const_floats(1).as_deref().map(<[f32]>::to_vec).as_deref().and_then(|e| <[f32; 1]>::try_from(e).ok())
    else {
        return by_formula(cx);
    };
    if cx.output_shape(0) != cx.shape(x) {
        return by_formula(cx);
    }
    Ok(vec![match exponent {
        1.0 => x,
        2.0 => cx.unary(U::SQUARE, x),
        3.0 => {
            let square = cx.unary(U::SQUARE, x);
            cx.mul(square, x)
        }
        0.5 => cx.unary(U::SQRT, x),
        -1.0 => cx.unary(U::RECIPROCAL, x),
        -0.5 => cx.unary(U::RSQRT, x),
        _ => return by_formula(cx),
    }])
}

/// Integers only: MNN rounds quotients of floats, and at multiples of the divisor that is a whole divisor's difference.
fn modulo(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    if float_operand(cx)?.is_some() {
        return Err(
            "MNN rounds the quotient of floats: a remainder near a multiple may come out a whole divisor off".into()
        );
    }
    by_formula(cx)
}
