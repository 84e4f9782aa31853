//! The buffers between the steps of a band: how large they are, and how they are kept small.
//!
//! A band's products are made for some output blocks after the other, in two buffers by turns. The smaller buffers stay in L2, and the tiles are read again for every
//! group, which costs nothing as long as L2 holds them, too. Where the buffers would make the workspace of the whole model larger, groups become
//! smaller, and bands lower, as far as that costs little time.

use super::{Cut, Phases};
use crate::cost::{Class, Problem};
use crate::lowering::Lowering;

/// Most groups of output blocks: tiles that L2 does not hold are read again for each.
const MOST_GROUPS: usize = 8;
/// What a lower band may cost, in units of the best.
const DEARER: f64 = 1.05;

/// Sizes of the buffers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Scratch {
    /// Bytes of the transformed tiles of a band.
    pub tiles: usize,
    /// Bytes of the products of the largest group.
    pub products: usize,
    /// Buffers for products.
    buffers: usize,
    /// Most output blocks of a group; a panel that is wider is a group of its own.
    most: usize,
}

/// Bytes of one product of a band: all channel blocks of all tiles, and a line more.
pub(super) fn product(blocks: usize, tiles: usize, lanes: usize) -> usize {
    blocks * tiles * lanes * 4 + 64
}

impl Scratch {
    /// The band, and its buffers.
    pub fn choose(p: &Problem, cut: Cut, lo: &Lowering) -> (Cut, Scratch) {
        let spare = lo.spare();
        let size = |cut: &Cut, groups| Scratch::new(p, cut, groups, lo);
        let cut = lo.planner().with_band(p, cut, DEARER, |w| size(w, MOST_GROUPS).bytes() <= spare);
        let within = (1..=MOST_GROUPS).map(|n| size(&cut, n)).find(|s| s.bytes() <= spare);
        (cut, within.unwrap_or_else(|| size(&cut, MOST_GROUPS)))
    }

    /// Of all buffers.
    pub fn bytes(&self) -> usize {
        self.tiles + self.buffers * self.products
    }

    /// With so many groups at least.
    fn new(p: &Problem, cut: &Cut, groups: usize, lo: &Lowering) -> Scratch {
        let (lanes, l2) = (lo.target().lanes(), lo.planner().l2());
        let [rows, cols] = Phases::new(p, cut.size).grid();
        let (n, count) = (cut.size.products(), cut.images * cut.band.min(rows) * cols);
        let blocks = p.outputs.div_ceil(lanes);
        let tiles = n * product(p.inputs.div_ceil(lanes), count, lanes);
        // Products that stay in L2 with the tiles.
        let near = l2 / 4 / (n * product(1, count, lanes));
        let near = if tiles <= l2 / 2 { near.max(1) } else { blocks };
        let most = near.min(blocks.div_ceil(groups));
        let widths = Scratch { tiles, products: 0, buffers: 0, most };
        let classes = lo.planner().band_classes(&lo.planner().band_problem(p, n, count));
        let of = |g: &Vec<(usize, usize)>| g.iter().map(|&(i, panels)| classes[i].blocks * panels).sum();
        let groups = widths.groups(&classes);
        let widest = groups.iter().map(of).max().unwrap_or(0);
        Scratch { products: n * product(widest, count, lanes), buffers: groups.len().min(2), ..widths }
    }

    /// The panels of each group, `(class, how many)`, in order.
    pub fn groups(&self, classes: &[Class]) -> Vec<Vec<(usize, usize)>> {
        let blocks: usize = classes.iter().map(|c| c.blocks * c.panels).sum();
        // Groups of equal size, if panels allow.
        let even = blocks.div_ceil(blocks.div_ceil(self.most.max(1)).max(1));
        let mut out: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut room = 0;
        for (i, class) in classes.iter().enumerate() {
            let mut left = class.panels;
            while left > 0 {
                let mut n = (room / class.blocks).min(left);
                if n == 0 {
                    out.push(Vec::new());
                    room = even.max(class.blocks);
                    n = (room / class.blocks).min(left);
                }
                if let Some(group) = out.last_mut() {
                    group.push((i, n));
                }
                room -= n * class.blocks;
                left -= n;
            }
        }
        out
    }
}
