//! How the output channels of a product are cut into panels of weights.

use super::{Problem, Tiling, direct};
use crate::families::tile::{max_pixels, split_evenly};
use mnnc_vector::Target;

/// Panels of equal width, done by one kernel.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Class {
    /// First channel block.
    pub first: usize,
    /// Channel blocks in a panel.
    pub blocks: usize,
    /// Panels.
    pub panels: usize,
    /// How the output is cut.
    pub tiling: Tiling,
}

/// The panels of the output channels of a group. With many pixels, two blocks a panel
/// measured best (14x2 on 32 registers); an odd number of blocks takes three where the registers allow it. With few pixels, as
/// many blocks as the accumulators hold, because several sums have to be in flight.
pub(super) fn panels(target: &Target, p: &Problem) -> Vec<Class> {
    let (pixels, blocks) = (p.pixels(), p.outputs.div_ceil(target.lanes()));
    let widths: Vec<(usize, usize)> = if pixels < max_pixels(target, 2) / 2 + 1 {
        let widest = (1..=blocks.min(14)).rev().find(|&n| max_pixels(target, n) >= pixels && fits(target, n, pixels));
        split_evenly(blocks, widest.unwrap_or(1))
    } else if blocks.is_multiple_of(2) {
        vec![(2, blocks / 2)]
    } else if target.vec_regs() < 32 || blocks < 3 {
        vec![(2, blocks / 2), (1, 1)]
    } else if blocks.is_multiple_of(3) {
        vec![(3, blocks / 3)]
    } else if blocks == 5 {
        vec![(5, 1)]
    } else {
        vec![(2, (blocks - 3) / 2), (3, 1)]
    };
    let mut first = 0;
    let mut out = Vec::new();
    for (blocks, panels) in widths.into_iter().filter(|w| w.1 > 0) {
        out.push(Class { first, blocks, panels, tiling: direct::tiling(target, p, blocks) });
        first += blocks * panels;
    }
    out
}

fn fits(target: &Target, blocks: usize, pixels: usize) -> bool {
    pixels * blocks + blocks + 2 <= target.vec_regs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_blocks() {
        for target in [Target::AVX512, Target::AVX2, Target::NEON] {
            for blocks in 1..100 {
                for out in [[1, 1], [2, 2], [7, 7], [56, 56]] {
                    let p = Problem { out, ..Problem::matrices(1, 1, 64, blocks * target.lanes()) };
                    let classes = panels(&target, &p);
                    let mut next = 0;
                    for c in &classes {
                        assert_eq!(c.first, next);
                        next += c.blocks * c.panels;
                    }
                    assert_eq!(next, blocks);
                }
            }
        }
    }
}
