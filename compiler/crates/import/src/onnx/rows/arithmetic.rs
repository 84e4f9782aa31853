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
    plain("Mod", "mod"),
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
    with("Max", |cx| chain(cx, "max")),
    with("Mean", mean),
    with("Min", |cx| chain(cx, "min")),
    with("Sum", |cx| chain(cx, "add")),
];

/// Any number of operands by an op of two.
fn chain(cx: &mut NodeCx, name: &'static str) -> Converted {
    let n = cx.inputs.len();
    let mut acc = cx.input(0)?;
    if n == 1 {
        return cx.finish_all("identity", &[acc], Attrs::new());
    }
    for i in 1..n - 1 {
        let next = cx.input(i)?;
        acc = cx.emit(name, &[acc, next], Attrs::new())?;
    }
    let last = cx.input(n - 1)?;
    cx.finish_all(name, &[acc, last], Attrs::new())
}

fn mean(cx: &mut NodeCx) -> Converted {
    let mut sum = cx.input(0)?;
    for i in 1..cx.inputs.len() {
        let next = cx.input(i)?;
        sum = cx.emit("add", &[sum, next], Attrs::new())?;
    }
    let n = cx.add_scalar(cx.inputs.len() as f64, sum)?;
    cx.finish_all("div", &[sum, n], Attrs::new())
}
