//! Taps of a filter row that tiles read as the channels of overlapping pixels: of four channels each in first layers, of all channels where they
//! lie together.

use crate::families::igemm::spec::Number;
use crate::families::igemm::spec::Window;
use crate::families::igemm::tiles;
use crate::storage::Halo;
use mnnc_ops::family::conv::{Axis, ConvShape};
use mnnc_vector::Target;

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

/// What tiles read at once of an image of bytes or bf16 whose pixels lie together.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Together {
    /// Channels from pixel to pixel.
    pitch: usize,
    /// Channels that are read for a tap, or for a filter row.
    pub channels: usize,
    /// Whether that is a filter row: its taps follow one another.
    pub rows: bool,
}

/// Channels of a block, to which those of a pixel are filled up: as many as a vector has lanes on processors with tiles.
const BLOCK: usize = 16;
/// Cycles of a vector of sums that are no products: it is stored by tiles, and read again.
const SUMS: usize = 3;

impl Together {
    /// Of pixels of so many channels, `pitch` channels apart.
    pub fn new(window: &Window, channels: usize, pitch: usize) -> Together {
        let own = channels.next_multiple_of(BLOCK);
        let rows = window.dilation[1] == 1 && pitch == own;
        Together { pitch, channels: if rows { window.kernel[1] * own } else { own }, rows }
    }

    /// Of pixels of [four channels](PIXEL), so many taps of a filter row.
    pub fn of_pixels(taps: usize) -> Together {
        Together { pitch: PIXEL, channels: PIXEL * taps, rows: true }
    }

    /// Of the pixels that a convolution of bytes with this many output rows and columns reads, if tiles can, and need less time than vectors.
    pub fn chosen(target: &Target, shape: &ConvShape, window: &Window, out: [usize; 2], pitch: usize) -> Option<Self> {
        let together = Together::new(window, shape.inputs, pitch);
        let fits = shape.groups == 1 && tiles::fits(target, Number::U8, together.bytes(), out);
        (fits && together.pays(window, shape.inputs)).then_some(together)
    }

    /// Elements of the reduction, if channels are bytes.
    fn bytes(&self) -> usize {
        self.channels / Number::U8.element()
    }

    /// Whether tiles of bytes need less time than vectors, which do 128 products a cycle: a row of tiles takes one for each vector of sums.
    fn pays(&self, window: &Window, channels: usize) -> bool {
        let [kh, kw] = window.kernel;
        let products = kh * kw * channels;
        let rows = kh * if self.rows { 1 } else { kw } * self.bytes() / tiles::row(self.bytes());
        products > 8 * (rows + SUMS)
    }

    /// The channel, filter row and column that a channel of what is read is.
    pub fn place(&self, [c, y, x]: [usize; 3]) -> [usize; 3] {
        if self.rows { [c % self.pitch, y, c / self.pitch] } else { [c, y, x] }
    }
}
