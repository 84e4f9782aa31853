//! Resampling.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, DType, OpError, Tensor};

pub(super) static ROWS: &[Row] =
    &[plain("GridSample", "grid_sample"), with("Resize", resize), with("Upsample", upsample)];

/// Opset 10 had data and scales only, and one way of mapping coordinates.
fn resize(cx: &mut NodeCx) -> Converted {
    if cx.opset < 11 {
        return asymmetric(cx);
    }
    let (dtype, linear) = (cx.dtype(0)?, cx.string("mode")?.as_deref() == Some("linear"));
    if dtype.is_float() || !linear {
        return cx.plain("resize");
    }
    // Integers are interpolated as numbers and cut off, as ONNX's reference has it (`op_resize.py`).
    let x = cx.input(0)?;
    let mut inputs = cx.inputs.clone();
    inputs[0] = Some(cx.emit("cast", &[x], Attrs::new().with("to", DType::F32))?);
    let attrs = cx.attrs(op("resize")?, &[])?;
    let y = cx.emit_some("resize", &inputs, attrs)?;
    cx.finish_all("cast", &[y], Attrs::new().with("to", dtype))
}

/// Scales were an attribute before opset 9.
fn upsample(cx: &mut NodeCx) -> Converted {
    asymmetric(cx)
}

fn asymmetric(cx: &mut NodeCx) -> Converted {
    let x = cx.input(0)?;
    let scales = match cx.floats("scales")? {
        Some(s) => {
            let n = s.len();
            cx.add_const(Tensor::new(vec![n], s))
        }
        None => cx.opt(1).ok_or_else(|| OpError::invalid("the scales are missing"))?,
    };
    let mode = match cx.string("mode")?.as_deref() {
        None | Some("nearest") => "nearest",
        // Opset 7 and 9 called every linear interpolation by either name.
        Some("linear" | "bilinear") => "linear",
        Some(other) => return Err(OpError::invalid(format!("mode {other} does not exist"))),
    };
    let attrs: Attrs = cx
        .attrs(op("resize")?, &["scales", "mode"])?
        .with("mode", mode)
        .with("coordinate_transformation_mode", "asymmetric")
        .with("nearest_mode", "floor");
    cx.finish("resize", vec![Some(x), None, Some(scales)], attrs)
}
