//! Concatenation and splitting.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid};
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{AxisT, NetSource, OpParameterT, OpType, SliceT};

pub(super) const RULES: Family = &[("concat", concat), ("split", split)];

/// Tensors side by side along `axis`; the result has the given shape.
pub(super) fn concat_tensors(cx: &mut Cx, tensors: Vec<Tid>, axis: usize, shape: Shape) -> Result<Tid, Reason> {
    if let [only] = tensors[..] {
        return Ok(only);
    }
    let Some(&first) = tensors.first() else { return Err("nothing to concatenate".into()) };
    let ty = cx.ty(first);
    let main = OpParameterT::Axis(Box::new(AxisT { axis: to_i32(axis)? }));
    Ok(cx.emit(OpType::Concat, main, tensors, (shape, ty), Layouts::FollowAll))
}

fn concat(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let shape = cx.output_shape(0);
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), shape.len())?;
    // Empty parts add nothing, and MNN has no good word for them.
    let mut parts = Vec::new();
    for i in 0..cx.node.inputs().len() {
        if cx.input_shape(i)?.get(axis) != Some(&Some(0)) {
            parts.push(cx.input(i)?);
        }
    }
    Ok(vec![concat_tensors(cx, parts, axis, shape)?])
}

fn split(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let x = cx.input(0)?;
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(0), cx.rank(x))?;
    let ty = cx.ty(x);
    let count = cx.node.outputs().len();
    if count == 1 {
        return Ok(vec![x]);
    }
    let results: Vec<(Shape, _)> = (0..count).map(|i| (cx.output_shape(i), ty)).collect();
    let sizes: Option<Vec<usize>> = results.iter().map(|(shape, _)| shape[axis]).collect();
    let sizes = sizes.ok_or("part sizes are known only at run time; fix shapes with --shape NAME=1x3x224x224")?;
    if sizes.contains(&0) {
        return Err("a part is empty, which MNN does not split off".into());
    }
    let points = sizes.iter().map(|&s| to_i32(s)).collect::<Result<Vec<_>, _>>()?;
    let main = SliceT { axis: to_i32(axis)?, slice_points: Some(points), source_type: NetSource::TENSORFLOW };
    Ok(cx.emit_many(OpType::Slice, OpParameterT::Slice(Box::new(main)), vec![x], results, Layouts::Follow))
}
