//! Picking and placing by index.

use super::Family;
use super::join::concat_tensors;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use mnnc_ir::{Def, Tensor};
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{BinaryOpOperation, BinaryOpT, OneHotParamT, OpParameterT, OpType, ReductionType};

pub(super) const RULES: Family = &[
    ("gather", gather),
    ("gather_elements", gather_elements),
    ("gather_nd", gather_nd),
    ("scatter_nd", scatter_nd),
    ("scatter_elements", scatter_elements),
    ("one_hot", one_hot),
];

fn emit_gather(cx: &mut Cx, op: OpType, x: Tid, indices: Tid, axis: usize, shape: Shape) -> Result<Tid, Reason> {
    let axis = cx.int(to_i32(axis)?);
    let ty = cx.ty(x);
    Ok(cx.emit(op, OpParameterT::NONE, vec![x, indices, axis], (shape, ty), Layouts::Plain))
}

/// The elements at `picks` along `axis`.
pub(super) fn take(cx: &mut Cx, x: Tid, picks: &[i32], axis: usize) -> Result<Tid, Reason> {
    let mut shape = cx.shape(x);
    shape[axis] = Some(picks.len());
    let indices = cx.ints(picks);
    emit_gather(cx, OpType::GatherV2, x, indices, axis, shape)
}

/// Whether input `i` is computed by ops that give positions and sizes, which need no fix-up.
fn never_negative(cx: &Cx, i: usize) -> bool {
    let mut value = cx.node.input(i);
    // As many steps back as matter; a model that hides its indices deeper gets the fix-up.
    for _ in 0..8 {
        let Some(Def::Node(node, output)) = value.map(|value| cx.graph.value(value).def) else { return false };
        let node = cx.graph.node(node);
        match node.op.name {
            "arg_max" | "arg_min" | "shape" | "size" | "non_zero" => return true,
            "top_k" => return output == 1,
            "identity" | "cast" | "reshape" | "flatten" | "squeeze" | "unsqueeze" | "transpose" | "slice" => {
                value = node.input(0)
            }
            _ => return false,
        }
    }
    false
}

/// Input `i` as indices into a dim of `extent`, none of them negative: MNN reads out of bounds for those.
fn indices(cx: &mut Cx, i: usize, extent: Option<usize>) -> Result<Tid, Reason> {
    if let Some(constant) = cx.op.const_input(i) {
        let dims = constant.dims().to_vec();
        let list = cx.op.const_ints(i)?;
        if list.iter().all(|&n| n >= 0) {
            return cx.input(i);
        }
        let extent = extent.ok_or("negative indices into a dim that is known only at run time")?;
        let extent = i64::from(to_i32(extent)?);
        let list =
            list.into_iter().map(|n| to_i32(if n < 0 { n + extent } else { n })).collect::<Result<Vec<_>, _>>()?;
        return Ok(cx.constant(Tensor::new(dims, list)));
    }
    let given = cx.input(i)?;
    if never_negative(cx, i) {
        return Ok(given);
    }
    let extent = extent.ok_or(
        "indices that may be negative, into a dim that is known only at run time; fix it with --shape NAME=1x3x224x224",
    )?;
    let (zero, extent) = (cx.int(0), cx.int(to_i32(extent)?));
    let negative = cx.binary(BinaryOpOperation::LESS, given, zero);
    let shift = cx.mul(negative, extent);
    Ok(cx.add(given, shift))
}

fn data(cx: &mut Cx) -> Result<Tid, Reason> {
    let x = cx.input(0)?;
    match cx.ty(x) {
        Ty::Float | Ty::Int => Ok(x),
        _ => Err("MNN gathers float and int tensors only".into()),
    }
}

fn gather(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = data(cx)?;
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), cx.rank(x))?;
    let extent = cx.shape(x)[axis];
    let indices = indices(cx, 1, extent)?;
    let shape = cx.output_shape(0);
    Ok(vec![emit_gather(cx, OpType::GatherV2, x, indices, axis, shape)?])
}

fn gather_elements(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = data(cx)?;
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), cx.rank(x))?;
    let extent = cx.shape(x)[axis];
    let indices = indices(cx, 1, extent)?;
    let shape = cx.output_shape(0);
    Ok(vec![emit_gather(cx, OpType::GatherElements, x, indices, axis, shape)?])
}

/// Index tuples, their last dim one entry for each indexed dim of `shape`, made non-negative.
fn tuples(cx: &mut Cx, i: usize, shape: &Shape, first: usize) -> Result<Tid, Reason> {
    let from = cx.input_shape(i)?;
    let width = from.last().copied().flatten().ok_or("index tuples of unknown length")?;
    let extents: Option<Vec<i32>> = shape
        .get(first..first + width)
        .and_then(|dims| dims.iter().map(|d| d.and_then(|d| i32::try_from(d).ok())).collect());
    let given = cx.input(i)?;
    let negative_known = cx.op.const_input(i).and_then(|t| t.to_i64s()).map(|list| list.iter().any(|&n| n < 0));
    if negative_known == Some(false) || (negative_known.is_none() && never_negative(cx, i)) {
        return Ok(given);
    }
    let extents = extents.ok_or("indices that may be negative, into dims that are known only at run time")?;
    let (zero, extents) = (cx.int(0), cx.ints(&extents));
    let negative = cx.binary(BinaryOpOperation::LESS, given, zero);
    let shift = cx.mul(negative, extents);
    Ok(cx.add(given, shift))
}

fn gather_nd(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = data(cx)?;
    let batch = usize::try_from(cx.op.int("batch_dims").unwrap_or(0)).map_err(|_| "batch_dims is negative")?;
    let shape = cx.shape(x);
    let mut indices = tuples(cx, 1, &shape, batch)?;
    if batch > 0 {
        // MNN's own batch_dims gathers from wrong places: the leading positions become indices like others.
        let mut dims = cx.static_shape(indices)?;
        let width = dims.pop().unwrap_or(0);
        let mut parts = Vec::with_capacity(batch + 1);
        for axis in 0..batch.min(dims.len()) {
            let inner: usize = dims[axis + 1..].iter().product();
            let count: usize = dims.iter().product();
            let positions = (0..count).map(|i| to_i32(i / inner.max(1) % dims[axis])).collect::<Result<Vec<_>, _>>()?;
            let mut column = dims.clone();
            column.push(1);
            parts.push(cx.constant(Tensor::new(column, positions)));
        }
        parts.push(indices);
        let mut joined: Shape = dims.iter().map(|&d| Some(d)).collect();
        joined.push(Some(width + batch));
        indices = concat_tensors(cx, parts, dims.len(), joined)?;
    }
    let ty = cx.ty(x);
    let result = cx.output_shape(0);
    Ok(vec![cx.emit(OpType::GatherND, OpParameterT::NONE, vec![x, indices], (result, ty), Layouts::Plain)])
}

/// How an update combines with what is there; `None` replaces.
fn reduction(cx: &Cx) -> Result<Option<BinaryOpOperation>, Reason> {
    Ok(match cx.op.string("reduction").as_deref() {
        None | Some("" | "none") => None,
        Some("add") => Some(BinaryOpOperation::ADD),
        Some("mul") => Some(BinaryOpOperation::MUL),
        Some(other) => return Err(format!("MNN scatters wrongly with reduction '{other}'").into()),
    })
}

fn emit_scatter(cx: &mut Cx, x: Tid, indices: Tid, updates: Tid, axis: usize) -> Result<Tid, Reason> {
    let result = (cx.shape(x), cx.ty(x));
    let op_type = reduction(cx)?.unwrap_or(BinaryOpOperation(-1));
    let main = OpParameterT::BinaryOp(Box::new(BinaryOpT { op_type, ..BinaryOpT::default() }));
    let inputs = vec![x, indices, updates, cx.int(to_i32(axis)?)];
    Ok(cx.emit(OpType::ScatterElements, main, inputs, result, Layouts::Plain))
}

/// By position in the flat tensor, element by element: MNN's ScatterNd is wrong for some shapes.
fn scatter_nd(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = data(cx)?;
    let shape = cx.shape(x);
    let dims = cx.static_shape(x)?;
    let indices = tuples(cx, 1, &shape, 0)?;
    let updates = cx.input(2)?;
    let index_dims = cx.static_shape(indices)?;
    let width = index_dims.last().copied().unwrap_or(0);
    let slice: usize = dims[width..].iter().product();
    let rows: usize = index_dims[..index_dims.len() - 1].iter().product();
    let strides = (0..width).map(|i| to_i32(dims[i + 1..].iter().product::<usize>())).collect::<Result<Vec<_>, _>>()?;
    let strides = cx.ints(&strides);
    let tuples = cx.reshape(indices, vec![Some(rows), Some(width)])?;
    let offsets = cx.mul(tuples, strides);
    let starts = cx.reduce(ReductionType::SUM, offsets, &[1], true)?;
    let within = cx.ints(&(0..to_i32(slice)?).collect::<Vec<_>>());
    let positions = cx.add(starts, within);
    let count = vec![Some(rows * slice)];
    let positions = cx.reshape(positions, count.clone())?;
    let updates = cx.reshape(updates, count)?;
    let flat = cx.reshape(x, vec![Some(dims.iter().product())])?;
    let y = emit_scatter(cx, flat, positions, updates, 0)?;
    Ok(vec![cx.reshape(y, shape)?])
}

fn scatter_elements(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = data(cx)?;
    let shape = cx.shape(x);
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), shape.len())?;
    let indices = indices(cx, 1, shape[axis])?;
    let updates = cx.input(2)?;
    Ok(vec![emit_scatter(cx, x, indices, updates, axis)?])
}

fn one_hot(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let depth = cx.op.const_ints(1)?.first().copied().ok_or("depth is empty")?;
    let indices = indices(cx, 0, usize::try_from(depth).ok())?;
    if cx.ty(indices) != Ty::Int {
        return Err("MNN takes int indices only".into());
    }
    let values = cx.const_floats(2)?;
    let [off, on] = values[..] else { return Err("values are not [off, on]".into()) };
    let ty = Ty::of(cx.op.input(2)?.dtype);
    let shape = cx.output_shape(0);
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(-1), shape.len())?;
    let main = OneHotParamT { d_type: ty.data_type(), axis: if axis + 1 == shape.len() { -1 } else { to_i32(axis)? } };
    let (off, on) = match ty {
        Ty::Float => (cx.float(off), cx.float(on)),
        Ty::Int => (cx.int(off as i32), cx.int(on as i32)),
        _ => return Err("MNN fills float and int tensors only".into()),
    };
    let inputs = vec![indices, cx.int(to_i32(depth)?), on, off];
    Ok(vec![cx.emit(OpType::OneHot, OpParameterT::OneHotParam(Box::new(main)), inputs, (shape, ty), Layouts::Plain)])
}
