//! Prefetching of weights one panel ahead.
//!
//! Weights lie in one arena in the order of their use, so what follows a panel is the next one, of this layer or of the one after it,
//! and it comes from beyond L2. While the tiles of a panel run they share the fetching of the next, each tile taking an even part
//! of the lines of every run: fetched in one burst, the lines would fill the queue between L2 and L3 and stall the loads behind them.

use super::spec::Spec;
use mnnc_vector::{Cond, Gpr, Hint, KernelBuilder, Var};

/// A cache line.
const LINE: usize = 64;
/// A panel that L1 cannot hold beside the input would only push the input out: it is fetched into L2.
const L1_PANEL: usize = 16 << 10;
/// Bytes ahead in weights that are read once, from memory (measured: 1 to 64 KB are alike, 1.8 times faster than none).
const STREAM: usize = 8 << 10;
/// Weights that more tiles than these share are read so often that waiting for them once does not show.
const MOST_TILES: usize = 64;

/// How one tile fetches its part of the next panel.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ahead {
    /// Bytes from a weight to the same one of the next panel.
    distance: i32,
    /// Steps of a run, and the bytes of weights that it reads.
    steps: usize,
    run: usize,
    /// Lines that a tile fetches in each run.
    lines: usize,
    hint: Hint,
}

impl Ahead {
    /// For panels that `tiles` tiles share. `None` where prefetching does not pay, or the next panel does not follow.
    pub(super) fn new(spec: &Spec, lanes: usize, tiles: usize) -> Option<Ahead> {
        let panel = spec.panel_bytes(lanes);
        let follows = spec.weights_image == 0 || spec.weights_image == panel * spec.panels;
        let steps = spec.packing.unroll();
        let run = spec.packing.run_bytes(steps, spec.blocks * lanes);
        if tiles > MOST_TILES || !follows || run < LINE {
            return None;
        }
        let hint = if panel <= L1_PANEL { Hint::L1 } else { Hint::L2 };
        // A single tile reads each weight once: no panel comes back, and what follows is needed soon.
        let distance = i32::try_from(if tiles == 1 { panel.min(STREAM) } else { panel }).ok()?;
        Some(Ahead { distance, steps, run, lines: (run / LINE).div_ceil(tiles), hint })
    }

    /// Emits the fetches that belong before step `step` of a run. `turn` is the offset of this tile's lines in a run.
    pub(super) fn prefetch(&self, b: &mut KernelBuilder, step: usize, weights: Var<Gpr>, turn: Var<Gpr>) {
        let (weights, turn) = (b.get(weights), b.get(turn));
        for line in (0..self.lines).filter(|line| line * self.steps / self.lines == step) {
            b.prefetch(self.hint, weights.at_index(turn, 1, self.distance + (line * LINE) as i32));
        }
    }

    /// Moves on to the lines of the next tile.
    pub(super) fn next_turn(&self, b: &mut KernelBuilder, turn: Var<Gpr>) {
        let share = self.lines * LINE;
        if share < self.run {
            let now = b.get(turn);
            let next = b.int_add(now, share as i32);
            let zero = b.int(0);
            let wrapped = b.int_select(Cond::Lt, next, self.run as i32, next, zero);
            b.set(turn, wrapped);
        }
    }
}
