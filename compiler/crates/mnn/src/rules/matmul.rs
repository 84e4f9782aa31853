//! Matrix products. One with constant weights becomes a 1x1 convolution, which MNN packs once and runs fastest.

use super::Family;
use crate::cx::{Cx, Reason, to_i32};
use crate::net::{Layouts, Shape, Tid, Ty};
use crate::weights::{Order, Runs, Weights};
use mnnc_schema::mnn::{Convolution2DCommonT, Convolution2DT, MatMulT, OpParameterT, OpType};

pub(super) const RULES: Family = &[("matmul", matmul), ("gemm", gemm)];

/// The engine's own product.
pub(super) fn product(cx: &mut Cx, a: Tid, b: Tid, transpose: (bool, bool), shape: Shape) -> Tid {
    let main = MatMulT { transpose_a: transpose.0, transpose_b: transpose.1, ..MatMulT::default() };
    cx.emit(OpType::MatMul, OpParameterT::MatMul(Box::new(main)), vec![a, b], (shape, Ty::Float), Layouts::Plain)
}

/// `x` (all dims but the last are rows) times weights `[outputs][inputs]`.
fn linear(cx: &mut Cx, x: Tid, weight: Weights, bias: Vec<f32>, result: Shape) -> Result<Tid, Reason> {
    let from = cx.shape(x);
    let inputs = from.last().copied().flatten().ok_or("the product's inner size is known only at run time")?;
    let outputs = bias.len();
    let rows = from[..from.len() - 1].iter().try_fold(1usize, |n, d| d.and_then(|d| n.checked_mul(d)));
    let x = cx.reshape(x, vec![rows, Some(inputs), Some(1), Some(1)])?;
    let common = Convolution2DCommonT {
        input_count: to_i32(inputs)?,
        output_count: to_i32(outputs)?,
        ..Convolution2DCommonT::default()
    };
    let mut main = Convolution2DT { common: Some(Box::new(common)), bias: Some(bias), ..Convolution2DT::default() };
    weight.store(&mut main);
    let shape = vec![rows, Some(outputs), Some(1), Some(1)];
    let main = OpParameterT::Convolution2D(Box::new(main));
    let y = cx.emit(OpType::Convolution, main, vec![x], (shape, Ty::Float), Layouts::Packed);
    cx.reshape(y, result)
}

/// The matrix of input `i`, `outputs` by `inputs` in that order or, if `transposed`, the other.
fn weights(cx: &mut Cx, i: usize, outputs: usize, inputs: usize, transposed: bool) -> Result<Weights, Reason> {
    let order = match transposed {
        true => Order::transposed(inputs, outputs),
        false => Order::plain(outputs, inputs, 1),
    };
    let constant = cx.weight(i)?;
    Ok(cx.weights(&constant, order, Runs::channels(inputs, 1)))
}

/// Whether the weight of input `i` may be copied into this op.
fn may_copy(cx: &Cx, i: usize) -> bool {
    let readers = cx.node.input(i).map_or(0, |value| cx.graph.use_count(value));
    cx.options.products_as_convolutions && readers <= cx.options.prefer.sharing_limit()
}

/// Whether at most one dim of `shape`'s rows is unknown, so that a reshape can say it.
fn reshapable(shape: &Shape) -> bool {
    shape.iter().filter(|d| d.is_none()).count() <= 1
}

fn floats_only(cx: &Cx, a: Tid, b: Tid) -> Result<(), Reason> {
    match (cx.ty(a), cx.ty(b)) {
        (Ty::Float, Ty::Float) => Ok(()),
        _ => Err("MNN multiplies float matrices only".into()),
    }
}

fn matmul(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let result = cx.output_shape(0);
    let (a, b) = (cx.input_shape(0)?, cx.input_shape(1)?);
    let constant = cx.is_constant(1) && !cx.is_constant(0);
    if let (true, &[Some(k), Some(n)]) = (constant && a.len() >= 2 && may_copy(cx, 1), &b[..])
        && a.last() == Some(&Some(k))
        && k > 0
        && n > 0
        && reshapable(&a)
        && reshapable(&result)
    {
        let x = cx.input(0)?;
        if cx.ty(x) == Ty::Float {
            let weight = weights(cx, 1, n, k, true)?;
            return Ok(vec![linear(cx, x, weight, vec![0.0; n], result)?]);
        }
    }
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    floats_only(cx, x, y)?;
    // A vector is a matrix with one row (left) or column (right).
    let x = if a.len() == 1 { cx.reshape(x, vec![Some(1), a[0]])? } else { x };
    let y = if b.len() == 1 { cx.reshape(y, vec![b[0], Some(1)])? } else { y };
    let mut full = result.clone();
    if a.len() == 1 {
        full.insert(full.len() - usize::from(b.len() > 1), Some(1));
    }
    if b.len() == 1 {
        full.push(Some(1));
    }
    let z = product(cx, x, y, (false, false), full);
    Ok(vec![cx.reshape(z, result)?])
}

/// Constant input 2 as one bias for each of `n` columns, if it is that.
fn bias_of(cx: &Cx, n: usize, beta: f32) -> Option<Vec<f32>> {
    let Some(ty) = cx.op.opt_input(2) else { return Some(vec![0.0; n]) };
    let dims = ty.static_dims()?;
    let list = cx.opt_const_floats(2)?;
    let row = dims.iter().rev().skip(1).all(|&d| d == 1);
    match list.len() {
        1 => Some(vec![beta * list[0]; n]),
        len if len == n && row => Some(list.into_iter().map(|x| beta * x).collect()),
        _ => None,
    }
}

fn gemm(cx: &mut Cx) -> Result<Vec<Tid>, Reason> {
    let (alpha, beta) = (cx.op.float("alpha").unwrap_or(1.0), cx.op.float("beta").unwrap_or(1.0));
    let flag = |name: &str| match cx.op.attr(name) {
        Some(mnnc_ir::Attr::Int(n)) => n != 0,
        Some(mnnc_ir::Attr::Bool(b)) => b,
        _ => false,
    };
    let (trans_a, trans_b) = (flag("transA"), flag("transB"));
    let result = cx.output_shape(0);
    let b = cx.input_shape(1)?;
    let x = cx.input(0)?;
    if let (true, &[Some(rows), Some(cols)]) = (cx.is_constant(1), &b[..])
        && may_copy(cx, 1)
        && cx.ty(x) == Ty::Float
        && rows * cols > 0
        && reshapable(&cx.shape(x))
    {
        let (n, k) = if trans_b { (rows, cols) } else { (cols, rows) };
        let bias = bias_of(cx, n, beta);
        let weight = weights(cx, 1, n, k, !trans_b)?.scaled(alpha);
        let x = if trans_a { cx.permute(x, &[1, 0])? } else { x };
        let folded = bias.is_some();
        let y = linear(cx, x, weight, bias.unwrap_or_else(|| vec![0.0; n]), result)?;
        return if folded { Ok(vec![y]) } else { Ok(vec![add_scaled(cx, y, beta)?]) };
    }
    let y = cx.input(1)?;
    floats_only(cx, x, y)?;
    let mut z = product(cx, x, y, (trans_a, trans_b), result);
    if alpha != 1.0 {
        let alpha = cx.float(alpha);
        z = cx.mul(z, alpha);
    }
    Ok(vec![add_scaled(cx, z, beta)?])
}

/// `y + beta * input 2`.
fn add_scaled(cx: &mut Cx, y: Tid, beta: f32) -> Result<Tid, Reason> {
    let Some(mut c) = cx.opt_input(2)? else { return Ok(y) };
    if beta != 1.0 {
        let beta = cx.float(beta);
        c = cx.mul(c, beta);
    }
    Ok(cx.add(y, c))
}
