//! Arithmetic and mathematical functions, element by element.

use crate::onnx::node::{Converted, NodeCx};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::Attrs;

pub(super) static ROWS: &[Row] = &[
    plain("Abs", "abs"),
    plain("Acos", "acos"),
    plain("Acosh", "acosh"),
    plain("Add", "add"),
    plain("Asin", "asin"),
    plain("Asinh", "asinh"),
    plain("Atan", "atan"),
    plain("Atanh", "atanh"),
    plain("Ceil", "ceil"),
    plain("Cos", "cos"),
    plain("Cosh", "cosh"),
    plain("Div", "div"),
    plain("Erf", "erf"),
    plain("Exp", "exp"),
    plain("Floor", "floor"),
    plain("Log", "log"),
    plain("Mul", "mul"),
    plain("Neg", "neg"),
    plain("Pow", "pow"),
    plain("Reciprocal", "reciprocal"),
    plain("Round", "round"),
    plain("Sign", "sign"),
    plain("Sin", "sin"),
    plain("Sinh", "sinh"),
    plain("Sqrt", "sqrt"),
    plain("Sub", "sub"),
    plain("Tan", "tan"),
    with("Mod", modulo),
    plain("Max", "max"),
    plain("Mean", "mean"),
    plain("Min", "min"),
    plain("Sum", "sum"),
];

/// Floats without `fmod` (since opset 28) take the divisor's sign: a remainder of the other sign is one divisor off.
fn modulo(cx: &mut NodeCx) -> Converted {
    if cx.int("fmod")?.unwrap_or(0) != 0 || cx.opset < 28 || !cx.dtype(0)?.is_float() {
        return cx.plain("mod");
    }
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let zero = cx.add_scalar(0.0, x)?;
    let r = cx.emit("mod", &[x, y], Attrs::new().with("fmod", true))?;
    let none = Attrs::new;
    let below = [cx.emit("less", &[r, zero], none())?, cx.emit("less", &[y, zero], none())?];
    let differ = cx.emit("xor", &below, none())?;
    let whole = cx.emit("equal", &[r, zero], none())?;
    let broken = cx.emit("not", &[whole], none())?;
    let off = cx.emit("and", &[differ, broken], none())?;
    let moved = cx.emit("add", &[r, y], none())?;
    cx.finish_all("where", &[off, moved, r], none())
}
