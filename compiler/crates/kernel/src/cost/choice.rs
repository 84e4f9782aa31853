//! The ways to compute a product, among which is chosen.

use super::{Problem, Tiling};
use crate::families::tile::max_pixels_of;
use crate::families::winograd::{Phases, Size};
use mnnc_vector::Target;
use std::fmt;

/// A schedule of a product.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Choice {
    /// As defined, by the implicit GEMM.
    Direct(Direct),
    /// By transformed tiles.
    Winograd(Winograd),
}

/// How the implicit GEMM is cut.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Direct {
    /// Channel vectors of a panel of weights. The last panel may have others.
    pub blocks: usize,
    /// Rows and most columns of a register tile.
    pub tile: [usize; 2],
    /// Output rows of a unit, a multiple of the tile's rows or all: all panels pass over a unit before the next begins.
    pub group_rows: usize,
    /// One panel passes over all images before the next begins: weights are read once, inputs once a panel.
    pub panels_outside: bool,
}

impl Direct {
    /// As the cut of an output.
    pub fn tiling(&self) -> Tiling {
        let [tile_rows, tile_cols] = self.tile;
        Tiling { tile_rows, tile_cols, group_rows: self.group_rows, panels_outside: self.panels_outside }
    }
}

/// How tiles are transformed.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Winograd {
    /// Outputs of a tile.
    pub size: Size,
    /// Rows of tiles that are transformed and multiplied together.
    pub band: usize,
    /// Images, or [phases](Phases) of their rows, whose tiles are multiplied together; more than one only where a band is a whole image.
    pub images: usize,
}

impl Choice {
    /// Whether the code for this choice exists: it computes the problem, and its tiles fit the registers.
    pub fn fits(&self, p: &Problem, target: &Target) -> bool {
        match *self {
            Choice::Direct(d) => {
                let [rows, cols] = d.tile;
                let blocks = p.outputs.div_ceil(target.lanes());
                (1..=blocks).contains(&d.blocks)
                    && (1..=p.out[0]).contains(&rows)
                    && (1..=p.out[1]).contains(&cols)
                    && rows.checked_mul(cols).is_some_and(|n| n <= max_pixels_of(target, p.number, d.blocks))
                    && d.blocks < target.vec_regs() / 2
                    && (1..=p.out[0]).contains(&d.group_rows)
                    && (d.group_rows.is_multiple_of(rows) || d.group_rows == p.out[0])
                    && !(d.panels_outside && p.own_weights)
            }
            Choice::Winograd(w) => {
                let phases = Phases::new(p, w.size);
                let rows = phases.tiles(0);
                p.is_winograd(target)
                    && w.size.taps() == p.window.kernel
                    && (1..=rows).contains(&w.band)
                    && (1..=p.images * phases.count(0)).contains(&w.images)
                    && (w.images == 1 || w.band == rows)
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Direct(d) => {
                let [rows, cols] = d.tile;
                write!(f, "{rows}x{cols} pixels, {} vectors, {} rows", d.blocks, d.group_rows)?;
                f.write_str(if d.panels_outside { ", panels outside" } else { "" })
            }
            Choice::Winograd(w) if w.images > 1 => write!(f, "{}, {} images", w.size, w.images),
            Choice::Winograd(w) => write!(f, "{}, {} rows of tiles", w.size, w.band),
        }
    }
}
