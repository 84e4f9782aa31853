//! Reference evaluation of reductions: sums of floats are formed in `f64`, integers wrap.

use super::{Kind, known_reduced, left};
use crate::broadcast::strides;
use crate::separable::retyped;
use half::{bf16, f16};
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::{DType, Element, OpError, Tensor};
use rayon::prelude::*;

/// Where the elements of a reduction lie: result `i` combines the elements at `first[i] + inner[j]`.
pub(super) struct Places {
    /// First element for each result.
    pub first: Vec<usize>,
    /// Distances of the combined elements.
    pub inner: Vec<usize>,
}

impl Places {
    /// The places for reducing the marked dimensions of a dense tensor.
    pub fn new(dims: &[usize], reduced: &[bool]) -> Places {
        let step = strides(dims);
        let walk = |of: bool| {
            let mut at = vec![0usize];
            for i in (0..dims.len()).filter(|&i| reduced[i] == of) {
                at = at.iter().flat_map(|&a| (0..dims[i]).map(move |k| (a, k))).map(|(a, k)| a + k * step[i]).collect();
            }
            at
        };
        Places { first: walk(false), inner: walk(true) }
    }
}

pub(super) fn eval(ctx: &EvalCtx, kind: Kind) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0)?;
    let reduced = known_reduced(&ctx.op)?;
    let dims = left(x.dims(), &reduced, ctx.op.flag("keepdims"), 1);
    let places = Places::new(x.dims(), &reduced);
    macro_rules! ints {
        ($t:ty) => {
            fold::<$t>(x, &places, |it| {
                let v = ints(kind, it.map(|v| v as i128));
                // The extremes of nothing are infinite, and saturate; everything else wraps.
                let extreme = matches!(kind, Kind::Max | Kind::Min);
                if extreme { v.clamp(<$t>::MIN as i128, <$t>::MAX as i128) as $t } else { v as $t }
            })
        };
    }
    macro_rules! floats {
        ($t:ty, $to:expr, $from:expr) => {
            fold::<$t>(x, &places, |it| $from(floats(kind, it.map($to))))
        };
    }
    let out = match x.dtype() {
        DType::F32 => floats!(f32, f64::from, |v| v as f32),
        DType::F64 => floats!(f64, |v| v, |v| v),
        DType::F16 => floats!(f16, f16::to_f64, f16::from_f64),
        DType::BF16 => floats!(bf16, bf16::to_f64, bf16::from_f64),
        DType::I8 => ints!(i8),
        DType::I16 => ints!(i16),
        DType::I32 => ints!(i32),
        DType::I64 => ints!(i64),
        DType::U8 => ints!(u8),
        DType::Bool => fold::<u8>(x, &places, |it| u8::from(ints(kind, it.map(|v| i128::from(v != 0))) > 0)),
        DType::U16 => ints!(u16),
        DType::U32 => ints!(u32),
        DType::U64 => ints!(u64),
    };
    Ok(vec![retyped(out, x.dtype(), &dims).ok_or_else(|| OpError::invalid("results do not fill their shape"))?])
}

/// The elements that one result combines.
#[derive(Clone)]
struct Elements<'a, T> {
    x: &'a [T],
    inner: std::slice::Iter<'a, usize>,
}

impl<T: Copy> Iterator for Elements<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.inner.next().map(|&i| self.x[i])
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

fn fold<T: Element + Copy>(t: &Tensor, places: &Places, f: impl Fn(Elements<T>) -> T + Sync) -> Tensor {
    let x = t.view::<T>();
    let one = |&first: &usize| f(Elements { x: &x[first.min(x.len())..], inner: places.inner.iter() });
    let work = places.first.len().saturating_mul(places.inner.len());
    let out: Vec<T> = match work {
        0..100_000 => places.first.iter().map(one).collect(),
        _ => places.first.par_iter().map(one).collect(),
    };
    Tensor::new(vec![out.len()], out)
}

fn floats(kind: Kind, x: impl Iterator<Item = f64> + Clone) -> f64 {
    let greater = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
    let lesser = |a: f64, b: f64| if a < b || a.is_nan() { a } else { b };
    match kind {
        Kind::Sum => x.sum(),
        Kind::Mean => {
            let n = x.clone().count() as f64;
            x.sum::<f64>() / n
        }
        Kind::Max => x.fold(f64::NEG_INFINITY, greater),
        Kind::Min => x.fold(f64::INFINITY, lesser),
        Kind::Prod => x.product(),
        Kind::L1 => x.map(f64::abs).sum(),
        Kind::L2 => x.map(|v| v * v).sum::<f64>().sqrt(),
        Kind::LogSum => x.sum::<f64>().ln(),
        Kind::LogSumExp => {
            // The greatest element is taken out, so that nothing overflows.
            let top = x.clone().fold(f64::NEG_INFINITY, greater);
            let shift = if top.is_finite() { top } else { 0.0 };
            x.map(|v| (v - shift).exp()).sum::<f64>().ln() + shift
        }
        Kind::SumSquare => x.map(|v| v * v).sum(),
    }
}

fn ints(kind: Kind, x: impl Iterator<Item = i128> + Clone) -> i128 {
    match kind {
        Kind::Sum => x.fold(0, i128::wrapping_add),
        Kind::Mean => {
            let n = x.clone().count() as i128;
            x.fold(0, i128::wrapping_add).checked_div(n).unwrap_or(0)
        }
        Kind::Max => x.max().unwrap_or(i128::MIN),
        Kind::Min => x.min().unwrap_or(i128::MAX),
        Kind::Prod => x.fold(1, i128::wrapping_mul),
        Kind::L1 => x.map(i128::abs).fold(0, i128::wrapping_add),
        Kind::SumSquare => x.fold(0, |a, v| a.wrapping_add(v.wrapping_mul(v))),
        Kind::L2 | Kind::LogSum | Kind::LogSumExp => floats(kind, x.map(|v| v as f64)) as i128,
    }
}
