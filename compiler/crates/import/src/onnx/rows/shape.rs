//! Shape and order of elements.

use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, plain, with};
use mnnc_ir::{Attrs, OpError, ValueId};

pub(super) static ROWS: &[Row] = &[
    plain("Concat", "concat"),
    plain("DepthToSpace", "depth_to_space"),
    plain("Expand", "expand"),
    plain("Flatten", "flatten"),
    plain("Identity", "identity"),
    plain("Shape", "shape"),
    plain("Size", "size"),
    plain("SpaceToDepth", "space_to_depth"),
    plain("Tile", "tile"),
    plain("Transpose", "transpose"),
    with("Pad", pad),
    with("Reshape", reshape),
    with("Split", split),
    with("Squeeze", |cx| axes(cx, "squeeze")),
    with("Unsqueeze", |cx| axes(cx, "unsqueeze")),
];

impl NodeCx<'_, '_, '_> {
    /// A constant target shape for `reshape` of `data`, if at most one size in `shape` is open; else `shape`.
    pub(crate) fn reshape_shape(&mut self, data: ValueId, shape: ValueId) -> Result<ValueId, OpError> {
        if self.imp.build.graph.constant(shape).is_some() {
            return Ok(shape);
        }
        Ok(match self.imp.build.reshape_target(data, shape) {
            Some(target) => self.add_ints(&target),
            None => shape,
        })
    }
}

fn reshape(cx: &mut NodeCx) -> Converted {
    let attrs = cx.attrs(op("reshape")?, &[])?;
    let (data, mut shape) = (cx.input(0)?, cx.input(1)?);
    if cx.int("allowzero")?.unwrap_or(0) == 0 {
        shape = cx.reshape_shape(data, shape)?;
    }
    cx.finish_all("reshape", &[data, shape], attrs)
}

/// The axes were an attribute before opset 13.
fn axes(cx: &mut NodeCx, name: &'static str) -> Converted {
    if cx.opset >= 13 {
        return cx.plain(name);
    }
    let x = cx.input(0)?;
    match cx.ints("axes")? {
        Some(list) => {
            let list = cx.add_ints(&list);
            cx.finish_all(name, &[x, list], Attrs::new())
        }
        None => cx.finish_all(name, &[x], Attrs::new()),
    }
}

/// Everything but the data was an attribute before opset 11.
fn pad(cx: &mut NodeCx) -> Converted {
    if cx.opset >= 11 {
        return cx.plain("pad");
    }
    let x = cx.input(0)?;
    let attrs = cx.attrs(op("pad")?, &["pads", "value"])?;
    let pads = cx.ints("pads")?.ok_or_else(|| OpError::invalid("attribute pads is missing"))?;
    let value = f64::from(cx.float("value")?.unwrap_or(0.0));
    let pads = cx.add_ints(&pads);
    let value = cx.add_scalar(value, x)?;
    cx.finish_all("pad", &[x, pads, value], attrs)
}

/// Sizes were an attribute before opset 13; without them the parts are equal, the last one smaller if need be.
fn split(cx: &mut NodeCx) -> Converted {
    let x = cx.input(0)?;
    let mut attrs = cx.attrs(op("split")?, &["split", "num_outputs"])?;
    let sizes = match cx.opset < 13 {
        true => cx.ints("split")?.map(|s| cx.add_ints(&s)),
        false => cx.opt(1),
    };
    // Outputs that nothing reads still count.
    let parts = cx.node.output.len();
    if let Some(n) = cx.int("num_outputs")? {
        if n != parts as i64 {
            return Err(OpError::invalid(format!("num_outputs is {n}, the node has {parts} outputs")));
        }
        if sizes.is_some() {
            return Err(OpError::invalid("both split and num_outputs are given"));
        }
    }
    if sizes.is_none() {
        attrs.set("num_outputs", parts as i64);
    }
    let inputs = [Some(x), sizes].into_iter().filter(Option::is_some).collect();
    cx.finish_with(op("split")?, inputs, attrs, parts, Vec::new())
}
