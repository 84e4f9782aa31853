//! Register tiles: how the output pixels of an image are cut into pieces that fit the register file.

use crate::families::igemm::spec::Number;
use mnnc_vector::Target;

/// A rectangle of output pixels computed at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Tile {
    /// Pixels.
    pub fn pixels(self) -> usize {
        self.rows * self.cols
    }
}

/// `len` cut into runs of equal pieces, longest first: at most two runs, whose pieces differ by one. Even pieces lose less than full
/// ones with a remainder (14+14+14+7 against 13+12+12+12 costs 10 to 13 %).
///
/// Returns `(piece, how many)` pairs.
pub fn split_evenly(len: usize, max: usize) -> Vec<(usize, usize)> {
    if len == 0 {
        return Vec::new();
    }
    let pieces = len.div_ceil(max.max(1));
    let (short, longer) = (len / pieces, len % pieces);
    let mut runs = Vec::new();
    if longer > 0 {
        runs.push((short + 1, longer));
    }
    if longer < pieces {
        runs.push((short, pieces - longer));
    }
    runs
}

/// Rows and columns of the tiles of an image of `width` columns when `max` pixels fit the registers: several whole rows where
/// the image is narrow, else a part of one row.
pub fn tile_rows(width: usize, height: usize, max: usize) -> usize {
    if width >= max { 1 } else { (max / width).clamp(1, height.max(1)) }
}

/// Most output pixels for a tile of `blocks` channel vectors: accumulators, the weights of one step and one
/// broadcast have to fit, with one register to spare.
pub fn max_pixels(target: &Target, blocks: usize) -> usize {
    let regs = target.vec_regs();
    ((regs - 2 - blocks) / blocks).clamp(1, 28)
}

/// As [`max_pixels`], for products of these numbers: bytes that no instruction multiplies as they are stand split in two registers, and
/// their products in one more.
pub fn max_pixels_of(target: &Target, number: Number, blocks: usize) -> usize {
    if number != Number::U8 || target.has_dot_u8s8() {
        return max_pixels(target, blocks);
    }
    (target.vec_regs().saturating_sub(4 + 2 * blocks) / blocks).clamp(1, 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_splits_cover_the_length() {
        for len in 1..200 {
            for max in 1..30 {
                let runs = split_evenly(len, max);
                assert_eq!(runs.iter().map(|(p, n)| p * n).sum::<usize>(), len);
                assert!(runs.len() <= 2 && runs.iter().all(|&(p, n)| p <= max && p > 0 && n > 0));
            }
        }
        assert_eq!(split_evenly(49, 14), vec![(13, 1), (12, 3)]);
        assert_eq!(split_evenly(56, 14), vec![(14, 4)]);
    }

    #[test]
    fn the_measured_tiles_come_out() {
        assert_eq!(max_pixels(&Target::AVX512, 2), 14);
        assert_eq!(max_pixels(&Target::AVX512, 3), 9);
        assert_eq!(max_pixels(&Target::AVX2, 2), 6);
        assert_eq!(tile_rows(7, 7, 14), 2);
        assert_eq!(tile_rows(56, 56, 14), 1);
    }
}
