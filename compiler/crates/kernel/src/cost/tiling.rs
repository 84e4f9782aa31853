//! How the output of a product is cut.

use crate::families::tile::split_evenly;

/// How the output of one kernel is cut into units of work and register tiles.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tiling {
    /// Rows of a register tile.
    pub tile_rows: usize,
    /// Most columns of a register tile; a row is cut into even pieces no wider.
    pub tile_cols: usize,
    /// Rows of a unit: a multiple of `tile_rows`, or all rows of the output. Each unit reads one panel of weights.
    pub group_rows: usize,
    /// All units of one panel, over all images, come before those of the next, so that weights are read once; else all panels pass
    /// over one unit's pixels.
    pub panels_outside: bool,
}

impl Tiling {
    /// One tile of one pixel after the other.
    pub const PIXEL: Tiling = Tiling { tile_rows: 1, tile_cols: 1, group_rows: 1, panels_outside: false };

    /// Units along the rows of an output.
    pub fn groups(&self, rows: usize) -> usize {
        rows.div_ceil(self.group_rows)
    }

    /// Column counts of the tiles of a row: `(columns, how many)`.
    pub fn columns(&self, cols: usize) -> Vec<(usize, usize)> {
        split_evenly(cols, self.tile_cols)
    }

    /// Tiles of an output of these rows and columns.
    pub fn tiles(&self, [rows, cols]: [usize; 2]) -> usize {
        rows.div_ceil(self.tile_rows) * cols.div_ceil(self.tile_cols)
    }
}
