//! Where the windows of a tile begin.

use super::Source;
use crate::families::igemm::spec::Strides;
use crate::families::walk::bump;
use mnnc_vector::{Gpr, KernelBuilder, Mem, Var};

/// The input at the windows of the current tile.
pub(super) enum Input {
    /// A pointer into the image.
    Image(Var<Gpr>),
    /// Rows, and the byte offset of the first tap in each.
    Rows(Vec<Gpr>, Var<Gpr>),
}

impl Input {
    /// From the places of a unit on: of the image, or of each row.
    pub fn new(b: &mut KernelBuilder, source: Source, places: Vec<Gpr>) -> Input {
        match source {
            Source::Image => Input::Image(b.var(places[0])),
            Source::Rows => {
                let zero = b.int(0);
                Input::Rows(places, b.var(zero))
            }
        }
    }
    /// The element under tap row `y` and column `x` of the tile.
    pub fn at(&self, b: &KernelBuilder, s: &Strides, y: usize, x: usize) -> Mem {
        match self {
            Input::Image(p) => b.get(*p).at((y * s.row + x * s.pixel) as i32),
            Input::Rows(rows, column) => rows[y].at_index(b.get(*column), 1, (x * s.pixel) as i32),
        }
    }
    /// Moves by `pixels` input columns.
    pub fn forward(&self, b: &mut KernelBuilder, s: &Strides, pixels: usize) {
        let (Input::Image(p) | Input::Rows(_, p)) = *self;
        bump(b, p, pixels * s.pixel, 0);
    }
    /// Moves from the end of a row of `pixels` input columns to the start of the row `rows` input rows further down.
    pub fn next_rows(&self, b: &mut KernelBuilder, s: &Strides, rows: usize, pixels: usize) {
        if let Input::Image(p) = *self {
            bump(b, p, rows * s.row, pixels * s.pixel);
        }
    }
}
