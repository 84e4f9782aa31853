//! What noise in a site's weights does to the network's outputs.

use mnnc_ir::Diagnostics;

use super::Trial;
use super::ladder::{Ladder, policy};

/// Output noise for each unit of noise in the weights of a site, site by site.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// In the order of the ladders.
    pub gain: Vec<f64>,
}

/// Below this an output's noise is the rounding of the arithmetic, not of the weights.
const FLOOR: f64 = 1e-12;

impl Sensitivity {
    /// Measures each site with the last step of its ladder and all others exact. `seen` hears of every site done.
    ///
    /// # Errors
    /// A trial that fails.
    pub fn measure(
        ladders: &[Ladder],
        trial: &mut dyn Trial,
        seen: &mut dyn FnMut(usize),
    ) -> Result<Sensitivity, Diagnostics> {
        let mut gain = Vec::with_capacity(ladders.len());
        for (i, ladder) in ladders.iter().enumerate() {
            let last = ladder.steps.len() - 1;
            let put_in = ladder.steps[last].noise;
            gain.push(if put_in > 0.0 {
                let mut chosen = vec![0; ladders.len()];
                chosen[i] = last;
                let got = trial.noise(&policy(ladders, &chosen))?;
                // What is not finite must never look harmless.
                if got.is_finite() { got.max(FLOOR) / put_in } else { f64::INFINITY }
            } else {
                0.0
            });
            seen(i);
        }
        Ok(Sensitivity { gain })
    }

    /// Output noise that a step of site `i` is expected to make.
    pub fn predicted(&self, ladders: &[Ladder], i: usize, step: usize) -> f64 {
        let noise = ladders[i].steps[step].noise;
        if noise == 0.0 { 0.0 } else { noise * self.gain[i] }
    }
}
