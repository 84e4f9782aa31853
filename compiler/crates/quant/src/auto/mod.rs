//! Automatic choice of bits and blocks, op by op.
//!
//! ```text
//! ladder(site): schemes from exact to small ──▶ noise of each in its weights
//! sensitivity:  what noise in a site's weights does to the outputs, measured with that site alone compressed
//! search:       least noise for the bytes, by a price of a byte; the price by trials of the whole network; single steps last
//! ```
//!
//! Noise of different sites adds up like that of independent sources, which is what makes a search over thousands of combinations
//! cheap: the prediction is a sum. It only orders the candidates; what counts is measured, by a [`Trial`] that compresses the whole
//! network and runs it. Every trial is a point of the [`Frontier`].

mod frontier;
mod ladder;
mod search;
mod sensitivity;

pub use frontier::{Frontier, Point};
pub use ladder::{Axes, Ladder, Step, ladders};
pub use search::{Goal, search};
pub use sensitivity::Sensitivity;

use crate::weight::Policy;
use mnnc_ir::Diagnostics;

/// What a compressed network was found to be.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Measured {
    /// How bad its outputs are, in the unit of the bound: relative error, percentage points of lost accuracy. Not finite where an
    /// output is not.
    pub error: f64,
    /// Power of the outputs' error relative to their own.
    pub noise: f64,
    /// Bytes of its weights.
    pub bytes: u64,
    /// Time of one inference, if that is what the goal is about.
    pub milliseconds: Option<f64>,
}

impl Measured {
    /// What is weighed against the error: milliseconds where they were measured, else bytes.
    pub fn cost(&self) -> f64 {
        self.milliseconds.unwrap_or(self.bytes as f64)
    }
}

/// Compresses a network by a policy, and runs it.
pub trait Trial {
    /// What comes of `policy`.
    ///
    /// # Errors
    /// The network cannot be compressed or run.
    fn measure(&mut self, policy: &Policy) -> Result<Measured, Diagnostics>;
    /// As [`measure`](Self::measure), of the noise alone, on fewer inputs where that is cheaper.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    fn noise(&mut self, policy: &Policy) -> Result<f64, Diagnostics> {
        Ok(self.measure(policy)?.noise)
    }
}
