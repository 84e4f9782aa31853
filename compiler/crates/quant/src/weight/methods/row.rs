//! One row: what codes there are, and what they stand for.

use half::f16;

use super::super::policy::{ScaleType, Scheme};

/// The codes and scales that a scheme allows.
#[derive(Copy, Clone, Debug)]
pub struct Grid {
    /// Least code.
    pub min: i32,
    /// Greatest code.
    pub max: i32,
    /// Whether zero points are 0.
    pub symmetric: bool,
    /// How scales are stored.
    pub scales: ScaleType,
}

/// Scale and zero point of a row.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Row {
    /// Never zero, and normal in the type that it is stored in.
    pub scale: f32,
    /// Within the range of the codes.
    pub zero: i8,
}

impl Grid {
    /// That of a scheme.
    pub fn of(scheme: &Scheme) -> Grid {
        let (min, max) = scheme.code_range();
        Grid { min, max, symmetric: scheme.symmetric, scales: scheme.scales }
    }
    /// The scale that is stored for `scale`: rounded to its type, no smaller than the type's smallest normal number. 1 for 0: all weights are 0.
    pub fn stored(&self, scale: f32) -> f32 {
        if scale == 0.0 || !scale.is_finite() {
            return 1.0;
        }
        let least = match self.scales {
            ScaleType::Fp32 => f32::MIN_POSITIVE,
            ScaleType::Fp16 => f16::MIN_POSITIVE.to_f32(),
        };
        let scale = if scale.abs() < least { least.copysign(scale) } else { scale };
        match self.scales {
            ScaleType::Fp32 => scale,
            ScaleType::Fp16 => f16::from_f32(scale.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32())).to_f32(),
        }
    }
    /// The row whose codes reach from about `low` to about `high`, `low <= 0 <= high`.
    pub fn asymmetric(&self, low: f32, high: f32) -> Row {
        let scale = self.stored((high / 2.0 - low / 2.0) / (self.max - self.min) as f32 * 2.0);
        let zero = (self.min as f32 - low / scale).round_ties_even().clamp(self.min as f32, self.max as f32);
        Row { scale, zero: zero as i8 }
    }
}

impl Row {
    /// The code nearest to a weight.
    pub fn code(&self, w: f32, grid: &Grid) -> i8 {
        let q = (w / self.scale).round_ties_even() + f32::from(self.zero);
        q.clamp(grid.min as f32, grid.max as f32) as i8
    }
    /// What a code stands for.
    pub fn value(&self, code: i8) -> f32 {
        (f32::from(code) - f32::from(self.zero)) * self.scale
    }
    /// Sum of squared errors over a row.
    pub fn error(&self, row: &[f32], grid: &Grid) -> f64 {
        let square = |&w: &f32| {
            let d = f64::from(w - self.value(self.code(w, grid)));
            d * d
        };
        row.iter().map(square).sum()
    }
}

/// Least and greatest weight, 0 included.
pub fn range(row: &[f32]) -> (f32, f32) {
    row.iter().fold((0.0f32, 0.0f32), |(lo, hi), &w| (lo.min(w), hi.max(w)))
}
