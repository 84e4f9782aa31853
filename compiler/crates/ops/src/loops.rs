//! Vocabulary for writing loop forms.

use crate::window::Axis;
use mnnc_ir::DType;
pub use mnnc_ir::compute::Stage;
use mnnc_ir::compute::{Combine, Compute, Reduction};
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder, Source};

/// The type that sums over elements of `d` are formed in: 16-bit floats are summed in `f32`.
pub fn wide(d: DType) -> DType {
    match d {
        DType::F16 | DType::BF16 => DType::F32,
        _ => d,
    }
}

/// The least value of a type.
pub fn lowest(d: DType) -> f64 {
    match d {
        DType::I8 => f64::from(i8::MIN),
        DType::I16 => f64::from(i16::MIN),
        DType::I32 => f64::from(i32::MIN),
        DType::I64 => i64::MIN as f64,
        d if d.is_float() => f64::NEG_INFINITY,
        _ => 0.0,
    }
}

/// The greatest value of a type (for 64-bit integers, the nearest one that `f64` holds and that fits).
pub fn highest(d: DType) -> f64 {
    match d {
        DType::I8 => f64::from(i8::MAX),
        DType::I16 => f64::from(i16::MAX),
        DType::I32 => f64::from(i32::MAX),
        DType::U8 => f64::from(u8::MAX),
        DType::U16 => f64::from(u16::MAX),
        DType::U32 => f64::from(u32::MAX),
        DType::I64 => (i64::MAX - 1023) as f64,
        DType::U64 => (u64::MAX - 2047) as f64,
        DType::Bool => 1.0,
        _ => f64::INFINITY,
    }
}

/// A reducing stage.
pub fn reduce(dims: Vec<usize>, over: Vec<usize>, combine: Combine, b: ScalarBuilder, body: Expr) -> Stage {
    let dtype = b.dtype(body);
    let init = match combine {
        Combine::Sum => 0.0,
        Combine::Product => 1.0,
        Combine::Max => lowest(dtype),
        Combine::Min => highest(dtype),
    };
    Stage { dims, dtype, reduce: Some(Reduction { dims: over, combine, init }), body: b.finish(body) }
}

/// A stage without reduction.
pub fn map(dims: Vec<usize>, b: ScalarBuilder, body: Expr) -> Stage {
    Stage { dims, dtype: b.dtype(body), reduce: None, body: b.finish(body) }
}

/// A compute with one output, the last stage.
pub fn compute(stages: Vec<Stage>) -> Compute {
    let outputs = vec![stages.len() - 1];
    Compute { stages, outputs }
}

/// `a + b * scale + offset` on indices, without the trivial operations.
pub fn affine(b: &mut ScalarBuilder, terms: &[(Expr, i64)], offset: i64) -> Expr {
    let mut sum = None;
    for &(e, scale) in terms.iter().filter(|(_, s)| *s != 0) {
        let scaled = if scale == 1 {
            e
        } else {
            let s = b.int(scale);
            b.mul(e, s)
        };
        sum = Some(match sum {
            None => scaled,
            Some(s) => b.add(s, scaled),
        });
    }
    match sum {
        None => b.int(offset),
        Some(s) if offset == 0 => s,
        Some(s) => {
            let o = b.int(offset);
            b.add(s, o)
        }
    }
}

/// `e / n` on non-negative indices.
pub fn div(b: &mut ScalarBuilder, e: Expr, n: usize) -> Expr {
    if n == 1 {
        return e;
    }
    let n = b.int(n as i64);
    b.binary(Binary::Div, e, n)
}

/// `e % n` on non-negative indices.
pub fn rem(b: &mut ScalarBuilder, e: Expr, n: usize) -> Expr {
    let n = b.int(n as i64);
    b.binary(Binary::Rem, e, n)
}

/// The conjunction of conditions, none meaning true.
pub fn all(b: &mut ScalarBuilder, conditions: &[Expr]) -> Option<Expr> {
    conditions.iter().copied().reduce(|x, y| b.binary(Binary::And, x, y))
}

/// `lo <= e < hi`, as a list of comparisons.
pub fn within(b: &mut ScalarBuilder, e: Expr, lo: i64, hi: i64) -> [Expr; 2] {
    let (lo, hi) = (b.int(lo), b.int(hi));
    [b.compare(Cmp::Ge, e, lo), b.compare(Cmp::Lt, e, hi)]
}

/// An element, or `otherwise` where `guard` (if there is one) does not hold, in the wide type.
pub fn load_wide(
    b: &mut ScalarBuilder,
    source: Source,
    index: Vec<Expr>,
    d: DType,
    guard: Option<Expr>,
    otherwise: f64,
) -> Expr {
    let e = match guard {
        None => b.load(source, index, d),
        Some(g) => {
            let o = b.constant(otherwise, d);
            b.load_or(source, index, g, o)
        }
    };
    b.cast(e, wide(d))
}

/// Input positions under a sliding window: output positions are loop dimensions from `out` on, window elements those
/// from `tap` on. Returns an index for each dimension and the condition that it is not padding, where it may be.
pub fn window_index(b: &mut ScalarBuilder, axes: &[Axis], out: usize, tap: usize) -> (Vec<Expr>, Option<Expr>) {
    let mut conditions = Vec::new();
    let index = axes
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let (o, k) = (b.axis(out + i), b.axis(tap + i));
            let e = affine(b, &[(o, a.stride as i64), (k, a.dilation as i64)], -(a.begin as i64));
            if a.begin > 0 {
                let zero = b.int(0);
                conditions.push(b.compare(Cmp::Ge, e, zero));
            }
            let last = a.output.saturating_sub(1) * a.stride + (a.kernel - 1) * a.dilation;
            if last >= a.begin + a.input {
                let n = b.int(a.input as i64);
                conditions.push(b.compare(Cmp::Lt, e, n));
            }
            e
        })
        .collect();
    let guard = all(b, &conditions);
    (index, guard)
}

/// All loop dimensions of a nest of `n` loops, as indices.
pub fn axes(b: &mut ScalarBuilder, n: usize) -> Vec<Expr> {
    (0..n).map(|i| b.axis(i)).collect()
}
