//! Where the values of a formula can lie, so that a conversion to an integer needs no clamping where nothing can be out of range.

use super::integer::conversion;
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_ir::{DType, Tensor};

/// Least and greatest value of what is never NaN; `None` if nothing is known.
pub type Range = Option<[f64; 2]>;

/// Numbers up to this size convert to `i32` and have room for a zero point.
const LARGEST: f64 = (1u32 << 30) as f64;
/// What roundings may add to a computed bound.
const SLACK: f64 = 1.0 + 1e-5;

/// All values of a type.
pub fn of_type(d: DType) -> Range {
    match d {
        DType::U8 => Some([0.0, 255.0]),
        DType::I8 => Some([-128.0, 127.0]),
        DType::I32 => Some([f64::from(i32::MIN), f64::from(i32::MAX)]),
        _ => None,
    }
}

/// The values of a constant.
pub fn of_constant(t: &Tensor) -> Range {
    let values = t.to_f64s();
    let all = values
        .iter()
        .try_fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], &x| x.is_finite().then(|| [lo.min(x), hi.max(x)]));
    all.filter(|[lo, hi]| lo <= hi)
}

/// Whether every `f32` that the formula converts to an integer is a number well within `i32`, for arguments in these ranges.
pub fn converts_in_range(f: &ScalarFn, args: &[Range]) -> bool {
    let mut ranges: Vec<Range> = Vec::with_capacity(f.nodes.len());
    for (node, dtype) in &f.nodes {
        if let Some(c) = conversion(f, Expr(ranges.len() as u32))
            && !ranges[c.of.0 as usize].is_some_and(|r| r.iter().all(|x| (x / f64::from(c.divisor)).abs() <= LARGEST))
        {
            return false;
        }
        ranges.push(range(f, node, *dtype, &ranges, args));
    }
    true
}

fn range(f: &ScalarFn, node: &ScalarNode, dtype: DType, known: &[Range], args: &[Range]) -> Range {
    let at = |e: Expr| known[e.0 as usize];
    let float = dtype == DType::F32;
    let out = match *node {
        ScalarNode::Arg(i) => args.get(i).copied().flatten().or(of_type(dtype)),
        ScalarNode::Const(x) => x.is_finite().then_some([x, x]),
        ScalarNode::Unary(u, a) if float => match u {
            Unary::Neg => at(a).map(|[lo, hi]| [-hi, -lo]),
            Unary::Abs => at(a).map(|[lo, hi]| [0.0, hi.max(-lo)]),
            Unary::Round | Unary::Floor | Unary::Ceil | Unary::Trunc => at(a).map(|[lo, hi]| [lo.floor(), hi.ceil()]),
            Unary::Tanh | Unary::Erf | Unary::Sign => at(a).map(|_| [-1.0, 1.0]),
            _ => None,
        },
        ScalarNode::Binary(op, a, b) => match (at(a), at(b)) {
            (Some(x), Some(y)) => binary(op, x, y, float),
            _ => None,
        },
        ScalarNode::Select(_, a, b) => match (at(a), at(b)) {
            (Some(x), Some(y)) => Some([x[0].min(y[0]), x[1].max(y[1])]),
            _ => None,
        },
        ScalarNode::Cast(a) if float => at(a).or((f.dtype(a) == DType::Bool).then_some([0.0, 1.0])),
        ScalarNode::Cast(_) => of_type(dtype),
        _ => None,
    };
    match (out, of_type(dtype)) {
        (Some([lo, hi]), None) => {
            Some([widened(lo), widened(hi)]).filter(|r| r.iter().all(|x| x.abs() < f64::from(f32::MAX)))
        }
        // Integers wrap: what leaves the type can be anything.
        (Some([lo, hi]), Some([least, most])) if lo >= least && hi <= most => Some([lo, hi]),
        (_, whole) => whole,
    }
}

/// A bound of rounded values: both ends are moved outwards far enough, in whichever direction that is.
fn widened(x: f64) -> f64 {
    x * SLACK
}

fn binary(op: Binary, [a, b]: [f64; 2], [c, d]: [f64; 2], float: bool) -> Range {
    let hull = |xs: [f64; 4]| {
        let lo = xs.iter().copied().fold(f64::INFINITY, f64::min);
        let hi = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // An end near zero is moved by what the greater end may be off.
        let off = if float { (hi.abs().max(lo.abs())) * 1e-6 } else { 0.0 };
        Some([lo - off, hi + off])
    };
    match op {
        Binary::Add => hull([a + c, b + d, a + c, b + d]),
        Binary::Sub => hull([a - d, b - c, a - d, b - c]),
        Binary::Mul => hull([a * c, a * d, b * c, b * d]),
        Binary::Div if float && (c > 0.0 || d < 0.0) => hull([a / c, a / d, b / c, b / d]),
        Binary::Min => Some([a.min(c), b.min(d)]),
        Binary::Max => Some([a.max(c), b.max(d)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::scalar::ScalarBuilder;

    /// `u8(round(f32(sum) * scale) + 3)`.
    fn requantised() -> ScalarFn {
        let mut b = ScalarBuilder::new();
        let (sum, scale) = (b.arg(0, DType::I32), b.arg(1, DType::F32));
        let x = b.cast(sum, DType::F32);
        let x = b.mul(x, scale);
        let x = b.unary(Unary::Round, x);
        let zero = b.constant(3.0, DType::F32);
        let x = b.add(x, zero);
        let y = b.cast(x, DType::U8);
        b.finish(y)
    }

    #[test]
    fn known_factors_bound_the_result() {
        let f = requantised();
        assert!(converts_in_range(&f, &[None, Some([1e-4, 0.3])]));
        assert!(converts_in_range(&f, &[Some([-1e6, 1e6]), Some([1e-4, 900.0])]));
        assert!(!converts_in_range(&f, &[None, Some([1e-4, 1.5])]));
        assert!(!converts_in_range(&f, &[None, None]));
    }

    #[test]
    fn constants_with_nan_bound_nothing() {
        assert_eq!(of_constant(&Tensor::new([2], vec![1.0f32, f32::NAN])), None);
        assert_eq!(of_constant(&Tensor::new([2], vec![1.0f32, -2.0])), Some([-2.0, 1.0]));
    }
}
