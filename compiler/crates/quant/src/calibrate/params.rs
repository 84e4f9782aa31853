//! How an activation is quantised: scale, zero point and type.

use mnnc_ir::{DType, Tensor};

/// The least scale: below, quotients overflow in single precision.
const MIN_SCALE: f64 = 1e-30;

/// Per-tensor parameters: `q = saturate(round(x / scale) + zero)`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct QParams {
    /// Step between two integers.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i32,
    /// `u8` or `i8`.
    pub dtype: DType,
}

impl QParams {
    /// Symmetric about zero in `i8`: `magnitude` becomes `clamp`.
    pub fn symmetric(magnitude: f64, clamp: i32) -> QParams {
        QParams { scale: scale(magnitude / f64::from(clamp)), zero: 0, dtype: DType::I8 }
    }

    /// `low..high` over all of `u8`. Zero is always among the values, and exact.
    pub fn asymmetric(low: f64, high: f64) -> QParams {
        QParams::over(low, high, 0, 255)
    }

    /// `low..high` over the integers `first..=last` of `u8`, so that a margin can be kept.
    pub fn over(low: f64, high: f64, first: i32, last: i32) -> QParams {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = scale((high - low) / f64::from(last - first));
        let zero = (-low / f64::from(scale)).round_ties_even() as i32 + first;
        QParams { scale, zero: zero.clamp(first, last), dtype: DType::U8 }
    }

    /// The integers of the type.
    pub fn integers(&self) -> (i32, i32) {
        match self.dtype {
            DType::I8 => (-128, 127),
            _ => (0, 255),
        }
    }

    /// The real values that the least and largest integer stand for.
    pub fn range(&self) -> (f64, f64) {
        let (first, last) = self.integers();
        let real = |q: i32| f64::from(q - self.zero) * f64::from(self.scale);
        (real(first), real(last))
    }

    /// What becomes of `x`.
    pub fn rounded(&self, x: f64) -> f64 {
        let (first, last) = self.integers();
        let q = (x / f64::from(self.scale)).round_ties_even() + f64::from(self.zero);
        (q.clamp(f64::from(first), f64::from(last)) - f64::from(self.zero)) * f64::from(self.scale)
    }

    /// The zero point as a scalar of the type.
    pub fn zero_tensor(&self) -> Tensor {
        match self.dtype {
            DType::I8 => Tensor::scalar(self.zero as i8),
            _ => Tensor::scalar(self.zero as u8),
        }
    }
}

fn scale(step: f64) -> f32 {
    if step.is_finite() && step >= MIN_SCALE { step as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::QParams;
    use mnnc_ir::DType;

    #[test]
    fn zero_is_exact_and_ends_are_met() {
        let p = QParams::asymmetric(-1.0, 3.0);
        assert_eq!((p.zero, p.dtype), (64, DType::U8));
        assert_eq!(p.rounded(0.0), 0.0);
        assert!((p.range().1 - 3.0).abs() < f64::from(p.scale));
        // A range without zero is widened to it.
        assert_eq!(QParams::asymmetric(2.0, 4.0).zero, 0);
        assert_eq!(QParams::asymmetric(-4.0, -2.0).zero, 255);
        let s = QParams::symmetric(12.7, 127);
        assert_eq!(s.zero, 0);
        assert!((s.rounded(12.7) - 12.7).abs() < 1e-5 && (s.rounded(-100.0) + 12.8).abs() < 1e-5);
    }

    #[test]
    fn a_range_of_nothing_has_scale_one() {
        for p in [QParams::asymmetric(0.0, 0.0), QParams::symmetric(0.0, 127), QParams::asymmetric(0.0, 1e-40)] {
            assert_eq!((p.scale, p.rounded(0.0)), (1.0, 0.0));
        }
    }
}
