//! Images in memory, from one of their pixels on.

use crate::families::igemm::spec::Strides;
use crate::families::sides::{from_offset, image_strides};
use crate::lowering::Placed;
use crate::schedule::Operand;
use crate::storage::Halo;

/// An image in memory from one of its pixels on.
#[derive(Clone)]
pub struct Region {
    /// The memory; it begins at the pixel.
    pub operand: Operand,
    /// How the image lies.
    pub strides: Strides,
}

impl Region {
    /// All pixels of what is read.
    pub fn read(p: &Placed) -> Region {
        Region::of(p, p.read(), p.storage.offset)
    }

    /// As [`read`](Self::read), from the first tap of the first output pixel on, where windows reach into this border.
    pub fn taps(p: &Placed, halo: Halo) -> Region {
        Region::of(p, p.read(), p.storage.first_tap(halo))
    }

    /// All pixels of what is written.
    pub fn write(p: &Placed) -> Region {
        Region::of(p, p.write(), p.storage.offset)
    }

    fn of(p: &Placed, operand: Operand, offset: usize) -> Region {
        Region { operand: from_offset(&operand, offset), strides: image_strides(&p.storage, &p.storage.dims) }
    }

    /// From row and column `at` on.
    pub fn from(&self, [row, col]: [usize; 2]) -> Region {
        let offset = row * self.strides.row + col * self.strides.pixel;
        Region { operand: from_offset(&self.operand, offset), strides: self.strides }
    }
}
