//! How long an inference takes, before and after.

use serde::Serialize;

use super::Effect;
use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::{self, Result};
use crate::inputs;
use crate::timing::Timings;

/// Runs of which the fastest counts.
const RUNS: usize = 10;
/// Seed of the inputs.
const SEED: u64 = 0x7469_6d65;

/// Time of an inference in native code on this machine, one thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Of the float model: the minimum of all runs, in milliseconds.
    pub before_ms: f64,
    /// Of the compressed model.
    pub after_ms: f64,
    /// How many runs there were of each, one of the one, one of the other.
    pub runs: usize,
}

impl Time {
    /// Times two engines by turns, so that what else the machine does falls on both.
    ///
    /// # Errors
    /// A run that fails.
    pub fn measure(before: &mut Engine, after: &mut Engine, inputs: &[mnnc_ir::Tensor]) -> Result<Time> {
        // A run that does not count comes first: the other engine's weights have taken the caches.
        let once = |engine: &mut Engine| -> Result<f64> {
            Ok(Timings::measure(1, 1, || engine.run(inputs).map(drop))?.min_ms())
        };
        let mut time = Time { before_ms: f64::INFINITY, after_ms: f64::INFINITY, runs: RUNS };
        for _ in 0..RUNS {
            time.before_ms = time.before_ms.min(once(before)?);
            time.after_ms = time.after_ms.min(once(after)?);
        }
        Ok(time)
    }
}

impl Effect {
    /// Measures the time of both models, each by its compiler; a note says where that cannot be.
    pub fn time(&mut self, before: (&Compiler, &Model), after: (&Compiler, &Model)) {
        let measured = time(before, after);
        self.time = self.or_note("time", measured);
    }
}

fn time(before: (&Compiler, &Model), after: (&Compiler, &Model)) -> Result<Time> {
    if !after.0.target().runs_here() {
        return Err(error::usage("the code is for another machine"));
    }
    let inputs = inputs::all(before.1.graph(), SEED)?;
    let engine = |(compiler, model): (&Compiler, &Model)| compiler.jit(model).map(Engine::jit);
    Time::measure(&mut engine(before)?, &mut engine(after)?, &inputs)
}
