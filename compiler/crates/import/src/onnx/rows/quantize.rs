//! Quantisation.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};

pub(super) static ROWS: &[Row] = &[
    plain("DynamicQuantizeLinear", "dynamic_quantize_linear"),
    plain("QLinearConv", "q_linear_conv"),
    plain("QLinearMatMul", "q_linear_matmul"),
    with("DequantizeLinear", |cx| linear(cx, "dequantize_linear")),
    with("QuantizeLinear", |cx| linear(cx, "quantize_linear")),
];

/// `saturate` speaks of 8-bit floats only; `block_size` 0 and `output_dtype` 0 mean that they are not given.
fn linear(cx: &mut NodeCx, name: &'static str) -> Converted {
    let mut except = vec!["saturate"];
    for optional in ["block_size", "output_dtype", "precision"] {
        if cx.int(optional)? == Some(0) {
            except.push(optional);
        }
    }
    let attrs = cx.attrs(op(name)?, &except)?;
    cx.finish(name, cx.inputs.clone(), attrs)
}
