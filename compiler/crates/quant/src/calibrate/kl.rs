//! The threshold that loses least information, as MNN computes it.
//!
//! The distribution of magnitudes is cut at every bin from [`LEVELS`] on; what is cut off counts as the last bin. The rest is expressed in [`LEVELS`]
//! levels and spread back over the bins that held something. The cut with the least Kullback-Leibler divergence wins. (The reference distribution holds the
//! mass beyond the cut, the quantised one does not: so cutting is what it costs.)

use super::histogram::HALF;

/// Levels of a magnitude in 8 bits.
const LEVELS: usize = 128;
/// What an empty bin starts with, so that no logarithm is infinite.
const EMPTY: f64 = 1e-7;

/// The bin that the range should end in, from counts of magnitudes in [`HALF`] bins.
pub fn threshold(counts: &[u64]) -> usize {
    let total: f64 = counts.iter().map(|&n| n as f64 + EMPTY).sum();
    let p: Vec<f64> = counts.iter().map(|&n| (n as f64 + EMPTY) / total).collect();
    let mut beyond: f64 = p[LEVELS..].iter().sum();
    let (mut best, mut least) = (HALF - 1, f64::INFINITY);
    for cut in LEVELS..HALF {
        let divergence = divergence(&p[..cut], beyond);
        if divergence < least {
            (best, least) = (cut, divergence);
        }
        beyond -= p[cut];
    }
    best
}

/// Divergence of the distribution `p`, whose last bin also holds the mass `beyond`, from its form in [`LEVELS`] levels.
fn divergence(p: &[f64], beyond: f64) -> f64 {
    let width = p.len() as f64 / LEVELS as f64;
    let mut spread = vec![0.0; p.len()];
    for level in 0..LEVELS {
        let (start, end) = (level as f64 * width, (level + 1) as f64 * width);
        // The bins of this level with the share of each that lies in it.
        let bins = start as usize..(end.ceil() as usize).min(p.len());
        let share = |bin: usize| ((bin + 1) as f64).min(end) - (bin as f64).max(start);
        let mass: f64 = bins.clone().map(|b| p[b] * share(b)).sum();
        let room: f64 = bins.clone().filter(|&b| p[b] > 0.0).map(share).sum();
        if room > 0.0 {
            for b in bins.filter(|&b| p[b] > 0.0) {
                spread[b] += mass / room * share(b);
            }
        }
    }
    let last = p.len() - 1;
    let of = |(i, (&p, &q)): (usize, (&f64, &f64))| {
        let p = if i == last { p + beyond.max(0.0) } else { p };
        match (p > 0.0, q > 0.0) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => p * (p / q).ln(),
        }
    };
    p.iter().zip(&spread).enumerate().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::{HALF, threshold};

    #[test]
    fn a_uniform_distribution_is_kept_whole() {
        assert!(threshold(&vec![1000; HALF]) > HALF - 32);
    }

    #[test]
    fn a_few_outliers_are_cut_off() {
        // A half normal distribution with deviation 100 bins, and one value at the far end.
        let mut counts: Vec<u64> =
            (0..HALF).map(|i| (1e6 * (-0.5 * (i as f64 / 100.0).powi(2)).exp()) as u64).collect();
        counts[HALF - 1] = 1;
        let cut = threshold(&counts);
        assert!((200..700).contains(&cut), "{cut}");
    }
}
