//! Scores: keys times turned queries.

use super::emit::{Block, Tile};
use super::softmax;
use crate::families::tile::{max_pixels, split_evenly};
use crate::families::walk::bump;
use mnnc_vector::{Cmp, Gpr, KernelBuilder, Var, Vector};

/// Steps of the reduction in a loop iteration.
const UNROLL: usize = 4;

/// Writes the scaled queries of a tile as `[depth][queries]`. Lanes beyond the last query repeat it.
pub fn turn_queries(b: &mut KernelBuilder, t: &Tile) {
    let (a, lanes) = (&t.spec.a, t.lanes);
    let line = t.line();
    let to = t.part(b, t.spec.slot.queries);
    let scale = b.splat(a.scale);
    if a.q.col != 1 && a.depth != 1 {
        let (from, to): (Var<Gpr>, Var<Gpr>) = (b.var(t.q), b.var(to));
        b.repeat(a.depth as u64, |b| {
            for v in 0..t.vectors {
                let disp = (4 * v * lanes) as i32;
                let x = b.load_part(b.get(from).at(disp), t.live(v));
                let x = b.mul(x, scale);
                b.store(x, b.get(to).at(disp));
            }
            bump(b, from, 4 * a.q.col, 0);
            bump(b, to, line, 0);
        });
        return;
    }
    for v in 0..t.vectors {
        let (from, to): (Var<Gpr>, Var<Gpr>) = (b.var(t.q), b.var(to));
        let square = |b: &mut KernelBuilder, n: usize| {
            let rows: Vec<Vector> = (0..lanes)
                .map(|i| {
                    let row = (v * lanes + i).min(t.rows - 1);
                    b.load_part(b.get(from).at((4 * row * a.q.row) as i32), n)
                })
                .collect();
            for (e, x) in b.transpose(&rows).into_iter().take(n).enumerate() {
                let x = b.mul(x, scale);
                b.store(x, b.get(to).at((e * line + 4 * v * lanes) as i32));
            }
        };
        b.repeat((a.depth / lanes) as u64, |b| {
            square(b, lanes);
            bump(b, from, 4 * lanes, 0);
            bump(b, to, lanes * line, 0);
        });
        if !a.depth.is_multiple_of(lanes) {
            square(b, a.depth % lanes);
        }
    }
}

/// Writes the scores of a block, masks added, and notes their maximum.
pub fn emit(b: &mut KernelBuilder, t: &Tile, block: &Block) {
    let a = &t.spec.a;
    // Rows of k that are a multiple of 4 KiB apart fall into one set of L1.
    let ways = if (4 * a.k.row).is_multiple_of(4096) { 10 } else { usize::MAX };
    let most = max_pixels(&b.target(), t.vectors).min(ways);
    let out = t.part(b, t.spec.slot.scores);
    let (k, out, first) = (b.var(block.k), b.var(out), b.var(block.first));
    let masks: Vec<Var<Gpr>> = block.masks.iter().map(|&m| b.var(m)).collect();
    for (keys, count) in split_evenly(block.keys, most) {
        b.repeat(count as u64, |b| {
            let sums = products(b, t, k, keys);
            let sums = masked(b, t, sums, first, &masks);
            softmax::note(b, t, &sums);
            let to = b.get(out);
            for (i, &x) in sums.iter().flatten().enumerate() {
                b.store(x, to.at((4 * i * t.lanes) as i32));
            }
            bump(b, k, 4 * keys * a.k.row, 0);
            bump(b, out, keys * t.line(), 0);
            bump(b, first, keys, 0);
            for (&p, m) in masks.iter().zip(&a.masks) {
                bump(b, p, 4 * keys * m.col, 0);
            }
        });
    }
}

/// A tile of `keys` rows of k times all queries.
fn products(b: &mut KernelBuilder, t: &Tile, k: Var<Gpr>, keys: usize) -> Vec<Vec<Vector>> {
    let (a, vectors) = (&t.spec.a, t.vectors);
    let line = t.line();
    let sums: Vec<Var<Vector>> = (0..keys * vectors)
        .map(|_| {
            let zero = b.zero();
            b.var(zero)
        })
        .collect();
    let (from, turned) = (b.get(k), t.part(b, t.spec.slot.queries));
    let (kp, qp) = (b.var(from), b.var(turned));
    let steps = |b: &mut KernelBuilder, n: usize| {
        for s in 0..n {
            let (kp, qp) = (b.get(kp), b.get(qp));
            let queries: Vec<Vector> =
                (0..vectors).map(|v| b.load(qp.at((s * line + 4 * v * t.lanes) as i32))).collect();
            for j in 0..keys {
                let x = b.broadcast(kp.at((4 * (j * a.k.row + s * a.k.col)) as i32));
                for (v, &q) in queries.iter().enumerate() {
                    let var = sums[j * vectors + v];
                    let sum = b.get(var);
                    let sum = b.fma(sum, x, q);
                    b.set(var, sum);
                }
            }
        }
        bump(b, kp, 4 * n * a.k.col, 0);
        bump(b, qp, n * line, 0);
    };
    b.repeat((a.depth / UNROLL) as u64, |b| steps(b, UNROLL));
    if !a.depth.is_multiple_of(UNROLL) {
        steps(b, a.depth % UNROLL);
    }
    sums.chunks(vectors).map(|row| row.iter().map(|&v| b.get(v)).collect()).collect()
}

/// The scores with masks added and, if causal, later keys out of sight.
fn masked(
    b: &mut KernelBuilder,
    t: &Tile,
    mut sums: Vec<Vec<Vector>>,
    first: Var<Gpr>,
    masks: &[Var<Gpr>],
) -> Vec<Vec<Vector>> {
    for (&p, m) in masks.iter().zip(&t.spec.a.masks) {
        for (j, row) in sums.iter_mut().enumerate() {
            let at = |v: usize| b_at(j * m.col + if m.row == 0 { 0 } else { v * t.lanes });
            let shared = (m.row == 0).then(|| b.broadcast(b.get(p).at(at(0))));
            for (v, x) in row.iter_mut().enumerate() {
                let addend = match shared {
                    Some(s) => s,
                    None => b.load_part(b.get(p).at(at(v)), t.live(v)),
                };
                *x = b.add(*x, addend);
            }
        }
    }
    if t.spec.a.causal {
        let never = b.splat(f32::NEG_INFINITY);
        for v in 0..t.vectors {
            let own: Vec<u32> = (0..t.lanes).map(|i| (v * t.lanes + i) as u32).collect();
            let (own, tile) = (b.table(&own), b.splat_gpr(t.first));
            let query = b.add_i32(own, tile);
            for (j, row) in sums.iter_mut().enumerate() {
                let key = b.get(first);
                let key = b.int_add(key, j as i32);
                let key = b.splat_gpr(key);
                let hidden = b.cmp_i32(Cmp::Gt, key, query);
                row[v] = b.select(hidden, never, row[v]);
            }
        }
    }
    sums
}

/// Elements as a displacement.
fn b_at(elements: usize) -> i32 {
    (4 * elements) as i32
}
