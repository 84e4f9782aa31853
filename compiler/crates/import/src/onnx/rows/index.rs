//! Picking and placing elements by index.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::OpError;

pub(super) static ROWS: &[Row] = &[
    plain("Compress", "compress"),
    plain("Gather", "gather"),
    plain("GatherElements", "gather_elements"),
    plain("GatherND", "gather_nd"),
    plain("NonMaxSuppression", "non_max_suppression"),
    plain("NonZero", "non_zero"),
    plain("OneHot", "one_hot"),
    plain("ReverseSequence", "reverse_sequence"),
    plain("Scatter", "scatter_elements"),
    plain("ScatterElements", "scatter_elements"),
    plain("ScatterND", "scatter_nd"),
    plain("Trilu", "trilu"),
    with("Slice", slice),
    with("TopK", top_k),
];

/// Bounds were attributes before opset 10.
fn slice(cx: &mut NodeCx) -> Converted {
    if cx.opset >= 10 {
        return cx.plain("slice");
    }
    let x = cx.input(0)?;
    let list = |cx: &NodeCx, name: &str| {
        cx.ints(name)?.ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))
    };
    let (starts, ends) = (list(cx, "starts")?, list(cx, "ends")?);
    let axes = cx.ints("axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let attrs = cx.attrs(op("slice")?, &["starts", "ends", "axes"])?;
    let inputs = [starts, ends, axes].map(|v| cx.add_ints(&v));
    cx.finish_all("slice", &[&[x], &inputs[..]].concat(), attrs)
}

/// `k` was an attribute before opset 10.
fn top_k(cx: &mut NodeCx) -> Converted {
    let attrs = cx.attrs(op("top_k")?, &["k"])?;
    let x = cx.input(0)?;
    let k = match cx.opset < 10 {
        true => {
            let k = cx.int("k")?.ok_or_else(|| OpError::invalid("attribute k is missing"))?;
            cx.add_ints(&[k])
        }
        false => cx.input(1)?,
    };
    cx.finish_with(op("top_k")?, vec![Some(x), Some(k)], attrs, 2, Vec::new())
}
