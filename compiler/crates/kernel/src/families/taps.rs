//! First layers on tiles: the taps of a filter row are read as the channels of overlapping pixels of four channels each.

use crate::families::igemm::spec::Number;
use crate::families::igemm::tiles;
use crate::storage::Halo;
use mnnc_ops::family::conv::Axis;

/// Channels of a pixel.
pub const PIXEL: usize = 4;

/// Taps of a filter row of so many columns, filled up to whole rows of tiles.
pub fn together(columns: usize, number: Number) -> usize {
    columns.next_multiple_of(tiles::ELEMENTS * number.element() / PIXEL)
}

/// The border with all of the last tile row, where so many taps are read together.
pub fn halo(halo: Halo, columns: &Axis, together: usize) -> Halo {
    let end = (columns.output - 1) * columns.stride + together;
    let right = end.saturating_sub(halo.left + columns.input);
    Halo { right: right.max(halo.right), ..halo }
}

/// The channel, filter row and column that a channel of a filter row is.
pub fn place([c, y, _]: [usize; 3]) -> [usize; 3] {
    [c % PIXEL, y, c / PIXEL]
}
