//! Deterministic random numbers: one stream a weight, found by its name, so
//! that a weight does not depend on the order in which a network is built.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers for one weight.
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of the weight `name` under `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hash = blake3::Hasher::new();
        hash.update(&seed.to_le_bytes());
        hash.update(name.as_bytes());
        Stream(ChaCha8Rng::from_seed(*hash.finalize().as_bytes()))
    }

    /// Near-normal, mean 0, variance 1: the sum of four uniforms (Irwin-Hall).
    /// Additions only, so every machine gives the same bits.
    pub fn normal(&mut self) -> f64 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        // Each uniform on 0..65536 has mean 32767.5 and variance (65536² - 1) / 12.
        (sum as f64 - 131_070.0) / 37_837.226_703_8
    }

    /// Uniform on `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// `count` normal numbers with the given mean and deviation.
    pub fn normals(&mut self, count: usize, mean: f64, deviation: f64) -> Vec<f32> {
        (0..count).map(|_| (mean + deviation * self.normal()) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;

    #[test]
    fn moments_are_those_of_the_normal() {
        let mut stream = Stream::new(7, "w");
        let n = 200_000;
        let values = stream.normals(n, 0.0, 1.0);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let var = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((var - 1.0).abs() < 0.01, "{var}");
    }

    #[test]
    fn streams_differ_by_seed_and_name_only() {
        let first = |seed, name| Stream::new(seed, name).normal();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }
}
