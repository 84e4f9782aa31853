//! Weighted sums of the rows of v.

use super::emit::{Block, Tile};
use super::softmax;
use crate::families::tile::{max_pixels, split_evenly};
use crate::families::walk::bump;
use mnnc_vector::{Gpr, KernelBuilder, Var, Vector};

/// Keys of a loop iteration.
const UNROLL: usize = 2;

/// Columns `first ..` of v and y that a pass computes: `vectors`, the last with `lanes` lanes.
struct Columns {
    first: usize,
    vectors: usize,
    last: usize,
}

/// Two vectors a pass measured best; for a few queries more of them, so that enough sums are in flight.
fn columns(b: &KernelBuilder, t: &Tile) -> Vec<Columns> {
    let (width, lanes) = (t.spec.a.width, t.lanes);
    let all = width.div_ceil(lanes);
    let most = (8 / t.rows).clamp(2, b.target().vec_regs() / 4);
    let mut first = 0;
    let mut out = Vec::new();
    for (vectors, count) in split_evenly(all, most) {
        for _ in 0..count {
            let last = (width - (first + vectors - 1) * lanes).min(lanes);
            out.push(Columns { first, vectors, last });
            first += vectors;
        }
    }
    out
}

fn partial_row(t: &Tile) -> usize {
    4 * t.spec.a.width.next_multiple_of(t.lanes)
}

/// Before the first of several blocks: no sum yet.
pub fn begin(b: &mut KernelBuilder, t: &Tile) {
    let at = t.part(b, t.spec.slot.partial);
    let zero = b.zero();
    let bytes = t.rows * partial_row(t);
    b.for_range(0, bytes as i32, (4 * t.lanes) as i32, |b, i| b.store(zero, at.at_index(i, 1, 0)));
}

/// Adds a block to the sums, or gives the result if it is the only one.
pub fn emit(b: &mut KernelBuilder, t: &Tile, block: &Block) {
    let partial = t.part(b, t.spec.slot.partial);
    for c in columns(b, t) {
        let mut first = 0;
        for (rows, count) in split_evenly(t.rows, max_pixels(&b.target(), c.vectors)) {
            for _ in 0..count {
                pass(b, t, block, &c, first, rows, partial);
                first += rows;
            }
        }
    }
    if t.spec.blocks > 1 {
        softmax::advance(b, t);
    }
}

/// Queries `first .. first + rows`.
fn pass(b: &mut KernelBuilder, t: &Tile, block: &Block, c: &Columns, first: usize, rows: usize, partial: Gpr) {
    let (spec, lanes) = (t.spec, t.lanes);
    let only = spec.blocks == 1;
    let stored = |r: usize, j: usize| ((first + r) * partial_row(t) + 4 * (c.first + j) * lanes) as i32;
    let factor = |r: usize| t.slot.at((spec.slot.factor + 4 * (first + r)) as i32);
    let mut sums: Vec<Var<Vector>> = Vec::new();
    for r in 0..rows {
        let scale = (!only).then(|| b.broadcast(factor(r)));
        for j in 0..c.vectors {
            let start = match scale {
                None => b.zero(),
                Some(f) => {
                    let before = b.load(partial.at(stored(r, j)));
                    b.mul(before, f)
                }
            };
            sums.push(b.var(start));
        }
    }
    accumulate(b, t, block, c, first, rows, &sums);
    for r in 0..rows {
        let scale = only.then(|| b.broadcast(factor(r)));
        for j in 0..c.vectors {
            let sum = b.get(sums[r * c.vectors + j]);
            match scale {
                None => b.store(sum, partial.at(stored(r, j))),
                Some(f) => {
                    let y = b.mul(sum, f);
                    let at = 4 * ((first + r) * spec.a.y.row + (c.first + j) * lanes);
                    b.store_part(y, t.y.at(at as i32), lanes_of(c, j, lanes));
                }
            }
        }
    }
}

fn lanes_of(c: &Columns, j: usize, lanes: usize) -> usize {
    if j + 1 == c.vectors { c.last } else { lanes }
}

fn accumulate(
    b: &mut KernelBuilder,
    t: &Tile,
    block: &Block,
    c: &Columns,
    first: usize,
    rows: usize,
    sums: &[Var<Vector>],
) {
    let lanes = t.lanes;
    let line = t.line();
    let weights = t.part(b, t.spec.slot.scores);
    let (wp, vp): (Var<Gpr>, Var<Gpr>) = (b.var(weights), b.var(block.v));
    if !c.last.is_power_of_two() {
        b.tail_mask(c.last);
    }
    let steps = |b: &mut KernelBuilder, n: usize| {
        for s in 0..n {
            let (wp, vp) = (b.get(wp), b.get(vp));
            let values: Vec<Vector> = (0..c.vectors)
                .map(|j| {
                    let at = 4 * (s * t.spec.a.v.row + (c.first + j) * lanes);
                    b.load_part(vp.at(at as i32), lanes_of(c, j, lanes))
                })
                .collect();
            for r in 0..rows {
                let w = b.broadcast(wp.at((s * line + 4 * (first + r)) as i32));
                for (j, &v) in values.iter().enumerate() {
                    let var = sums[r * c.vectors + j];
                    let sum = b.get(var);
                    let sum = b.fma(sum, w, v);
                    b.set(var, sum);
                }
            }
        }
        bump(b, wp, n * line, 0);
        bump(b, vp, 4 * n * t.spec.a.v.row, 0);
    };
    b.repeat((block.keys / UNROLL) as u64, |b| steps(b, UNROLL));
    if !block.keys.is_multiple_of(UNROLL) {
        steps(b, block.keys % UNROLL);
    }
}

/// After the last of several blocks: the result.
pub fn end(b: &mut KernelBuilder, t: &Tile) {
    let (spec, lanes) = (t.spec, t.lanes);
    let partial = t.part(b, spec.slot.partial);
    let factors = t.part(b, spec.slot.factor);
    let (from, to, factor) = (b.var(partial), b.var(t.y), b.var(factors));
    b.repeat(t.rows as u64, |b| {
        let f = b.broadcast(b.get(factor).at(0));
        for c in columns(b, t) {
            for j in 0..c.vectors {
                let at = (4 * (c.first + j) * lanes) as i32;
                let sum = b.load(b.get(from).at(at));
                let y = b.mul(sum, f);
                b.store_part(y, b.get(to).at(at), lanes_of(&c, j, lanes));
            }
        }
        bump(b, from, partial_row(t), 0);
        bump(b, to, 4 * spec.a.y.row, 0);
        bump(b, factor, 4, 0);
    });
}
