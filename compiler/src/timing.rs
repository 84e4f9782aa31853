//! Timing of repeated runs.

use std::time::{Duration, Instant};

/// Times of repeated runs of one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Timings {
    /// Ascending.
    sorted: Vec<Duration>,
}

impl Timings {
    /// Calls `run` until `warm_up` times have passed, then times `runs` calls (at least one).
    ///
    /// # Errors
    /// The first error of `run`.
    pub fn measure<E>(warm_up: usize, runs: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        for _ in 0..warm_up {
            run()?;
        }
        let mut sorted = Vec::with_capacity(runs.max(1));
        for _ in 0..runs.max(1) {
            let start = Instant::now();
            run()?;
            sorted.push(start.elapsed());
        }
        sorted.sort();
        Ok(Timings { sorted })
    }

    /// The time that the share `q` (0 to 1) of runs does not exceed, in milliseconds: nearest rank.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.sorted.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.sorted.len()) - 1;
        self.sorted[index].as_secs_f64() * 1e3
    }

    /// The fastest run, in milliseconds.
    pub fn min_ms(&self) -> f64 {
        self.quantile_ms(0.0)
    }

    /// The middle run, in milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::Timings;
    use std::time::Duration;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let timings = Timings { sorted: (1..=10).map(Duration::from_millis).collect() };
        assert_eq!(timings.min_ms(), 1.0);
        assert_eq!(timings.median_ms(), 5.0);
        assert_eq!(timings.quantile_ms(0.9), 9.0);
        assert_eq!(timings.quantile_ms(1.0), 10.0);
    }

    #[test]
    fn an_error_ends_the_measurement() {
        let mut calls = 0;
        let result = Timings::measure(1, 5, || {
            calls += 1;
            if calls == 3 { Err("third") } else { Ok(()) }
        });
        assert_eq!(result, Err("third"));
        assert_eq!(calls, 3);
    }
}
