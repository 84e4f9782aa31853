//! What products of bytes have in common: weights less their zero point, and what the zero point of the other factor adds.

use crate::families::epilogue::bounds::Range;
use crate::family::View;
use mnnc_ir::{DType, Graph, Tensor, ValueId};

/// Weights of a product as signed bytes, in the order of the tensor.
#[derive(Clone)]
pub struct Weights {
    values: Vec<i8>,
}

impl Weights {
    /// The constant less its zero point, a scalar or one number for each of `channels` along the weights' outermost (`by_row`) or innermost
    /// dimension. `None` if it is no constant, or a difference does not fit a signed byte.
    pub fn read(g: &Graph, w: ValueId, zero: Option<ValueId>, by_row: bool, channels: usize) -> Option<Weights> {
        let t = g.constant(w).filter(|t| matches!(t.dtype(), DType::I8 | DType::U8))?;
        let zeros = match zero {
            None => vec![0],
            Some(z) => integers(g.constant(z)?),
        };
        if zeros.is_empty() || (zeros.len() != 1 && zeros.len() != channels) {
            return None;
        }
        let each = (t.len() / channels.max(1)).max(1);
        let zero_of = |i: usize| match zeros[..] {
            [z] => z,
            _ => zeros[if by_row { i / each } else { i % channels }],
        };
        let values = integers(t).into_iter().enumerate().map(|(i, x)| i8::try_from(x - zero_of(i)).ok());
        Some(Weights { values: values.collect::<Option<_>>()? })
    }

    /// An element.
    pub fn at(&self, index: usize) -> i8 {
        self.values[index]
    }
}

/// Elements of a tensor of bytes.
fn integers(t: &Tensor) -> Vec<i32> {
    match t.dtype() {
        DType::I8 => t.view::<i8>().iter().map(|x| i32::from(*x)).collect(),
        _ => t.view::<u8>().iter().map(|x| i32::from(*x)).collect(),
    }
}

/// The zero point of an activation of unsigned bytes: 0 where there is none, `None` where it is not one constant number.
pub fn zero_point(view: &View, operand: usize) -> Option<u8> {
    let Some(v) = view.inputs.get(operand).copied().flatten() else { return Some(0) };
    let t = view.graph.constant(v).filter(|t| t.dtype() == DType::U8 && t.len() == 1)?;
    t.view::<u8>().first().copied()
}

/// Sums of one output channel.
#[derive(Copy, Clone, Debug, Default)]
pub struct Sums {
    /// What the zero point adds to every sum.
    pub bias: i32,
    /// Least and greatest sum, zero point considered.
    range: [i64; 2],
}

impl Sums {
    /// For these weights, and inputs of which `zero` stands for zero.
    pub fn of(weights: impl Iterator<Item = i8>, zero: u8) -> Sums {
        let zero = i64::from(zero);
        let (mut total, mut range) = (0i64, [0i64; 2]);
        for w in weights.map(i64::from) {
            total += w;
            let ends = [-zero * w, (255 - zero) * w];
            range[0] += ends[0].min(ends[1]);
            range[1] += ends[0].max(ends[1]);
        }
        // Sums wrap, as the definition's do.
        Sums { bias: (-zero * total) as i32, range }
    }
}

/// The range of all sums, if none wraps.
pub fn range(sums: &[Sums]) -> Range {
    let lo = sums.iter().map(|s| s.range[0]).min()?;
    let hi = sums.iter().map(|s| s.range[1]).max()?;
    let fits = i32::try_from(lo).is_ok() && i32::try_from(hi).is_ok();
    fits.then_some([lo as f64, hi as f64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_lie_in_their_range() {
        let s = Sums::of([3i8, -128, 127].into_iter(), 10);
        assert_eq!(s.bias, -20);
        assert_eq!(range(&[s]), Some([(-10 * 130 - 245 * 128) as f64, (245 * 130 + 10 * 128) as f64]));
    }
}
