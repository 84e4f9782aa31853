//! Values from nothing but a shape.

use crate::onnx::node::{Converted, NodeCx};
use crate::onnx::table::{Row, plain, with};
use crate::onnx::tensor::packed;
use mnnc_ir::{Attrs, DType, OpError, Tensor};

pub(super) static ROWS: &[Row] = &[
    plain("BlackmanWindow", "blackman_window"),
    plain("EyeLike", "eye_like"),
    plain("HammingWindow", "hamming_window"),
    plain("HannWindow", "hann_window"),
    with("Constant", constant),
    with("ConstantOfShape", constant_of_shape),
    with("Range", range),
];

fn constant(cx: &mut NodeCx) -> Converted {
    let value = if let Some(t) = cx.tensor("value")? {
        t
    } else if let Some(x) = cx.float("value_float")? {
        Tensor::scalar(x)
    } else if let Some(x) = cx.int("value_int")? {
        Tensor::scalar(x)
    } else if let Some(v) = cx.floats("value_floats")? {
        Tensor::new(vec![v.len()], v)
    } else if let Some(v) = cx.ints("value_ints")? {
        Tensor::ints(&v)
    } else {
        let names: Vec<&str> = cx.node.attribute.iter().map(|a| a.name.as_str()).collect();
        return Err(match names.as_slice() {
            [] => OpError::invalid("the constant has no value"),
            _ => OpError::unsupported(format!("constants given by {} are not supported", names.join(", "))),
        });
    };
    let name = cx.imp.scopes.value_name(cx.node.output.first().map_or("", String::as_str));
    let name = cx.imp.build.claim(&name);
    let v = cx.imp.build.graph.add_const(&name, value);
    let kind = cx.attr("value").and_then(|a| a.t.as_ref()).map_or(0, |t| t.data_type);
    cx.imp.narrow.extend(packed(kind).map(|(_, bits)| (v, bits)));
    Ok(vec![v])
}

fn constant_of_shape(cx: &mut NodeCx) -> Converted {
    let value = match cx.tensor("value")? {
        Some(t) if t.len() == 1 => t.reshaped(vec![]).unwrap_or(t),
        Some(t) => return Err(OpError::invalid(format!("the value has {} elements, not one", t.len()))),
        None => Tensor::scalar(0f32),
    };
    let shape = cx.input(0)?;
    let value = cx.add_const(value);
    cx.finish_all("constant_of_shape", &[shape, value], Attrs::new())
}

/// 16-bit floats count in `f32` and are rounded at the end.
fn range(cx: &mut NodeCx) -> Converted {
    let dtype = cx.dtype(0)?;
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return cx.plain("range");
    }
    let mut bounds = Vec::new();
    for i in 0..3 {
        let x = cx.input(i)?;
        bounds.push(cx.emit("cast", &[x], Attrs::new().with("to", DType::F32))?);
    }
    let wide = cx.emit("range", &bounds, Attrs::new())?;
    cx.finish_all("cast", &[wide], Attrs::new().with("to", dtype))
}
