//! Reading and writing at computed positions.

mod elements;
mod nd;
mod rows;
mod scatter;

pub use elements::GATHER_ELEMENTS;
pub use nd::GATHER_ND;
pub use rows::GATHER;
pub use scatter::{SCATTER_ELEMENTS, SCATTER_ND};

use crate::loops;
use mnnc_ir::bytes::Bytes;
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source};
use mnnc_ir::{DType, OpCtx, OpError, Tensor};

/// An index into a dimension of `n`, negative ones counting from the end.
fn resolve(i: i64, n: usize) -> Result<usize, OpError> {
    let at = if i < 0 { i.saturating_add(n as i64) } else { i };
    usize::try_from(at)
        .ok()
        .filter(|&a| a < n)
        .ok_or_else(|| OpError::invalid(format!("index {i} is outside a dimension of {n}")))
}

/// The indices of an index tensor.
fn indices(t: &Tensor) -> Result<Vec<i64>, OpError> {
    t.to_i64s().ok_or_else(|| OpError::invalid(format!("indices are {}, not integers", t.dtype())))
}

/// A tensor from raw elements.
fn raw(dtype: DType, dims: Vec<usize>, bytes: Vec<u8>) -> Result<Tensor, OpError> {
    let n = bytes.len();
    Tensor::from_bytes(dtype, dims.clone(), Bytes::from_vec(bytes))
        .ok_or_else(|| OpError::invalid(format!("{n} bytes do not fill {dims:?}")))
}

/// In a loop form: the element of index input `i`, resolved against a dimension of `n`; the second expression says
/// whether it lies within.
fn load_index(b: &mut ScalarBuilder, ctx: &OpCtx, i: usize, at: Vec<Expr>, n: usize) -> Result<(Expr, Expr), OpError> {
    let e = b.load(Source::Input(i), at, ctx.input(i)?.dtype);
    let e = b.cast(e, DType::I64);
    let (zero, size) = (b.int(0), b.int(n as i64));
    let negative = b.compare(Cmp::Lt, e, zero);
    let wrapped = b.add(e, size);
    let e = b.select(negative, wrapped, e);
    let inside = loops::within(b, e, 0, n as i64);
    let inside = loops::all(b, &inside).unwrap_or(inside[0]);
    Ok((e, inside))
}
