//! Shapes: the same elements seen otherwise, moved, repeated.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ir::Tensor;
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{DepthSpaceParamT, DepthToSpaceMode, OpParameterT, OpType, ShapeParamT};

pub(super) const RULES: Family = &[
    ("identity", same),
    ("dropout", dropout),
    ("reshape", reshape),
    ("flatten", view),
    ("squeeze", view),
    ("unsqueeze", view),
    ("transpose", transpose),
    ("expand", expand),
    ("tile", tile),
    ("shape", shape),
    ("size", size),
    ("cast", cast),
    ("constant_of_shape", constant_of_shape),
    ("range", range),
    ("eye_like", eye_like),
    ("trilu", trilu),
    ("depth_to_space", depth_to_space),
    ("space_to_depth", space_to_depth),
];

fn same(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    Ok(vec![cx.input(0)?])
}

fn dropout(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    if cx.node.outputs().len() > 1 {
        return Err("the mask is read, which exists in training only".into());
    }
    same(cx)
}

/// Another shape of the same elements, which inference has found already.
fn view(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let shape = cx.output_shape(0);
    Ok(vec![cx.reshape(x, shape)?])
}

fn reshape(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let unknown = cx.output_shape(0).iter().filter(|d| d.is_none()).count();
    if unknown <= 1 {
        return view(cx);
    }
    // The shape itself is computed at run time, or copies dims that are.
    let x = cx.input(0)?;
    let result = (cx.output_shape(0), cx.ty(x));
    let inputs = vec![x, cx.input(1)?];
    Ok(vec![cx.emit(OpType::Reshape, OpParameterT::Reshape(Box::default()), inputs, result, Layouts::Plain)])
}

fn transpose(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm: Vec<usize> = match cx.op.ints("perm") {
        Some(perm) => perm.into_iter().map(|p| normalize_axis(p, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    Ok(vec![cx.permute(x, &perm)?])
}

/// The graph's shape as a constant operand; all of it has to be known.
fn known(cx: &mut Cx, shape: &Shape) -> Result<Tid, Reason> {
    let dims: Option<Vec<usize>> = shape.iter().copied().collect();
    let dims = dims.ok_or("the result's shape is known only at run time; fix shapes with --shape NAME=1x3x224x224")?;
    let dims = dims.into_iter().map(to_i32).collect::<Result<Vec<_>, _>>()?;
    Ok(cx.ints(&dims))
}

fn expand(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let shape = cx.output_shape(0);
    if shape == cx.shape(x) && shape.iter().all(Option::is_some) {
        return Ok(vec![x]);
    }
    let from = cx.shape(x);
    // A size known only at run time may come from the operand where it stretches a 1 and all else is fixed.
    let stretches = |(i, d): (usize, &Option<usize>)| {
        d.is_some() || (i + from.len()).checked_sub(shape.len()).is_none_or(|at| from[at] == Some(1))
    };
    let dims = if shape.iter().enumerate().all(stretches) && shape.iter().any(Option::is_none) {
        cx.input(1)?
    } else {
        known(cx, &shape)?
    };
    let ty = cx.ty(x);
    Ok(vec![cx.emit(OpType::BroadcastTo, OpParameterT::NONE, vec![x, dims], (shape, ty), Layouts::Plain)])
}

fn tile(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let result = (cx.output_shape(0), cx.ty(x));
    let repeats = cx.input(1)?;
    Ok(vec![cx.emit(OpType::Tile, OpParameterT::NONE, vec![x, repeats], result, Layouts::Plain)])
}

fn shape(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let result = (cx.output_shape(0), Ty::Int);
    let bound = |name: &str| if cx.op.op.attr(name).is_some() { cx.op.int(name) } else { None };
    let (start, end) = (bound("start").unwrap_or(0), bound("end"));
    let main = if start == 0 && end.is_none() {
        OpParameterT::NONE
    } else {
        OpParameterT::ShapeParam(Box::new(ShapeParamT {
            has_start: start != 0,
            start: to_i32(start)?,
            has_end: end.is_some(),
            end: to_i32(end.unwrap_or(0))?,
        }))
    };
    Ok(vec![cx.emit(OpType::Shape, main, vec![x], result, Layouts::Plain)])
}

fn size(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    Ok(vec![cx.emit(OpType::Size, OpParameterT::NONE, vec![x], (Vec::new(), Ty::Int), Layouts::Plain)])
}

fn cast(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (Some(from), Some(to)) = (cx.op.opt_input(0), cx.op.outputs.first()) else { return Err("no operand".into()) };
    let (from, to) = (from.dtype, to.dtype);
    let x = cx.input(0)?;
    Ok(vec![crate::scalar::cast(cx, x, from, to)?])
}

/// The value, a vector of one element, repeated.
fn constant_of_shape(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let value = match cx.op.opt_input(1) {
        Some(_) => {
            let value = cx.input(1)?;
            cx.reshape(value, Vec::new())?
        }
        None => cx.float(0.0),
    };
    let ty = cx.ty(value);
    if !matches!(ty, Ty::Float | Ty::Int) {
        return Err("MNN fills float and int tensors only".into());
    }
    let shape = cx.output_shape(0);
    if shape.iter().all(Option::is_some) {
        return Ok(vec![cx.spread(value, &shape)]);
    }
    let dims = cx.input(0)?;
    Ok(vec![cx.emit(OpType::Fill, OpParameterT::NONE, vec![dims, value], (shape, ty), Layouts::Plain)])
}

/// A matrix that depends on its shape only.
fn eye_like(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let ty = cx.op.outputs.first().map_or(Ty::Float, |ty| Ty::of(ty.dtype));
    let shape: Option<Vec<usize>> = cx.output_shape(0).into_iter().collect();
    let shape = shape.ok_or("the matrix's size is known only at run time; fix shapes with --shape NAME=1x3x224x224")?;
    let [rows, columns] = shape[..] else { return Err("not a matrix".into()) };
    let k = cx.op.int("k").unwrap_or(0);
    let one = |i: usize, j: usize| i64::try_from(j).ok() == i64::try_from(i).ok().and_then(|i| i.checked_add(k));
    let cells = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let tensor = match ty {
        Ty::Float => Tensor::new(shape, cells.map(|(i, j)| f32::from(u8::from(one(i, j)))).collect()),
        Ty::Int => Tensor::new(shape, cells.map(|(i, j)| i32::from(one(i, j))).collect()),
        _ => return Err("MNN has float and int matrices only".into()),
    };
    Ok(vec![cx.constant(tensor)])
}

/// A triangle of the last two dims: the operand times ones and zeros.
fn trilu(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    let sizes = shape.len().checked_sub(2).map(|from| (shape[from], shape[from + 1]));
    let Some((Some(rows), Some(columns))) = sizes else {
        return Err("the matrices' size is known only at run time".into());
    };
    let k = match cx.op.opt_input(1) {
        Some(_) => cx.op.const_ints(1)?.first().copied().unwrap_or(0),
        None => 0,
    };
    let upper = cx.op.flag("upper");
    let keeps = |i: usize, j: usize| {
        let distance = j as i64 - i as i64;
        if upper { distance >= k } else { distance <= k }
    };
    let cells: Vec<bool> = (0..rows).flat_map(|i| (0..columns).map(move |j| keeps(i, j))).collect();
    let mask = cx.constant(Tensor::new(vec![rows, columns], cells.into_iter().map(i32::from).collect::<Vec<_>>()));
    // Chosen, not multiplied: what is cut off may be infinite.
    let zero = match cx.ty(x) {
        Ty::Float => cx.float(0.0),
        Ty::Int => cx.int(0),
        _ => return Err("MNN cuts float and int matrices only".into()),
    };
    Ok(vec![cx.select(mask, x, zero)])
}

fn range(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let inputs = cx.all_inputs()?;
    let ty = cx.ty(inputs[0]);
    let shape = cx.output_shape(0);
    Ok(vec![cx.emit(OpType::Range, OpParameterT::NONE, inputs, (shape, ty), Layouts::Plain)])
}

fn blocks(cx: &mut Cx, op: OpType, mode: DepthToSpaceMode) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    if cx.ty(x) != Ty::Float || cx.rank(x) != 4 {
        return Err("MNN moves depth of float images only".into());
    }
    let block_size = to_i32(cx.op.int("blocksize").ok_or("blocksize is missing")?)?;
    let shape = cx.output_shape(0);
    let main = OpParameterT::DepthSpaceParam(Box::new(DepthSpaceParamT { block_size, mode }));
    Ok(vec![cx.emit(op, main, vec![x], (shape, Ty::Float), Layouts::Plain)])
}

fn depth_to_space(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let mode = match cx.op.string("mode").as_deref() {
        Some("CRD") => DepthToSpaceMode::CRD,
        _ => DepthToSpaceMode::DCR,
    };
    blocks(cx, OpType::DepthToSpace, mode)
}

fn space_to_depth(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let columns_first = cx.op.op.attr("mode").is_some() && cx.op.string("mode").as_deref() == Some("CRD");
    if !columns_first {
        return blocks(cx, OpType::SpaceToDepth, DepthToSpaceMode::DCR);
    }
    // MNN knows this order in the other direction only: split both dims, bring the blocks behind the channels.
    let x = cx.input(0)?;
    let result = cx.output_shape(0);
    let size = cx.op.int("blocksize").and_then(|b| usize::try_from(b).ok()).ok_or("blocksize is missing")?;
    let [batch, channels, _, _] = cx.shape(x)[..] else { return Err("not an image".into()) };
    let [_, _, rows, columns] = result[..] else { return Err("not an image".into()) };
    let x = cx.reshape(x, vec![batch, channels, rows, Some(size), columns, Some(size)])?;
    let x = cx.permute(x, &[0, 1, 3, 5, 2, 4])?;
    Ok(vec![cx.reshape(x, result)?])
}
