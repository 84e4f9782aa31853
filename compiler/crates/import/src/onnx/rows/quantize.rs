//! Quantisation.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::OpError;

pub(super) static ROWS: &[Row] = &[
    plain("DynamicQuantizeLinear", "dynamic_quantize_linear"),
    plain("QLinearConv", "q_linear_conv"),
    plain("QLinearMatMul", "q_linear_matmul"),
    with("DequantizeLinear", |cx| linear(cx, "dequantize_linear")),
    with("QuantizeLinear", |cx| linear(cx, "quantize_linear")),
];

/// `saturate` speaks of 8-bit floats only; `block_size` 0 and `output_dtype` 0 mean that they are not given.
pub(super) fn linear(cx: &mut NodeCx, name: &'static str) -> Converted {
    let mut except = vec!["saturate"];
    for optional in ["block_size", "output_dtype", "precision"] {
        if cx.int(optional)? == Some(0) {
            except.push(optional);
        }
    }
    let mut attrs = cx.attrs(op(name)?, &except)?;
    let bits = |cx: &NodeCx, i: usize| cx.opt(i).and_then(|v| cx.imp.narrow.get(&v).copied());
    if name == "quantize_linear" && bits(cx, 2).is_some() {
        return Err(OpError::unsupported("quantising to less than 8 bits at run time is not supported"));
    }
    if let (Some(bits), "dequantize_linear") = (bits(cx, 0), name) {
        attrs.set("bits", i64::from(bits));
    }
    cx.finish(name, cx.inputs.clone(), attrs)
}
