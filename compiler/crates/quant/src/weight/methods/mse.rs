//! The least squared error: a search over clipped ranges, then alternating least squares.

use super::min_max;
use super::row::{Grid, Row, range};

/// Steps of the search.
const STEPS: usize = 48;
/// The narrowest range that is tried, as a share of the whole one; fewer codes gain from narrower ones.
fn narrowest(grid: &Grid) -> f32 {
    if grid.max - grid.min > 64 { 0.75 } else { 0.4 }
}
/// Rounds of least squares, which end sooner when nothing is gained.
const ROUNDS: usize = 4;

/// The best row found.
pub fn row(w: &[f32], grid: &Grid) -> Row {
    let mut best = Best { row: min_max::row(w, grid), error: f64::INFINITY };
    best.offer(best.row, w, grid);
    if best.error == 0.0 {
        return best.row;
    }
    let (low, high) = range(w);
    let shares = |steps: usize| (0..=steps).map(move |i| 1.08 - (1.08 - narrowest(grid)) * i as f32 / steps as f32);
    if grid.symmetric {
        // There is one code more on the negative side: with a negative scale it serves the larger positive weights.
        let sign = if high > -low { -1.0 } else { 1.0 };
        let reach = high.max(-low);
        for share in shares(STEPS) {
            let row = |scale: f32| Row { scale: grid.stored(scale), zero: 0 };
            best.offer(row(reach * share / grid.max as f32), w, grid);
            best.offer(row(sign * reach * share / grid.max as f32), w, grid);
        }
    } else {
        for l in shares(STEPS / 4) {
            for h in shares(STEPS / 4) {
                best.offer(grid.asymmetric(low * l, high * h), w, grid);
            }
        }
    }
    for _ in 0..ROUNDS {
        let Some(scale) = least_squares(w, best.row, grid) else { break };
        if !best.offer(Row { scale: grid.stored(scale), ..best.row }, w, grid) {
            break;
        }
    }
    best.row
}

struct Best {
    row: Row,
    error: f64,
}

impl Best {
    fn offer(&mut self, row: Row, w: &[f32], grid: &Grid) -> bool {
        let error = row.error(w, grid);
        let better = error < self.error;
        if better {
            *self = Best { row, error };
        }
        better
    }
}

/// The scale that fits the codes of `row` best.
fn least_squares(w: &[f32], row: Row, grid: &Grid) -> Option<f32> {
    let (mut above, mut below) = (0.0f64, 0.0f64);
    for &x in w {
        let q = f64::from(row.code(x, grid)) - f64::from(row.zero);
        above += q * f64::from(x);
        below += q * q;
    }
    (below > 0.0 && above != 0.0).then(|| (above / below) as f32)
}
