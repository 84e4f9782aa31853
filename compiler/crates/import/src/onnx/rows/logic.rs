//! Comparison, logic, bits, type conversion.

use crate::onnx::node::{Converted, NodeCx};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, DType, OpError};

pub(super) static ROWS: &[Row] = &[
    plain("And", "and"),
    plain("BitShift", "bit_shift"),
    plain("BitwiseAnd", "bitwise_and"),
    plain("BitwiseNot", "bitwise_not"),
    plain("BitwiseOr", "bitwise_or"),
    plain("BitwiseXor", "bitwise_xor"),
    plain("Equal", "equal"),
    plain("Greater", "greater"),
    plain("GreaterOrEqual", "greater_or_equal"),
    plain("IsInf", "is_inf"),
    plain("IsNaN", "is_nan"),
    plain("Less", "less"),
    plain("LessOrEqual", "less_or_equal"),
    plain("Not", "not"),
    plain("Or", "or"),
    plain("Where", "where"),
    plain("Xor", "xor"),
    with("Cast", cast),
    with("CastLike", cast_like),
];

/// `saturate` and `round_mode` speak of 8-bit floats only, which the element types here are not.
fn cast(cx: &mut NodeCx) -> Converted {
    let attrs = cx.attrs(crate::onnx::node::op("cast")?, &["saturate", "round_mode"])?;
    if attrs.get("to").is_none() {
        return Err(OpError::invalid("attribute to is missing"));
    }
    cx.finish("cast", cx.inputs.clone(), attrs)
}

fn cast_like(cx: &mut NodeCx) -> Converted {
    if cx.opt(1).is_some_and(|like| cx.imp.narrow.contains_key(&like)) {
        return Err(OpError::unsupported("converting to less than 8 bits is not supported"));
    }
    let to: DType = cx.dtype(1)?;
    let x = cx.input(0)?;
    cx.finish_all("cast", &[x], Attrs::new().with("to", to))
}
