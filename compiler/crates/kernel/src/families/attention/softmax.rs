//! The softmax of a tile: each lane is a query, so nothing is reduced across lanes.

use super::emit::{Block, Tile};
use crate::families::walk::bump;
use mnnc_vector::{KernelBuilder, Var, Vector};

/// Keys of a loop iteration.
const UNROLL: usize = 4;

/// Before the first block.
pub fn begin(b: &mut KernelBuilder, t: &Tile) {
    // Not -∞: a query that has seen no key yet has a difference to its maximum, -∞.
    let lowest = b.splat(f32::MIN);
    t.store(b, t.spec.slot.max, &vec![lowest; t.vectors]);
    if t.spec.blocks > 1 {
        let zero = b.zero();
        t.store(b, t.spec.slot.sum, &vec![zero; t.vectors]);
        t.store(b, t.spec.slot.factor, &vec![lowest; t.vectors]);
    }
}

/// Notes the maximum of scores.
pub fn note(b: &mut KernelBuilder, t: &Tile, scores: &[Vec<Vector>]) {
    let max = t.load(b, t.spec.slot.max);
    let new: Vec<Vector> = (0..t.vectors).map(|v| scores.iter().fold(max[v], |m, row| b.max(m, row[v]))).collect();
    t.store(b, t.spec.slot.max, &new);
}

/// Turns the scores of a block into weights relative to the maximum so far.
pub fn emit(b: &mut KernelBuilder, t: &Tile, block: &Block) {
    let (slot, vectors) = (&t.spec.slot, t.vectors);
    let line = t.line();
    let max = t.load(b, slot.max);
    let sums: Vec<Var<Vector>> = (0..vectors)
        .map(|_| {
            let zero = b.zero();
            b.var(zero)
        })
        .collect();
    let scores = t.part(b, slot.scores);
    let at = b.var(scores);
    let weigh = |b: &mut KernelBuilder, keys: usize| {
        for i in 0..keys * vectors {
            let mem = b.get(at).at((4 * i * t.lanes) as i32);
            let score = b.load(mem);
            let below = b.sub(score, max[i % vectors]);
            let weight = b.exp_nonpositive(below);
            b.store(weight, mem);
            let sum = b.get(sums[i % vectors]);
            let sum = b.add(sum, weight);
            b.set(sums[i % vectors], sum);
        }
        bump(b, at, keys * line, 0);
    };
    b.repeat((block.keys / UNROLL) as u64, |b| weigh(b, UNROLL));
    if !block.keys.is_multiple_of(UNROLL) {
        weigh(b, block.keys % UNROLL);
    }
    let mut sums: Vec<Vector> = sums.iter().map(|&v| b.get(v)).collect();
    if t.spec.blocks == 1 {
        finish(b, t, &sums);
        return;
    }
    // `sum` holds the sum relative to the previous maximum, which `partial` is relative to as well.
    let before = t.load(b, slot.sum);
    let old = t.load(b, slot.factor);
    let mut factors = Vec::new();
    for v in 0..vectors {
        let below = b.sub(old[v], max[v]);
        let factor = b.exp_nonpositive(below);
        sums[v] = b.fma(sums[v], before[v], factor);
        factors.push(factor);
    }
    t.store(b, slot.sum, &sums);
    t.store(b, slot.factor, &factors);
}

/// After the weighted sums of a block: its maximum is the previous one now.
pub fn advance(b: &mut KernelBuilder, t: &Tile) {
    let max = t.load(b, t.spec.slot.max);
    t.store(b, t.spec.slot.factor, &max);
}

/// After the last block.
pub fn end(b: &mut KernelBuilder, t: &Tile) {
    let sums = t.load(b, t.spec.slot.sum);
    finish(b, t, &sums);
}

/// The factors that the weighted sums lack.
fn finish(b: &mut KernelBuilder, t: &Tile, sums: &[Vector]) {
    let one = b.splat(1.0);
    let factors: Vec<Vector> = sums
        .iter()
        .map(|&sum| {
            let factor = b.div(one, sum);
            if !t.spec.a.zero_blind {
                return factor;
            }
            let (blind, zero) = (b.eq(sum, 0.0), b.zero());
            b.select(blind, zero, factor)
        })
        .collect();
    t.store(b, t.spec.slot.factor, &factors);
}
