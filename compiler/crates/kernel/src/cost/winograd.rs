//! What transformed tiles cost.

use super::stream::{Reread, beside};
use super::{Class, Planner, Problem, Winograd};
use crate::families::winograd::Phases;

/// Cycles for each vector of products of the input's transform (loads, additions, a store) and of the output's.
const TRANSFORMS: [f64; 2] = [3.5, 2.5];
/// The share of a transform that loads and stores, and the one along each dimension.
const ALONG: f64 = 1.0 / 3.0;
/// Cycles to begin a step: its arguments, and pipelines that fill.
const STEP: f64 = 150.0;

impl Planner {
    /// Cycles of the whole convolution.
    pub(super) fn winograd_cycles(&self, p: &Problem, w: &Winograd) -> f64 {
        let lanes = self.target.lanes();
        let phases = Phases::new(p, w.size);
        let (tiles, images) = (phases.grid(), p.images * phases.count(0));
        let n = w.size.products();
        let weights = 4.0 * (n * p.inputs * p.outputs.next_multiple_of(lanes)) as f64;
        // Bands of so many tiles, and those at the end: `[how many, tiles]`.
        let (whole, last) = if w.images > 1 {
            let (each, rest) = (tiles[0] * tiles[1], images % w.images);
            ([images / w.images, w.images * each], [usize::from(rest > 0), rest * each])
        } else {
            let rest = tiles[0] % w.band;
            let last = if rest > 0 { images } else { 0 };
            ([images * (tiles[0] / w.band), w.band * tiles[1]], [last, rest * tiles[1]])
        };
        let bands = whole[0] + last[0];
        let multiply: f64 = [whole, last]
            .into_iter()
            .filter(|b| b[0] > 0)
            .map(|[count, tiles]| count as f64 * self.band_products(p, n, tiles))
            .sum();
        let buffers = 4.0 * (n * whole[1] * (p.inputs + p.outputs)) as f64;
        let count = (images * tiles[0] * tiles[1]) as f64;
        let vectors = count * n as f64 / lanes as f64;
        let dimensions = w.size.taps().iter().filter(|&&k| k > 1).count();
        let share = ALONG * (1 + dimensions) as f64;
        let transforms = share * vectors * (TRANSFORMS[0] * p.inputs as f64 + TRANSFORMS[1] * p.outputs as f64);
        let spilled = Reread::new(&self.machine, buffers, buffers).cycles() * bands as f64;
        let first = weights / self.far_rate();
        let again = bands.saturating_sub(1) as f64 * Reread::new(&self.machine, weights, weights + buffers).cycles();
        let steps = STEP * (bands + 2 * images * tiles[0].div_ceil(w.band)) as f64;
        beside(multiply, first) + again + transforms + spilled + steps + self.images(p)
    }

    /// Cycles of all products of a band, weights at hand.
    fn band_products(&self, p: &Problem, n: usize, tiles: usize) -> f64 {
        let product = self.band_problem(p, n, tiles);
        self.band_classes(&product).iter().map(|c| self.compute(&product, c)).sum::<f64>() * n as f64
    }

    /// The products of a band of so many tiles, as a problem.
    pub fn band_problem(&self, p: &Problem, n: usize, tiles: usize) -> Problem {
        let apart = 4 * self.target.lanes();
        Problem { out: [1, tiles], apart, ..Problem::matrices(n, tiles, p.inputs, p.outputs) }
    }

    /// Their panels, which are the same for any number of tiles, so that all bands share the weights.
    pub fn band_classes(&self, product: &Problem) -> Vec<Class> {
        let many = Problem { out: [64, 64], ..*product };
        self.classes(&many, &self.usual(&many))
            .into_iter()
            .map(|c| Class { tiling: self.tiling(product, c.blocks), ..c })
            .collect()
    }
}
