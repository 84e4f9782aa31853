//! What happens to sums: bias, epilogue and store.
//!
//! The multiplier would wait for the epilogue of a pair of tiles: what comes behind it does not fit the core's window of instructions. So the sums of
//! a pair wait in the scratch area, and are finished a few pixels at a time between the last steps of the next pair.

use super::super::spec::Number;
use super::emit::{Emitter, ROW, Unit};
use super::plan::{Pair, Run};
use crate::families::walk::{Results, add, bump};
use mnnc_vector::{Cond, Gpr, KernelBuilder, Var, Vector};

/// Most instructions of an epilogue that is written out for every pixel of a run.
const SHORT: usize = 6;
/// Most instructions of one that is written out for all pixels of a pair.
const BETWEEN: usize = 12;
/// Pixels that are finished at once between two steps: bytes of so many are stored together.
const PIECE: usize = 4;

/// Sums that are finished while the next pair is multiplied.
pub(super) struct Waiting {
    /// Where their first result belongs.
    results: Results,
    sums: Var<Gpr>,
    /// 0 if there are none.
    there: Var<Gpr>,
}

impl Waiting {
    pub(super) fn new(b: &mut KernelBuilder, results: &Results, sums: Gpr) -> Waiting {
        let none = b.int(0);
        Waiting { results: results.fork(b), sums: b.var(sums), there: b.var(none) }
    }
}

/// Runs, counted from the first pixel of the first of them.
fn relative(runs: &[Run]) -> Vec<Run> {
    let first = runs.first().map_or([0, 0], |r| r.at);
    runs.iter().map(|r| Run { at: [r.at[0] - first[0], r.at[1] - first[1]], ..*r }).collect()
}

impl Emitter<'_> {
    /// The pixels of the pairs that may wait; all have the same. Empty where none does: in chunks the last one of several is too short to hide an epilogue
    /// (measured: a tenth slower).
    pub(super) fn waiting_runs(&self) -> Vec<Run> {
        let short = self.spec.epilogue.as_ref().is_none_or(|f| f.nodes.len() <= BETWEEN);
        match self.plan.strip.first() {
            Some(pair) if short && !self.plan.chunked && self.plan.pairs() > 1 => relative(&pair.runs),
            _ => Vec::new(),
        }
    }

    /// What is finished after each of so many steps.
    pub(super) fn pieces(&self, steps: usize) -> Vec<Vec<Run>> {
        let cut = |r: &Run| {
            let r = *r;
            (0..r.count).step_by(PIECE).map(move |i| Run {
                at: [r.at[0], r.at[1] + i],
                count: PIECE.min(r.count - i),
                scratch: r.scratch + i,
            })
        };
        let all: Vec<Run> = self.waiting.iter().flat_map(cut).collect();
        (0..steps).map(|s| all[s * all.len() / steps..(s + 1) * all.len() / steps].to_vec()).collect()
    }

    /// Finishes a piece of what waits.
    pub(super) fn between(&self, b: &mut KernelBuilder, unit: &Unit, piece: &[Run]) {
        if piece.is_empty() {
            return;
        }
        let there = b.get(unit.waiting.there);
        b.if_(Cond::Gt, there, 0, |b| {
            for run in piece {
                self.pixels(b, unit, &unit.waiting.results, unit.waiting.sums, run);
            }
        });
    }

    /// The sums of a pair are there: they wait if they may, or are finished.
    pub(super) fn done(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, pair: &Pair) {
        let waits = !self.waiting.is_empty() && relative(&pair.runs) == self.waiting;
        let sums = b.get(unit.sums);
        if waits {
            let first = pair.runs[0].at;
            let place = results.fork(b);
            place.bump(b, &self.spec.output, &self.spec.sides, first[0], first[1] as isize);
            unit.waiting.results.follow(b, &place);
            b.set(unit.waiting.sums, sums);
        } else {
            let sums = b.var(sums);
            pair.runs.iter().for_each(|run| self.finish(b, unit, results, sums, run));
        }
        if !self.waiting.is_empty() {
            let there = b.int(i64::from(waits));
            b.set(unit.waiting.there, there);
        }
    }

    /// Finishes what waits at the end of a unit.
    pub(super) fn finish_waiting(&self, b: &mut KernelBuilder, unit: &Unit) {
        if self.waiting.is_empty() {
            return;
        }
        let Waiting { results, sums, there } = &unit.waiting;
        let left = b.get(*there);
        b.if_(Cond::Gt, left, 0, |b| self.waiting.iter().for_each(|run| self.finish(b, unit, results, *sums, run)));
    }

    /// Bias, epilogue and store of a run of pixels, counted from these places on.
    fn finish(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, sums: Var<Gpr>, run: &Run) {
        let spec = self.spec;
        let short = spec.epilogue.as_ref().is_none_or(|f| f.nodes.len() <= SHORT);
        let together = match spec.output.number {
            _ if short => 16,
            Number::U8 => 4,
            _ => 2,
        };
        if run.count <= together {
            return self.pixels(b, unit, results, sums, run);
        }
        let results = results.fork(b);
        results.bump(b, &spec.output, &spec.sides, run.at[0], run.at[1] as isize);
        let base = b.get(sums);
        let first = add(b, base, run.scratch * self.width());
        let sums = b.var(first);
        let pixels = |b: &mut KernelBuilder, count: usize| {
            self.pixels(b, unit, &results, sums, &Run { at: [0, 0], count, scratch: 0 });
        };
        b.repeat((run.count / together) as u64, |b| {
            pixels(b, together);
            bump(b, sums, together * self.width(), 0);
            results.bump(b, &spec.output, &spec.sides, 0, together as isize);
        });
        pixels(b, run.count % together);
    }

    /// As [`finish`](Self::finish), without a loop; bytes are narrowed and stored several vectors at a time.
    fn pixels(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, sums: Var<Gpr>, run: &Run) {
        let (spec, [row, col]) = (self.spec, run.at);
        if spec.output.number == Number::U8 && run.count > 0 {
            let values: Vec<Vector> = (0..run.count).flat_map(|p| self.sums(b, unit, sums, run.scratch + p)).collect();
            let shape = [1, run.count, spec.blocks];
            return results.store_tile_at(b, &spec.output, &spec.sides, &values, shape, spec.last_lanes, run.at);
        }
        for p in 0..run.count {
            let values = self.sums(b, unit, sums, run.scratch + p);
            if let ([low, high], true) = (&values[..], spec.output.half > 0) {
                results.store_block(b, &spec.output, &spec.sides, [*low, *high], [row, col + p]);
                continue;
            }
            for (j, value) in values.into_iter().enumerate() {
                let lanes = if j + 1 == spec.blocks { spec.last_lanes } else { b.lanes() };
                results.store(b, &spec.output, &spec.sides, value, [row, col + p, j], lanes);
            }
        }
    }

    /// The sums of a pixel, bias included.
    fn sums(&self, b: &mut KernelBuilder, unit: &Unit, sums: Var<Gpr>, pixel: usize) -> Vec<Vector> {
        (0..self.spec.blocks)
            .map(|j| {
                let mem = b.get(sums).at((pixel * self.width() + j * ROW) as i32);
                match self.spec.number {
                    _ if !self.chunks.is_empty() => b.load(mem),
                    Number::U8 => b.add_i32(unit.bias[j], mem),
                    _ => b.add(unit.bias[j], mem),
                }
            })
            .collect()
    }
}
