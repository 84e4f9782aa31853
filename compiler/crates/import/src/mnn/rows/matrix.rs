//! Products of matrices.

use crate::mnn::op::{OpCx, Rows};
use crate::mnn::table::{Row, row};
use mnnc_ir::{Attrs, OpError, ValueId};
use mnnc_schema::mnn::OpType;

pub(super) static ROWS: &[Row] = &[row(OpType::MatMul, matmul), row(OpType::BatchMatMul, batch_matmul)];

fn transposed(cx: &mut OpCx, v: ValueId, wanted: bool) -> Result<ValueId, OpError> {
    let rank = cx.rank(v);
    if !wanted || rank < 2 {
        return Ok(v);
    }
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(rank - 1, rank - 2);
    cx.aside("transpose", &[v], Attrs::new().with("perm", perm))
}

fn product(cx: &mut OpCx, transpose_a: bool, transpose_b: bool) -> Result<ValueId, OpError> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let a = transposed(cx, a, transpose_a)?;
    let b = transposed(cx, b, transpose_b)?;
    let y = cx.emit("matmul", &[a, b], Attrs::new())?;
    // Where both are vectors, MNN keeps a dim.
    let y = if cx.rank(y) == 0 { cx.reshape(y, &[1])? } else { y };
    match cx.opt(2) {
        Some(bias) => cx.emit("add", &[y, bias], Attrs::new()),
        None => Ok(y),
    }
}

fn matmul(cx: &mut OpCx) -> Rows {
    let (a, b) = cx.op.main_as_mat_mul().map_or((false, false), |p| (p.transpose_a(), p.transpose_b()));
    Ok(vec![product(cx, a, b)?])
}

fn batch_matmul(cx: &mut OpCx) -> Rows {
    let (a, b) = cx.op.main_as_batch_mat_mul_param().map_or((false, false), |p| (p.adj_x(), p.adj_y()));
    Ok(vec![product(cx, a, b)?])
}
