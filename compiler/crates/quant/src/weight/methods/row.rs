//! One row: what codes there are, and what they stand for.

use half::f16;

use super::super::policy::{ScaleType, Scheme};

/// Significant bits of half precision.
const HALF_BITS: u32 = 11;
/// Least scale in half precision: below its normal numbers, where 6 bits are left, which is what a scale needs to be.
pub(super) const LEAST_HALF: f32 = 1.0 / (1 << 19) as f32;
/// Most of them that a zero point takes.
const ZERO_BITS: u32 = 5;

/// `x` with so many significant bits, which are at most 24.
fn rounded(x: f32, bits: u32) -> f32 {
    let drop = 24 - bits;
    // Half to even, on the bits: a carry into the exponent is what rounding up to a power of two is.
    let raw = x.to_bits();
    let half = (1u32 << drop) >> 1;
    let odd = (raw >> drop) & 1;
    let up = if drop == 0 { 0 } else { half - 1 + odd };
    f32::from_bits((raw + up) & !((1u32 << drop) - 1))
}

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
    /// Never zero, and exact in the type that it is stored in.
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
    /// The scale that is stored for `scale`: rounded to its type, no smaller than what the type holds well. 1 for 0: all weights are 0.
    pub fn stored(&self, scale: f32) -> f32 {
        if scale == 0.0 || !scale.is_finite() {
            return 1.0;
        }
        let least = match self.scales {
            ScaleType::Fp32 => f32::MIN_POSITIVE,
            ScaleType::Fp16 => LEAST_HALF,
        };
        let scale = if scale.abs() < least { least.copysign(scale) } else { scale };
        match self.scales {
            ScaleType::Fp32 => scale,
            ScaleType::Fp16 => {
                let bits = if self.symmetric { HALF_BITS } else { HALF_BITS - self.zero_bits() };
                // The largest number of so many bits that is finite in half precision.
                let most = 65_536.0 * (1.0 - 1.0 / (1u32 << bits) as f32);
                f16::from_f32(rounded(scale, bits).clamp(-most, most)).to_f32()
            }
        }
    }
    /// Significant bits of the distance between the least code and the zero point. Formats store its product with the scale; for half precision to hold
    /// that, the two share its bits.
    fn zero_bits(&self) -> u32 {
        let all = (self.max - self.min).ilog2() + 1;
        if self.scales == ScaleType::Fp16 { all.min(ZERO_BITS) } else { all }
    }
    /// The zero point to take where `zero` would be best.
    pub fn nearest_zero(&self, zero: f32) -> i8 {
        let bits = self.zero_bits();
        // The greatest distance within the codes that has so few bits.
        let all = (self.max - self.min).ilog2() + 1;
        let most = (((1 << bits) - 1) << (all - bits)) as f32;
        let distance = (zero - self.min as f32).round_ties_even().clamp(0.0, most);
        (self.min as f32 + rounded(distance, bits).min(most)) as i8
    }
    /// The row whose codes reach from about `low` to about `high`, `low <= 0 <= high`.
    pub fn asymmetric(&self, low: f32, high: f32) -> Row {
        let exact = (high / 2.0 - low / 2.0) / (self.max - self.min) as f32 * 2.0;
        let mut scale = self.stored(exact);
        if scale < exact && self.scales == ScaleType::Fp16 {
            // The next larger one, so that the codes reach.
            scale = self.stored(scale * (1.0 + 1.5 / (1 << (HALF_BITS - self.zero_bits())) as f32));
        }
        Row { scale, zero: self.nearest_zero(self.min as f32 - low / scale) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_formats_store_in_half_precision_is_exact() {
        for bits in 2..=8 {
            for step in 1..400 {
                let scheme = Scheme { symmetric: false, scales: ScaleType::Fp16, ..Scheme::symmetric(bits) };
                let grid = Grid::of(&scheme);
                let row = grid.asymmetric(-0.0071 * step as f32, 0.0113 * (401 - step) as f32);
                let offset = (grid.min - i32::from(row.zero)) as f32 * row.scale;
                for stored in [row.scale, offset] {
                    assert_eq!(f16::from_f32(stored).to_f32(), stored, "{bits} bits: {row:?}");
                }
                assert!((grid.min..=grid.max).contains(&i32::from(row.zero)));
            }
        }
    }

    #[test]
    fn rounding_keeps_the_bits_that_are_asked_for() {
        assert_eq!([1.0, 0.0, 3.0, 255.0, 9.0].map(|x| rounded(x, 3)), [1.0, 0.0, 3.0, 256.0, 8.0]);
        assert_eq!(rounded(-11.0, 3), -12.0);
        assert_eq!(rounded(0.3, 24), 0.3);
    }
}
