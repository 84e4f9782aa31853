//! Prefetching of weights one panel ahead.
//!
//! Weights lie in one arena in the order of their use, so what follows a panel is the next one, of this layer or of the one after it,
//! and it comes from beyond L2. While the tiles of a panel run they share the fetching of the next, a few lines in every run, in the
//! order in which they lie: fetched in one burst, the lines would fill the queue between L2 and L3 and stall the loads behind them.

use super::spec::Spec;
use crate::families::walk::{advance, bump};
use mnnc_vector::{Cond, Gpr, Hint, KernelBuilder, Var};

/// A cache line.
const LINE: usize = 64;
/// A panel that L1 cannot hold beside the input would only push the input out: it is fetched into L2.
const L1_PANEL: usize = 16 << 10;
/// Bytes ahead in weights that are read once, from memory (measured: 1 to 64 KB are alike, 1.8 times faster than none).
const STREAM: usize = 8 << 10;
/// Weights that more tiles than these share are read so often that waiting for them once does not show.
const MOST_TILES: usize = 64;

/// How the tiles of a unit fetch their part of the next panel.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ahead {
    /// Bytes from a panel to what is fetched while it is used, and how much of that is a unit's part.
    distance: i32,
    part: i32,
    /// Whether one tile reads all: what is fetched keeps its distance from the weights that it reads.
    alone: bool,
    /// Steps of a run.
    steps: usize,
    /// Lines that a tile fetches in each run.
    lines: usize,
    hint: Hint,
}

impl Ahead {
    /// For panels that `units` units of `tiles` tiles each use one after the other. `None` where prefetching does not pay, or the next
    /// panel does not follow.
    pub(super) fn new(spec: &Spec, lanes: usize, units: usize, tiles: usize) -> Option<Ahead> {
        let panel = spec.panel_bytes(lanes);
        let tiles = tiles * units;
        let follows = spec.weights_image == 0 || spec.weights_image == panel * spec.panels;
        // Of planes a run is a row of the filter.
        let steps = if spec.block_in == 1 { spec.window.kernel[1] } else { spec.packing.unroll() };
        let run = spec.packing.run_bytes(steps, spec.blocks * lanes);
        if tiles > MOST_TILES || !follows || run < LINE {
            return None;
        }
        let hint = if panel <= L1_PANEL { Hint::L1 } else { Hint::L2 };
        // A single tile reads each weight once: no panel comes back, and what follows is needed soon.
        let distance = i32::try_from(if tiles == 1 { panel.min(STREAM) } else { panel }).ok()?;
        let part = i32::try_from(panel.div_ceil(units).next_multiple_of(LINE)).ok()?;
        Some(Ahead { distance, part, alone: tiles == 1, steps, lines: (run / LINE).div_ceil(tiles), hint })
    }

    /// Whether runs of so many steps do it; shorter ones, of what is left over, do not.
    pub(super) fn is_done_by(&self, run: usize) -> bool {
        run == self.steps
    }

    /// Where the fetching begins of the `unit`-th of the units that use the panel at `weights`.
    pub(super) fn start(&self, b: &mut KernelBuilder, weights: Gpr, unit: Option<Gpr>) -> Gpr {
        let first = b.int_add(weights, self.distance);
        unit.map_or(first, |unit| advance(b, first, unit, self.part as usize))
    }

    /// Emits the fetches that belong before step `step` of a run of the weights, from `next` on.
    pub(super) fn prefetch(&self, b: &mut KernelBuilder, step: usize, [weights, next]: [Var<Gpr>; 2]) {
        let (at, ahead) = if self.alone { (b.get(weights), self.distance) } else { (b.get(next), 0) };
        for line in (0..self.lines).filter(|line| line * self.steps / self.lines == step) {
            b.prefetch(self.hint, at.at(ahead + (line * LINE) as i32));
        }
    }

    /// Moves on behind the lines of a run.
    pub(super) fn next_run(&self, b: &mut KernelBuilder, next: Var<Gpr>) {
        if !self.alone {
            bump(b, next, self.lines * LINE, 0);
        }
    }

    /// Between tiles: what is left when all is fetched is the same again, which costs nothing. `first` is where it began.
    pub(super) fn next_tile(&self, b: &mut KernelBuilder, next: Var<Gpr>, first: Gpr) {
        if self.alone {
            return;
        }
        let end = b.int_add(first, self.part);
        let now = b.get(next);
        let from = b.int_select(Cond::Lt, now, end, now, first);
        b.set(next, from);
    }
}
