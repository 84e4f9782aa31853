//! What compression did.

use serde::Serialize;

use super::policy::{ScaleType, Scheme};

/// One op.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Layer {
    /// What policies call it.
    pub name: String,
    /// The op.
    pub op: &'static str,
    /// Output channels, input channels of a group, extents of the window, as policies have it.
    pub shape: Vec<usize>,
    /// Number of weights.
    pub weights: u64,
    /// Bits of a weight afterwards: 32, 16, or 2 to 8.
    pub bits: u8,
    /// Input channels that share a scale; 0 for all of an output channel.
    pub block: usize,
    /// Whether zero points are 0.
    pub symmetric: bool,
    /// How scales are stored; absent where there are none.
    pub scales: Option<ScaleType>,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes afterwards: packed integers, scales, zero points.
    pub bytes_after: u64,
    /// Signal to noise of the weights in decibels; absent when nothing was lost.
    pub sqnr: Option<f64>,
    /// Largest error of a weight.
    pub max_error: f64,
    /// What is special, such as why a weight stayed as it is.
    pub note: Option<String>,
}

impl Layer {
    pub(super) fn stored_as(&mut self, scheme: &Scheme) {
        (self.bits, self.block, self.symmetric) = (scheme.bits, scheme.block, scheme.symmetric);
        self.scales = scheme.is_integer().then_some(scheme.scales);
    }
}

/// Every op that can be compressed and that the policy lists.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// In order of execution.
    pub layers: Vec<Layer>,
    /// What holds for all of them.
    pub notes: Vec<String>,
}

impl Report {
    /// Bytes of all listed weights before and after.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |f: fn(&Layer) -> u64| self.layers.iter().map(f).sum();
        (sum(|l| l.bytes_before), sum(|l| l.bytes_after))
    }
}

/// `10 log10(sum ref^2 / sum (ref - got)^2)`, `None` without any difference.
pub fn sqnr(reference: &[f32], got: &[f32]) -> Option<f64> {
    let square = |x: f64| x * x;
    let signal: f64 = reference.iter().map(|&x| square(f64::from(x))).sum();
    let noise: f64 = reference.iter().zip(got).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    (noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}
