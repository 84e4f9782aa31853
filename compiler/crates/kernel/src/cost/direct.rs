//! The cut of one panel's output.

use super::{Problem, Tiling};
use crate::families::tile::{max_pixels, tile_rows};
use mnnc_vector::Target;

/// Output pixels of a unit, as measured best.
const UNIT: usize = 200;

pub(super) fn tiling(target: &Target, p: &Problem, blocks: usize) -> Tiling {
    let [rows, cols] = p.out;
    let pixels = max_pixels(target, blocks).min(ways(p));
    let tile_rows = tile_rows(cols, rows, pixels);
    // Few enough rows that the input of the unit stays in L2 while all panels pass over it; a small image is one unit, so that
    // each panel of weights is read once.
    let one = rows * cols <= 2 * UNIT || tile_rows > 1;
    let group_rows = if one { rows } else { (UNIT / cols).max(1) };
    Tiling { tile_rows, tile_cols: pixels / tile_rows, group_rows }
}

/// Most pixels whose elements can be in L1 at once: where they are a multiple of 4 KiB apart, all fall into one set, of 12
/// ways (measured: 14 rows of such a matrix run at half the speed of 12).
fn ways(p: &Problem) -> usize {
    if p.apart > 0 && p.apart.is_multiple_of(4096) { 10 } else { usize::MAX }
}
