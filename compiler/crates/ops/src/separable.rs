//! Data movement whose source position is a sum of one term for each output dimension: transpose, slice, tile, expand,
//! pad, and the like.

use crate::num::for_dtype;
use mnnc_ir::{DType, Element, OpError, Tensor};
use rayon::prelude::*;

/// Where the elements along one output dimension come from: offsets into the input, in elements; `None` is a hole.
pub(crate) type Offsets = Vec<Option<usize>>;

/// Offsets `map(0) * stride, map(1) * stride, …` for `n` positions.
pub(crate) fn offsets(n: usize, stride: usize, map: impl Fn(usize) -> Option<usize>) -> Offsets {
    (0..n).map(|i| map(i).map(|j| j * stride)).collect()
}

/// The tensor of shape `dims` whose element at `(i, j, …)` is that of `x` at offset `along(0)[i] + along(1)[j] + …`, or
/// `fill` (one element, zero bits when `None`) if one of them is a hole. `along` is not called for an empty result.
pub(crate) fn separable(
    x: &Tensor,
    dims: &[usize],
    along: impl Fn(usize) -> Offsets,
    fill: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let n = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    let n = n.ok_or_else(|| OpError::unsupported(format!("shape {dims:?} is too large")))?;
    let bad = || OpError::invalid("moved elements do not fill their shape");
    if n == 0 {
        return empty(x.dtype(), dims).ok_or_else(bad);
    }
    let tables: Vec<Offsets> = (0..dims.len()).map(along).collect();
    let out = for_dtype!(x.dtype(), T => {
        let fill = match fill {
            Some(t) => t.view::<T>().first().copied().unwrap_or_default(),
            None => T::default(),
        };
        typed::<T>(x, &tables, fill, n)?
    });
    retyped(out, x.dtype(), dims).ok_or_else(bad)
}

fn typed<T: Element + Default>(x: &Tensor, tables: &[Offsets], fill: T, n: usize) -> Result<Tensor, OpError> {
    let x = x.view::<T>();
    let scalar = vec![Some(0)];
    let (inner, outer) = tables.split_last().map_or((&scalar, &[][..]), |(i, o)| (i, o));
    let run = contiguous(inner);
    let mut out: Vec<T> = Vec::new();
    out.try_reserve_exact(n).map_err(|_| OpError::unsupported(format!("no memory for {n} elements")))?;
    out.resize(n, fill);
    let row = |(r, chunk): (usize, &mut [T])| {
        let mut at = r;
        let mut base = Some(0);
        for t in outer.iter().rev() {
            base = base.zip(t[at % t.len()]).map(|(a, b)| a + b);
            at /= t.len();
        }
        let Some(base) = base else { return };
        match run {
            Some(first) => chunk.copy_from_slice(&x[base + first..base + first + chunk.len()]),
            None => {
                for (o, from) in chunk.iter_mut().zip(inner) {
                    if let Some(from) = from {
                        *o = x[base + from];
                    }
                }
            }
        }
    };
    if n < 1 << 14 {
        out.chunks_mut(inner.len()).enumerate().for_each(row);
    } else {
        let rows = ((1 << 12) / inner.len()).max(1);
        out.par_chunks_mut(inner.len() * rows).enumerate().for_each(|(i, chunk)| {
            chunk.chunks_mut(inner.len()).enumerate().for_each(|(j, c)| row((i * rows + j, c)));
        });
    }
    let len = out.len();
    Ok(Tensor::new(vec![len], out))
}

/// The first offset, if they all follow one another without holes.
fn contiguous(t: &Offsets) -> Option<usize> {
    let first = t.first().copied().flatten()?;
    t.iter().enumerate().all(|(i, o)| *o == Some(first + i)).then_some(first)
}

/// A tensor without elements.
pub(crate) fn empty(dtype: DType, dims: &[usize]) -> Option<Tensor> {
    Tensor::from_bytes(dtype, dims, mnnc_ir::bytes::Bytes::from_vec(Vec::<u8>::new()))
}

/// The bytes of `t` under another type and shape of the same size.
pub(crate) fn retyped(t: Tensor, dtype: DType, dims: &[usize]) -> Option<Tensor> {
    Tensor::from_bytes(dtype, dims, t.bytes().clone())
}
