//! How far a quantised network is from the float one, layer by layer.

use mnnc_ir::{Graph, Tensor, ValueId};

use crate::calibrate::{Progress, Samples};
use crate::compiler::{Compiler, Model};
use crate::error::Result;

/// Sums of a comparison.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub(super) struct Noise {
    signal: f64,
    noise: f64,
    product: f64,
    other: f64,
}

impl Noise {
    fn of(want: &Tensor, got: &Tensor) -> Noise {
        let mut sum = Noise::default();
        for (&a, &b) in want.view::<f32>().iter().zip(got.view::<f32>().iter()) {
            let (a, b) = (f64::from(a), f64::from(b));
            sum.signal += a * a;
            sum.noise += (a - b) * (a - b);
            sum.product += a * b;
            sum.other += b * b;
        }
        sum
    }
    fn join(self, o: Noise) -> Noise {
        Noise {
            signal: self.signal + o.signal,
            noise: self.noise + o.noise,
            product: self.product + o.product,
            other: self.other + o.other,
        }
    }
    /// Signal to noise in decibels; `None` if there is no signal or no noise, or something is not a number.
    pub fn decibels(&self) -> Option<f64> {
        let db = 10.0 * (self.signal / self.noise).log10();
        db.is_finite().then_some(db)
    }
    /// Cosine distance, as MNN's `debug` prints.
    pub fn cosine_distance(&self) -> f64 {
        let lengths = (self.signal * self.other).sqrt();
        if lengths > 0.0 { (1.0 - self.product / lengths).max(0.0) } else { 0.0 }
    }
}

impl Compiler {
    /// What values of a float graph same in a quantised one, each as often and in the same order, over all samples.
    pub(super) fn measure(
        &self,
        model: &Model,
        (float, values): (&Graph, &[ValueId]),
        (quantised, same): (&Graph, &[ValueId]),
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<Vec<Noise>> {
        let (want, got) = (self.watch(model, float, values)?, self.watch(model, quantised, same)?);
        let seen = want.map_beside(&got, samples, progress, |_, want, got| Noise::of(want, got))?;
        // In order of samples, so that sums do not depend on threads.
        Ok(seen.into_iter().map(|all| all.into_iter().fold(Noise::default(), Noise::join)).collect())
    }
}
