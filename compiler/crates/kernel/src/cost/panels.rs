//! How the output channels of a product are cut into panels of weights.

use super::{Problem, Tiling};
use crate::families::tile::{max_pixels_of, split_evenly};
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

/// `blocks` channel blocks in panels of `width`: `(first block, width, panels)`. One block more than whole panels widens the last of
/// them where the registers allow it, because a panel of one block is bound by its loads; else the widths are made even.
pub(super) fn split(target: &Target, blocks: usize, width: usize) -> Vec<(usize, usize, usize)> {
    let width = width.clamp(1, blocks.max(1));
    let (whole, rest) = (blocks / width, blocks % width);
    let runs = match rest {
        0 => vec![(width, whole)],
        1 if target.vec_regs() >= 32 && width < 4 => vec![(width, whole - 1), (width + 1, 1)],
        1 if width == 2 => vec![(2, whole), (1, 1)],
        _ => split_evenly(blocks, width),
    };
    let mut first = 0;
    let mut out = Vec::new();
    for (width, panels) in runs.into_iter().filter(|r| r.1 > 0) {
        out.push((first, width, panels));
        first += width * panels;
    }
    out
}

/// The width that measured best with this number of pixels: with many of them two blocks a panel (14x2 on 32 registers), three if
/// that divides an odd number. With few, as many as the accumulators hold, because several sums have to be in
/// flight; but no more than keep the multiply-add pipes busy, so that there are panels for several threads.
pub(super) fn usual_width(target: &Target, p: &Problem, blocks: usize) -> usize {
    let (pixels, held) = (p.pixels(), p.packing.registers());
    let most = |blocks: usize| max_pixels_of(target, p.number, blocks);
    if pixels < most(2) / 2 + 1 {
        let fits = |&n: &usize| most(n) >= pixels && pixels * n + n * (1 + held) + 2 <= target.vec_regs();
        return (1..=blocks.min(8)).rev().find(fits).unwrap_or(1);
    }
    match blocks {
        5 if target.vec_regs() >= 32 => 5,
        n if n % 2 == 1 && n % 3 == 0 && target.vec_regs() >= 32 => 3,
        n => n.min(2),
    }
}

/// Output pixels that make a unit of half an image worth its overhead.
const HALF: usize = 100;
/// Bytes of weights that stay in the L2 of any machine beside everything else.
const WEIGHTS: usize = 512 << 10;

/// The class with its units halved where a small image would be one unit for each panel, if the weights stay in L2: two threads
/// then share rows, evenly whatever the number of panels, and each reads half of the input only.
pub(super) fn shared(class: Class, p: &Problem) -> Class {
    let (rows, tiling) = (p.out[0], class.tiling);
    let half = rows.div_ceil(2).next_multiple_of(tiling.tile_rows);
    let uneven = (3..8).contains(&class.panels) && !class.panels.is_multiple_of(2);
    let long = p.pixels() >= HALF;
    let small =
        tiling.groups(rows) == 1 && half < rows && p.packing.bytes() * (p.depth() * p.outputs) as f64 <= WEIGHTS as f64;
    if small && (uneven || long) { Class { tiling: Tiling { group_rows: half, ..tiling }, ..class } } else { class }
}

/// Two blocks a panel, as AMX tiles compute them; an odd one is alone. Tiles cut the output by themselves.
pub(super) fn pairs(blocks: usize) -> Vec<Class> {
    let (panels, odd) = (blocks / 2, blocks % 2);
    let class = |first, blocks, panels| Class { first, blocks, panels, tiling: Tiling::PIXEL };
    let all = [class(0, 2, panels), class(blocks - odd, 1, odd)];
    all.into_iter().filter(|c| c.panels > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_blocks() {
        for target in [Target::AVX512, Target::AVX2, Target::NEON] {
            for blocks in 1..100 {
                for width in 1..8 {
                    let mut next = 0;
                    for (first, width, panels) in split(&target, blocks, width) {
                        assert_eq!(first, next);
                        next += width * panels;
                    }
                    assert_eq!(next, blocks);
                }
            }
        }
    }

    #[test]
    fn the_measured_widths_come_out() {
        let widths = |blocks| -> Vec<(usize, usize)> {
            let problem = Problem::matrices(1, 196, 64, 64);
            let width = usual_width(&Target::AVX512, &problem, blocks);
            split(&Target::AVX512, blocks, width).into_iter().map(|(_, w, n)| (w, n)).collect()
        };
        assert_eq!(widths(8), [(2, 4)]);
        assert_eq!(widths(7), [(2, 2), (3, 1)]);
        assert_eq!(widths(9), [(3, 3)]);
        assert_eq!(widths(5), [(5, 1)]);
        assert_eq!(widths(1), [(1, 1)]);
    }
}
