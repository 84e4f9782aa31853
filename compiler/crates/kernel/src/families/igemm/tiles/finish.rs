//! What happens to sums: bias, epilogue and store.

use super::super::spec::Number;
use super::emit::{Emitter, ROW, Unit};
use super::plan::Run;
use crate::families::walk::{Results, add, bump};
use mnnc_vector::{Gpr, KernelBuilder, Var, Vector};

/// Most instructions of an epilogue that is written out for every pixel of a run.
const SHORT: usize = 6;

impl Emitter<'_> {
    /// Bias, epilogue and store of a run of pixels, counted from the first of the pair's strip.
    pub(super) fn finish(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, run: &Run) {
        let spec = self.spec;
        let short = spec.epilogue.as_ref().is_none_or(|f| f.nodes.len() <= SHORT);
        let together = match spec.output.number {
            _ if short => 16,
            Number::U8 => 4,
            _ => 2,
        };
        let results = results.fork(b);
        results.bump(b, &spec.output, &spec.sides, run.at[0], run.at[1] as isize);
        let base = b.get(unit.sums);
        let first = add(b, base, run.scratch * self.width());
        let sums = b.var(first);
        if run.count <= together {
            return self.pixels(b, unit, &results, sums, run.count);
        }
        b.repeat((run.count / together) as u64, |b| {
            self.pixels(b, unit, &results, sums, together);
            bump(b, sums, together * self.width(), 0);
            results.bump(b, &spec.output, &spec.sides, 0, together as isize);
        });
        self.pixels(b, unit, &results, sums, run.count % together);
    }

    /// As [`finish`](Self::finish), of so many pixels from these places on, without a loop; bytes are narrowed and stored several vectors at a time.
    fn pixels(&self, b: &mut KernelBuilder, unit: &Unit, results: &Results, sums: Var<Gpr>, count: usize) {
        let spec = self.spec;
        if spec.output.number == Number::U8 && count > 0 {
            let values: Vec<Vector> = (0..count).flat_map(|p| self.sums(b, unit, sums, p)).collect();
            let shape = [1, count, spec.blocks];
            return results.store_tile(b, &spec.output, &spec.sides, &values, shape, spec.last_lanes);
        }
        for p in 0..count {
            let values = self.sums(b, unit, sums, p);
            if let ([low, high], true) = (&values[..], spec.output.half > 0) {
                results.store_block(b, &spec.output, &spec.sides, [*low, *high], [0, p]);
                continue;
            }
            for (j, value) in values.into_iter().enumerate() {
                let lanes = if j + 1 == spec.blocks { spec.last_lanes } else { b.lanes() };
                results.store(b, &spec.output, &spec.sides, value, [0, p, j], lanes);
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
