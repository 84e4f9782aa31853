//! What is known of an activation: its extent sample by sample, then a histogram of all its values.
//!
//! Both are streamed: memory does not grow with the samples. Sums are integers, so that the result does not hang on the order in which threads add.

/// Bins on each side of zero. MNN's number, for MNN's method.
pub const HALF: usize = 2048;
/// Values up to this count as zero, as in MNN.
const TINY: f32 = 1e-6;

/// Least and largest finite value of one sample.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Extent {
    /// The least; infinity if there is none.
    pub min: f32,
    /// The largest; minus infinity if there is none.
    pub max: f32,
    /// How many values are NaN or infinite.
    pub not_finite: u64,
}

impl Extent {
    /// That of no value.
    pub const EMPTY: Extent = Extent { min: f32::INFINITY, max: f32::NEG_INFINITY, not_finite: 0 };

    /// The extent of these values.
    pub fn of(values: &[f32]) -> Extent {
        let mut all = Extent::EMPTY;
        // Lanes of their own, so that the loop becomes vector code.
        let (mut min, mut max) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
        let mut sum = [0f32; 16];
        let chunks = values.chunks_exact(16);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (i, &x) in chunk.iter().enumerate() {
                min[i] = if x < min[i] { x } else { min[i] };
                max[i] = if x > max[i] { x } else { max[i] };
                // Zero as long as every value is finite.
                sum[i] += x * 0.0;
            }
        }
        for x in rest {
            sum[0] += x * 0.0;
        }
        if sum.iter().all(|&s| s == 0.0) {
            let ends = min.iter().chain(&max).chain(rest);
            for &x in ends.filter(|x| x.is_finite()) {
                all.min = all.min.min(x);
                all.max = all.max.max(x);
            }
            return all;
        }
        for &x in values {
            if x.is_finite() {
                all.min = all.min.min(x);
                all.max = all.max.max(x);
            } else {
                all.not_finite += 1;
            }
        }
        all
    }

    /// The extent of both.
    pub fn join(self, other: Extent) -> Extent {
        Extent {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            not_finite: self.not_finite + other.not_finite,
        }
    }

    /// The largest magnitude; 0 of no value.
    pub fn magnitude(self) -> f32 {
        if self.min > self.max { 0.0 } else { self.min.abs().max(self.max.abs()) }
    }
}

/// Counts of values between minus and plus a limit, in [`HALF`] bins on each side of zero.
#[derive(Clone, Debug)]
pub struct Histogram {
    limit: f32,
    /// From the least to the largest.
    counts: Vec<u64>,
    zeros: u64,
}

impl Histogram {
    /// Without values yet; `limit` is the largest magnitude that they will have.
    pub fn new(limit: f32) -> Histogram {
        Histogram { limit, counts: vec![0; 2 * HALF], zeros: 0 }
    }

    /// Adds values; those that are not finite are left out.
    pub fn add(&mut self, values: &[f32]) {
        // A limit so small that its reciprocal overflows holds nothing but zeros.
        let interval = HALF as f32 / self.limit;
        if !interval.is_finite() {
            self.zeros += values.iter().filter(|x| x.is_finite()).count() as u64;
            return;
        }
        for &x in values {
            if x.abs() <= TINY {
                self.zeros += 1;
            } else if x.is_finite() {
                let bin = ((x * interval).floor() as i32).clamp(-(HALF as i32), HALF as i32 - 1);
                self.counts[(bin + HALF as i32) as usize] += 1;
            }
        }
    }

    /// The counts of both.
    pub fn join(mut self, other: &Histogram) -> Histogram {
        debug_assert_eq!(self.limit, other.limit);
        self.zeros += other.zeros;
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self
    }

    /// The largest magnitude.
    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.limit) / HALF as f64
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// Number of values that are zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Counts of magnitudes in [`HALF`] bins from zero up.
    pub fn magnitudes(&self) -> Vec<u64> {
        (0..HALF).map(|i| self.counts[HALF + i] + self.counts[HALF - 1 - i]).collect()
    }

    /// Bins that hold anything: their middle, and how many values. Zeros are a bin of their own.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let width = self.width();
        let middle = |i: usize| (i as f64 - HALF as f64 + 0.5) * width;
        let full = self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, &n)| (middle(i), n as f64));
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros as f64));
        full.chain(zeros).collect()
    }

    /// The value that `share` of all values do not exceed, to the width of a bin.
    pub fn quantile(&self, share: f64) -> f64 {
        let want = share * self.total() as f64;
        let width = self.width();
        let mut below = 0u64;
        for (i, &n) in self.counts.iter().enumerate() {
            // Zeros lie between the two sides.
            if i == HALF && self.zeros > 0 {
                below += self.zeros;
                if below as f64 >= want {
                    return 0.0;
                }
            }
            below += n;
            if n > 0 && below as f64 >= want {
                return if i >= HALF {
                    (i as f64 - HALF as f64 + 1.0) * width
                } else {
                    (i as f64 - HALF as f64) * width
                };
            }
        }
        f64::from(self.limit)
    }

    /// Counts in `bars` bars between the least and largest value seen, and these two ends; for plots.
    pub fn bars(&self, bars: usize) -> (f64, f64, Vec<u64>) {
        let used = |i: &usize| self.counts[*i] > 0;
        let (Some(first), Some(last)) = ((0..2 * HALF).find(used), (0..2 * HALF).rev().find(used)) else {
            return (0.0, 0.0, vec![self.zeros]);
        };
        let at = |i: usize| (i as f64 - HALF as f64) * self.width();
        let mut out = vec![0; bars];
        let span = last + 1 - first;
        let bar = |i: usize| ((i - first) * bars / span).min(bars - 1);
        for i in first..=last {
            out[bar(i)] += self.counts[i];
        }
        if self.zeros > 0 && (first..=last).contains(&HALF) {
            out[bar(HALF)] += self.zeros;
        }
        (at(first), at(last + 1), out)
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, HALF, Histogram};

    #[test]
    fn an_extent_leaves_out_what_is_not_finite() {
        let mut values: Vec<f32> = (0..100).map(|i| i as f32 - 30.0).collect();
        assert_eq!(Extent::of(&values), Extent { min: -30.0, max: 69.0, not_finite: 0 });
        values[7] = f32::NAN;
        values[99] = f32::INFINITY;
        assert_eq!(Extent::of(&values), Extent { min: -30.0, max: 68.0, not_finite: 2 });
        assert_eq!(Extent::of(&[f32::NAN]).magnitude(), 0.0);
        assert_eq!(Extent::of(&[-3.0, 1.0]).join(Extent::EMPTY).magnitude(), 3.0);
    }

    #[test]
    fn every_finite_value_is_in_one_bin() {
        let mut h = Histogram::new(2.0);
        h.add(&[-2.0, -0.5, 0.0, 1e-7, 0.5, 2.0, f32::NAN]);
        assert_eq!((h.total(), h.zeros()), (6, 2));
        let m = h.magnitudes();
        assert_eq!((m[HALF - 1], m.iter().sum::<u64>()), (2, 4));
        assert_eq!(h.quantile(0.5), 0.0);
        assert!((h.quantile(1.0) - 2.0).abs() < 1e-9 && (h.quantile(0.0) + 2.0).abs() < 1e-9);
        let (low, high, bars) = h.bars(4);
        assert!((low + 2.0).abs() < 1e-9 && (high - 2.0).abs() < 1e-9);
        assert_eq!(bars.iter().sum::<u64>(), 6);
    }

    #[test]
    fn nothing_but_zeros_or_subnormals_is_no_trouble() {
        for limit in [0.0, 1e-42] {
            let mut h = Histogram::new(limit);
            h.add(&[0.0, 1e-42]);
            assert_eq!((h.total(), h.zeros()), (2, 2));
        }
    }
}
