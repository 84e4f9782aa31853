//! What an attention kernel computes, and how the work is cut.

use mnnc_ops::family::attention::strided::{MatrixView, StridedAttention};
use mnnc_vector::Target;

/// Bytes of scores that are in flight at once: half of the smallest L1 that is about.
const STRIP: usize = 16 << 10;

/// Most units of work, each of which has scratch memory of its own.
const UNITS: usize = 16;

/// An attention with its tiles. The kernel's arguments are q, k, v, the masks, y (each from the first element of its view) and
/// the scratch memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// Sizes and strides. Offsets are in the operands.
    pub a: StridedAttention,
    /// Vectors of queries in a tile; the last may have fewer.
    pub vectors: usize,
    /// Queries of a tile; the last may have fewer.
    pub rows: usize,
    /// Tiles of a head.
    pub tiles: usize,
    /// Keys of a block; the last may have fewer.
    pub keys: usize,
    /// Blocks of keys.
    pub blocks: usize,
    /// Tiles, of all heads in turn, that one unit does.
    pub group: usize,
    /// The scratch memory of a unit.
    pub slot: Slot,
}

/// Offsets in the scratch memory of a unit, in bytes; each part begins at a cache line. A row is `vectors` vectors.
#[derive(Clone, PartialEq, Debug)]
pub struct Slot {
    /// The scaled queries, turned: `depth` rows.
    pub queries: usize,
    /// The scores, then the weights: `keys` rows.
    pub scores: usize,
    /// Rows of statistics, one number a query.
    pub max: usize,
    /// Sum of the weights.
    pub sum: usize,
    /// What a change of the maximum does to everything so far; at the end, the reciprocal of the sum.
    pub factor: usize,
    /// Sums so far, `[queries][width]` in whole vectors; there if the keys are taken in blocks.
    pub partial: usize,
    /// Size.
    pub bytes: usize,
}

impl Spec {
    /// Whether the kernel can read and write these views: vectors along the columns of v and y, along the queries of the masks, and
    /// either way for q.
    pub fn reads(a: &StridedAttention) -> bool {
        let mask = |m: &MatrixView| m.row == 1 || m.row == 0;
        (a.q.col == 1 || a.depth == 1 || a.q.row == 1)
            && (a.v.col == 1 || a.width == 1)
            && (a.y.col == 1 || a.width == 1)
            && a.masks.iter().all(mask)
            && a.matrices().is_some_and(|n| n.checked_mul(a.queries).is_some_and(|n| n < 1 << 31))
    }

    /// Cuts the work for a target.
    pub fn new(a: &StridedAttention, target: &Target) -> Spec {
        let lanes = target.lanes();
        // Four lanes make up for with more vectors: the keys are read once for each tile.
        let most = if lanes == 4 { 4 } else { 2 };
        let all = a.queries.div_ceil(lanes);
        let tiles = all.div_ceil(most);
        // Even tiles, unless that takes one vector more.
        let rows = if tiles == 1 || all.is_multiple_of(most) { a.queries.div_ceil(tiles) } else { most * lanes };
        let vectors = rows.div_ceil(lanes);
        let line = vectors * lanes * 4;
        let blocks = a.keys.div_ceil((STRIP / line).max(32));
        let keys = a.keys.div_ceil(blocks);
        let items = a.matrices().unwrap_or(1) * tiles;
        let mut end = 0;
        let mut part = |bytes: usize| {
            let start = end;
            end += bytes.next_multiple_of(64);
            start
        };
        let partial = if blocks > 1 { rows * a.width.next_multiple_of(lanes) * 4 } else { 0 };
        let slot = Slot {
            queries: part(a.depth * line),
            scores: part(keys * line),
            max: part(line),
            sum: part(line),
            factor: part(line),
            partial: part(partial),
            bytes: 0,
        };
        // One line more, so that the slots of two threads do not fall into the same sets.
        let slot = Slot { bytes: end + 64, ..slot };
        Spec { a: a.clone(), vectors, rows, tiles, keys, blocks, group: items.div_ceil(UNITS), slot }
    }

    /// Tiles of all heads.
    pub fn items(&self) -> usize {
        self.a.matrices().unwrap_or(1) * self.tiles
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.items().div_ceil(self.group)
    }
}
