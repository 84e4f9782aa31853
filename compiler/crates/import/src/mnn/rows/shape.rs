//! Shapes, and the order of dims.

use crate::mnn::format::Format;
use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, DType, OpError, ValueId};
use mnnc_schema::mnn::{DepthToSpaceMode, MNN_DATA_FORMAT, OpType, PadValueMode};

pub(super) static ROWS: &[Row] = &[
    row(OpType::Reshape, reshape),
    row(OpType::Flatten, flatten),
    row(OpType::Squeeze, |cx| squeeze(cx, "squeeze")),
    row(OpType::Unsqueeze, |cx| squeeze(cx, "unsqueeze")),
    row(OpType::ExpandDims, expand_dims),
    row(OpType::Permute, permute),
    row(OpType::Transpose, transpose),
    row(OpType::Shape, shape),
    row(OpType::Size, size),
    row(OpType::Rank, rank),
    row(OpType::BroadcastTo, broadcast_to),
    row(OpType::Tile, tile),
    row(OpType::Fill, fill),
    row(OpType::Range, range),
    row(OpType::Padding, padding),
    row(OpType::DepthToSpace, |cx| depth_space(cx, "depth_to_space")),
    row(OpType::SpaceToDepth, |cx| depth_space(cx, "space_to_depth")),
];

/// A reshape to `target`, in which -1 is open and 0 copies the input's dim.
fn to_shape(cx: &mut OpCx, x: ValueId, target: ValueId) -> Rows {
    let target = match cx.known_ints(target) {
        Some(_) => target,
        None => match cx.imp.build.reshape_target(x, target) {
            Some(target) => cx.ints(&target),
            None => target,
        },
    };
    Ok(vec![cx.emit("reshape", &[x, target], Attrs::new())?])
}

fn reshape(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_reshape();
    let x = cx.input(0)?;
    if cx.num_inputs() == 1 {
        let p = p.ok_or_else(|| lacks("Reshape"))?;
        let dims: Vec<i64> = p.dims().into_iter().flatten().map(i64::from).collect();
        let target = cx.ints(&dims);
        return to_shape(cx, x, target);
    }
    let mut target = cx.shape_operand(1)?;
    // The shape of an image whose channels were last; the tensor has them second.
    let permuted = cx.format_of(0) == Format::Packed && p.is_none_or(|p| p.dim_type() == MNN_DATA_FORMAT::NHWC);
    if permuted {
        let order = cx.ints(&[0, 3, 1, 2]);
        target = cx.aside("gather", &[target, order], Attrs::new().with("axis", 0i64))?;
    }
    if let Some(list) = cx.known_ints(target)
        && list.contains(&0)
        && cx.format_of(1) == Format::Nhwc
    {
        // A 0 in TensorFlow's shapes is a size.
        return Ok(vec![cx.emit("reshape", &[x, target], Attrs::new().with("allowzero", true))?]);
    }
    to_shape(cx, x, target)
}

fn flatten(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_flatten().ok_or_else(|| lacks("Flatten"))?;
    let x = cx.input(0)?;
    let rank = cx.rank(x) as i64;
    let (mut axis, mut end) = (i64::from(p.axis()), i64::from(p.end_axis()));
    axis += if axis < 0 { rank } else { 0 };
    end += if end < 0 { rank } else { 0 };
    if end == 0 {
        return Ok(vec![cx.emit("flatten", &[x], Attrs::new().with("axis", axis))?]);
    }
    if !(0..rank).contains(&axis) || !(axis..rank).contains(&end) {
        return Err(OpError::invalid(format!("dims {axis} to {end} are flattened of a tensor of rank {rank}")));
    }
    // Dims before are copied, those behind are known or there is at most one open: the flattened one.
    let mut target: Vec<i64> = vec![0; axis as usize];
    target.push(-1);
    for d in cx.ty(x).dims.iter().skip(end as usize + 1) {
        let d = d.known().and_then(|d| i64::try_from(d).ok());
        target.push(d.ok_or_else(|| OpError::unsupported("dims behind the flattened ones are open"))?);
    }
    let target = cx.ints(&target);
    Ok(vec![cx.emit("reshape", &[x, target], Attrs::new())?])
}

fn squeeze(cx: &mut OpCx, op: &str) -> Rows {
    let x = cx.input(0)?;
    let given = cx.op.main_as_squeeze_param().and_then(|p| p.squeeze_dims());
    let axes = match (given, cx.opt(1)) {
        (Some(list), _) => list.iter().map(i64::from).collect(),
        (None, Some(_)) => cx.const_ints(1, "the axes")?,
        (None, None) => Vec::new(),
    };
    match (axes.is_empty(), op) {
        (true, "squeeze") => Ok(vec![cx.emit(op, &[x], Attrs::new())?]),
        (true, _) => Ok(vec![x]),
        (false, _) => {
            let axes = cx.ints(&axes);
            Ok(vec![cx.emit(op, &[x, axes], Attrs::new())?])
        }
    }
}

fn expand_dims(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let axis = match cx.opt(1) {
        Some(_) => cx.const_ints(1, "the axis")?,
        None => vec![cx.op.main_as_expand_dims().map_or(0, |p| i64::from(p.axis()))],
    };
    let axis = cx.ints(&axis);
    Ok(vec![cx.emit("unsqueeze", &[x, axis], Attrs::new())?])
}

fn permute(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let dims: Option<Vec<i64>> =
        cx.op.main_as_permute().and_then(|p| p.dims()).map(|d| d.iter().map(i64::from).collect());
    let perm = dims.filter(|d| !d.is_empty()).unwrap_or_else(|| (0..cx.rank(x) as i64).rev().collect());
    Ok(vec![cx.emit("transpose", &[x], Attrs::new().with("perm", perm))?])
}

fn transpose(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let perm = cx.const_ints(1, "the order")?;
    Ok(vec![cx.emit("transpose", &[x], Attrs::new().with("perm", perm))?])
}

fn shape(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let from = cx.format_of(0);
    let label = cx.op.default_dimention_format();
    // Files of old give a packed tensor's sizes in the order of TensorFlow.
    let x = match from == Format::Packed && label == MNN_DATA_FORMAT::NHWC {
        true => cx.reordered(x, Format::Packed, Format::Nhwc)?,
        false => x,
    };
    cx.format = Format::of(label);
    let mut attrs = Attrs::new();
    if let Some(p) = cx.op.main_as_shape_param() {
        if p.has_start() {
            attrs.set("start", i64::from(p.start()));
        }
        if p.has_end() {
            attrs.set("end", i64::from(p.end()));
        }
    }
    let y = cx.emit("shape", &[x], attrs)?;
    Ok(vec![cx.cast(y, DType::I32)?])
}

fn size(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    cx.format = Format::of(cx.op.default_dimention_format());
    let y = cx.emit("size", &[x], Attrs::new())?;
    Ok(vec![cx.cast(y, DType::I32)?])
}

fn rank(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let rank = cx.rank(x) as i32;
    Ok(vec![cx.constant(mnnc_ir::Tensor::scalar(rank))])
}

fn broadcast_to(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let shape = cx.shape_operand(1)?;
    Ok(vec![cx.emit("expand", &[x, shape], Attrs::new())?])
}

fn tile(cx: &mut OpCx) -> Rows {
    let x = cx.input(0)?;
    let times = cx.shape_operand(1)?;
    Ok(vec![cx.emit("tile", &[x, times], Attrs::new())?])
}

fn fill(cx: &mut OpCx) -> Rows {
    let shape = cx.shape_operand(0)?;
    let value = cx.input(1)?;
    cx.format = cx.format_of(1);
    let value = if cx.rank(value) == 0 { value } else { cx.reshape(value, &[])? };
    Ok(vec![cx.emit("expand", &[value, shape], Attrs::new())?])
}

fn range(cx: &mut OpCx) -> Rows {
    let mut bounds = Vec::new();
    for i in 0..3 {
        let v = cx.input(i)?;
        bounds.push(if cx.rank(v) == 0 { v } else { cx.reshape(v, &[])? });
    }
    Ok(vec![cx.emit("range", &bounds, Attrs::new())?])
}

/// Pads are `before, after` for each dim in turn.
fn padding(cx: &mut OpCx) -> Rows {
    let mode = cx.op.main_as_pad_param().map_or(PadValueMode::CONSTANT, |p| p.mode());
    let x = cx.input(0)?;
    let mode = match mode {
        PadValueMode::CONSTANT => "constant",
        PadValueMode::REFLECT => "reflect",
        PadValueMode::EDGE => "edge",
        _ => return Err(OpError::unsupported("symmetric padding is not supported")),
    };
    let given = cx.const_ints(1, "the padding")?;
    let rank = cx.rank(x);
    if given.len() != 2 * rank {
        return Err(OpError::invalid(format!(
            "{} pads for a tensor of rank {rank}, {} are needed",
            given.len(),
            2 * rank
        )));
    }
    let pads: Vec<i64> = given.iter().step_by(2).chain(given.iter().skip(1).step_by(2)).copied().collect();
    let pads = cx.ints(&pads);
    let mut inputs = vec![x, pads];
    if mode == "constant"
        && let Some(value) = cx.opt(2)
    {
        let value = if cx.rank(value) == 0 { value } else { cx.reshape(value, &[])? };
        inputs.push(cx.cast(value, cx.ty(x).dtype)?);
    }
    Ok(vec![cx.emit("pad", &inputs, Attrs::new().with("mode", mode))?])
}

fn depth_space(cx: &mut OpCx, op: &str) -> Rows {
    let p = cx.op.main_as_depth_space_param().ok_or_else(|| lacks("DepthSpaceParam"))?;
    let x = cx.image(0)?;
    let mut attrs = Attrs::new().with("blocksize", i64::from(p.block_size()));
    match (op, p.mode()) {
        ("depth_to_space", DepthToSpaceMode::CRD) => attrs.set("mode", "CRD"),
        ("depth_to_space", _) => attrs.set("mode", "DCR"),
        _ => {}
    }
    let y = cx.emit(op, &[x], attrs)?;
    Ok(vec![cx.image_out(y)?])
}
