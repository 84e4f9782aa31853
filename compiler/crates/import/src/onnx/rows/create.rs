//! Values from nothing but a shape.

use crate::onnx::node::{Converted, NodeCx};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, DType, OpError, Tensor};

pub(super) static ROWS: &[Row] = &[
    plain("BlackmanWindow", "blackman_window"),
    plain("HammingWindow", "hamming_window"),
    plain("HannWindow", "hann_window"),
    plain("Range", "range"),
    with("Constant", constant),
    with("ConstantOfShape", constant_of_shape),
    with("EyeLike", eye_like),
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
    let name = cx.imp.claim(&name);
    Ok(vec![cx.imp.graph.add_const(&name, value)])
}

fn constant_of_shape(cx: &mut NodeCx) -> Converted {
    let value = match cx.tensor("value")? {
        Some(t) if t.len() == 1 => t.reshaped(vec![]).unwrap_or(t),
        Some(t) => return Err(OpError::invalid(format!("the value has {} elements, not one", t.len()))),
        None => Tensor::scalar(0f32),
    };
    let shape = cx.input(0)?;
    let value = cx.add_const(value);
    cx.finish_all("expand", &[value, shape], Attrs::new())
}

/// Ones on a diagonal, as the comparison of two index vectors.
fn eye_like(cx: &mut NodeCx) -> Converted {
    let x = cx.input(0)?;
    let dims = cx.ty(x).static_dims().ok_or_else(|| OpError::unsupported("the shape must be known"))?;
    let &[rows, columns] = dims.as_slice() else {
        return Err(OpError::invalid(format!("the input has rank {}, not 2", dims.len())));
    };
    let to = match cx.int("dtype")? {
        Some(n) => crate::onnx::tensor::dtype(i32::try_from(n).unwrap_or(-1))?,
        None => cx.dtype(0)?,
    };
    let k = cx.int("k")?.unwrap_or(0);
    let limit = cx.imp.limits.max_tensor_bytes;
    if (rows as u64).saturating_add(columns as u64).saturating_mul(8) > limit {
        return Err(OpError::invalid("the matrix is larger than --max-tensor-bytes"));
    }
    let rows: Vec<i64> = (0..rows as i64).map(|i| i.saturating_add(k)).collect();
    let columns: Vec<i64> = (0..columns as i64).collect();
    let rows = cx.add_const(Tensor::new(vec![rows.len(), 1], rows));
    let columns = cx.add_const(Tensor::new(vec![1, columns.len()], columns));
    let on = cx.emit("equal", &[rows, columns], Attrs::new())?;
    match to {
        DType::Bool => cx.finish_all("identity", &[on], Attrs::new()),
        _ => cx.finish_all("cast", &[on], Attrs::new().with("to", to)),
    }
}
