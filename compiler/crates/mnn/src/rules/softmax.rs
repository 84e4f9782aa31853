//! Softmax and its logarithm.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Tid, Ty};
use mnnc_ir::Tensor;
use mnnc_ops::axes::normalize_axis;
use mnnc_schema::mnn::{ArgMaxT, AxisT, BinaryOpOperation, OpParameterT, OpType, ReductionType, UnaryOpOperation as U};

pub(super) const RULES: Family = &[("softmax", softmax), ("log_softmax", log_softmax), ("hardmax", hardmax)];

fn operand(cx: &mut Cx) -> Result<(Tid, usize), Reason> {
    let x = cx.input(0)?;
    if cx.ty(x) != Ty::Float {
        return Err("MNN has softmax of float tensors only".into());
    }
    let axis = normalize_axis(cx.op.int("axis").unwrap_or(-1), cx.rank(x))?;
    Ok((x, axis))
}

fn softmax(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (x, axis) = operand(cx)?;
    let shape = cx.shape(x);
    let main = OpParameterT::Axis(Box::new(AxisT { axis: to_i32(axis)? }));
    Ok(vec![cx.emit(OpType::Softmax, main, vec![x], (shape, Ty::Float), Layouts::Plain)])
}

/// `x - max - log(sum(exp(x - max)))`: the logarithm of MNN's softmax would lose small probabilities.
fn log_softmax(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (x, axis) = operand(cx)?;
    let top = cx.reduce(ReductionType::MAXIMUM, x, &[axis], true)?;
    let x = cx.sub(x, top);
    let powers = cx.unary(U::EXP, x);
    let sum = cx.reduce(ReductionType::SUM, powers, &[axis], true)?;
    let log = cx.unary(U::LOG, sum);
    Ok(vec![cx.sub(x, log)])
}

/// One at the first of the greatest elements along the axis, zero elsewhere.
fn hardmax(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (x, axis) = operand(cx)?;
    let shape = cx.shape(x);
    let extent = shape[axis].ok_or("the axis' extent is known only at run time")?;
    let mut kept = shape.clone();
    kept.remove(axis);
    let main = ArgMaxT { axis: to_i32(axis)?, top_k: 1, ..ArgMaxT::default() };
    let main = OpParameterT::ArgMax(Box::new(main));
    let at = cx.emit(OpType::ArgMax, main, vec![x], (kept, Ty::Int), Layouts::Plain);
    let mut one = shape;
    one[axis] = Some(1);
    let at = cx.reshape(at, one)?;
    let mut dims = vec![1; cx.rank(x)];
    dims[axis] = extent;
    let count = to_i32(extent)?;
    let positions = cx.constant(Tensor::new(dims, (0..count).collect::<Vec<i32>>()));
    let hit = cx.binary(BinaryOpOperation::EQUAL, at, positions);
    Ok(vec![cx.cast(hit, Ty::Float)])
}
