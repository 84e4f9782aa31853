//! Which steps need a barrier between them, and how threads share what lies between two barriers. Both are settled when
//! the model is compiled; only the number of threads is not known yet.
//!
//! A *phase* is a run of steps none of which reads or overwrites what another of them writes: its steps may run at the
//! same time, in any order. A step with many units is shared evenly by itself, so that a thread tends to find in its
//! cache what it wrote in the phase before; steps with few units are put one behind the other and cut by their cost.

use mnnc_kernel::plan::Base;
use mnnc_kernel::{Access, BufferId, KernelCode, Plan, Schedule, Step};
use std::ops::Range;

/// From this many units on, sharing a step by itself leaves no thread idle for long.
const MANY_UNITS: usize = 24;

/// Most steps of a phase; more save nothing, and comparing them all would take time quadratic in their number.
const MOST_STEPS: usize = 64;

/// How the units of a step are shared.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// Thread `i` of `n` takes the units from `units * i / n` to `units * (i + 1) / n`.
    Even,
    /// The step's units lie on a line of length `line` shared evenly, from `at` on, each of length `unit`; but if the number of
    /// threads divides `common`, every step is shared evenly by itself.
    Line {
        /// Where the step begins.
        at: u64,
        /// Cost of a unit, at least 1.
        unit: u64,
        /// Cost of all steps on the line.
        line: u64,
        /// A common divisor of their numbers of units.
        common: u64,
    },
}

/// Steps without a barrier between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Phase {
    /// The steps.
    pub steps: Range<usize>,
    /// For each of them its share.
    pub shares: Vec<Share>,
}

/// The phases of a schedule, in order; all steps are in one.
pub(crate) fn phases(schedule: &Schedule, plan: &Plan) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut touched: Vec<Touch> = Vec::new();
    let mut first = 0;
    for (i, step) in schedule.steps.iter().enumerate() {
        let own = touches(schedule, plan, step);
        if i - first == MOST_STEPS || touched.iter().any(|t| own.iter().any(|o| t.conflicts(o))) {
            phases.push(phase(schedule, first..i));
            touched.clear();
            first = i;
        }
        touched.extend(own);
    }
    if first < schedule.steps.len() {
        phases.push(phase(schedule, first..schedule.steps.len()));
    }
    phases
}

/// Bytes that a step touches.
struct Touch {
    /// The outermost buffer.
    buffer: BufferId,
    base: Base,
    bytes: Range<usize>,
    writes: bool,
    border: bool,
    /// See [`Step::part`].
    part: Option<u32>,
}

impl Touch {
    fn conflicts(&self, o: &Touch) -> bool {
        // A border is what the other writer of its buffer leaves alone.
        let apart = self.border != o.border && self.buffer == o.buffer && self.writes && o.writes;
        let overlap = self.base == o.base && self.bytes.start < o.bytes.end && o.bytes.start < self.bytes.end;
        let parts = self.part.is_some() && self.part == o.part;
        (self.writes || o.writes) && overlap && !apart && !parts
    }
}

fn touches(schedule: &Schedule, plan: &Plan, step: &Step) -> Vec<Touch> {
    let border = matches!(schedule.kernels[step.kernel].code, KernelCode::Border(_));
    let of = |o: &mnnc_kernel::Operand| {
        let a = plan.address(schedule, o.buffer, o.offset);
        let (buffer, _) = schedule.outermost(o.buffer);
        let bytes = a.offset..a.offset + o.bytes;
        Touch { buffer, base: a.base, bytes, writes: o.access != Access::Read, border, part: step.part }
    };
    step.operands.iter().map(of).filter(|t| t.base != Base::Weights).collect()
}

fn phase(schedule: &Schedule, steps: Range<usize>) -> Phase {
    let all = &schedule.steps[steps.clone()];
    let few = |s: &Step| s.units < MANY_UNITS;
    let line: u64 = all.iter().filter(|s| few(s)).map(|s| s.units as u64 * unit_cost(s)).sum();
    let common = all.iter().filter(|s| few(s)).fold(0, |a, s| gcd(a, s.units as u64));
    let alone = all.iter().filter(|s| few(s)).count() < 2;
    let mut at = 0;
    let shares = all
        .iter()
        .map(|s| {
            if alone || !few(s) {
                return Share::Even;
            }
            let share = Share::Line { at, unit: unit_cost(s), line, common };
            at += s.units as u64 * unit_cost(s);
            share
        })
        .collect();
    Phase { steps, shares }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Estimated cost of a unit, roughly in cycles of a core with wide vectors; what counts is the relation of the steps of one phase.
fn unit_cost(step: &Step) -> u64 {
    const FLOPS: u64 = 50;
    const BYTES: u64 = 16;
    let bytes: u64 = step.operands.iter().map(|o| o.bytes as u64).sum();
    ((step.flops / FLOPS + bytes / BYTES) / step.units.max(1) as u64).clamp(1, 1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::entity::EntityId;
    use mnnc_kernel::schedule::{Buffer, BufferKind, Kernel, Subnormals};
    use mnnc_kernel::{KernelId, Operand, Storage};
    use mnnc_vector::{CompiledKernel, Stats};

    /// The begin of every thread's share and the end of the last: what the driver's code computes.
    fn cuts(share: Share, units: u64, threads: u64) -> Vec<u64> {
        let first = |i: u64| match share {
            Share::Even => units * i / threads,
            Share::Line { common, .. } if common % threads == 0 => units * i / threads,
            Share::Line { at, unit, line, .. } => {
                ((line * i / threads + unit / 2).saturating_sub(at) / unit).min(units)
            }
        };
        (0..=threads).map(first).collect()
    }

    #[test]
    fn every_unit_belongs_to_one_thread() {
        for costs in [&[(3u64, 1u64)][..], &[(3, 7), (1, 9)], &[(1, 1), (1, 100), (23, 3)], &[(2, 5), (2, 5), (2, 5)]] {
            let line: u64 = costs.iter().map(|(units, unit)| units * unit).sum();
            let common = costs.iter().fold(0, |a, c| gcd(a, c.0));
            for threads in 1..40 {
                let mut at = 0;
                let mut load = vec![0; threads as usize];
                for &(units, unit) in costs {
                    let cuts = cuts(Share::Line { at, unit, line, common }, units, threads);
                    assert_eq!((cuts[0], cuts[threads as usize]), (0, units), "{costs:?} {threads}");
                    assert!(cuts.is_sorted());
                    load.iter_mut().zip(cuts.windows(2)).for_each(|(l, c)| *l += (c[1] - c[0]) * unit);
                    at += units * unit;
                }
                let largest = costs.iter().map(|c| c.1).max().unwrap_or(0);
                assert!(load.iter().all(|&l| l <= line / threads + 2 * largest), "{costs:?} {threads} {load:?}");
            }
        }
    }

    /// Steps over buffers of 64 bytes: `(reads, writes, units, whether it is a border)`.
    fn schedule(buffers: usize, steps: &[(&[usize], usize, usize, bool)]) -> (Schedule, Plan) {
        let mut s = Schedule::default();
        let ids: Vec<BufferId> = (0..buffers)
            .map(|i| s.buffers.push(Buffer { name: format!("b{i}"), bytes: 64, kind: BufferKind::Temp }))
            .collect();
        let storage = Storage::plain(mnnc_ir::DType::F32, &[16]).expect("small");
        let code = CompiledKernel { code: Vec::new(), align: 64, frame_bytes: 0, stats: Stats::default() };
        let codes = [KernelCode::Machine(code.into()), KernelCode::Border(storage.into())];
        let kernels: Vec<KernelId> =
            codes.into_iter().map(|code| s.kernels.push(Kernel { name: String::new(), code })).collect();
        for &(reads, write, units, border) in steps {
            let operand = |i: usize, access| Operand { buffer: ids[i], offset: 0, bytes: 64, access };
            let mut operands: Vec<Operand> = reads.iter().map(|&r| operand(r, Access::Read)).collect();
            operands.push(operand(write, Access::Write));
            let kernel = kernels[usize::from(border)];
            s.steps.push(Step {
                name: String::new(),
                node: None,
                kernel,
                operands,
                units,
                flops: 0,
                subnormals: Subnormals::Any,
                part: None,
            });
        }
        let plan = Plan::new(&s);
        (s, plan)
    }

    fn ranges(s: &(Schedule, Plan)) -> Vec<Range<usize>> {
        phases(&s.0, &s.1).into_iter().map(|p| p.steps).collect()
    }

    #[test]
    fn only_dependent_steps_are_apart() {
        let chain = schedule(3, &[(&[], 0, 4, false), (&[0], 1, 4, false), (&[1], 2, 4, false)]);
        assert_eq!(ranges(&chain), [0..1, 1..2, 2..3]);
        let fork = schedule(4, &[(&[], 0, 4, false), (&[0], 1, 4, false), (&[0], 2, 4, false), (&[1, 2], 3, 4, false)]);
        assert_eq!(ranges(&fork), [0..1, 1..3, 3..4]);
        assert!(matches!(phases(&fork.0, &fork.1)[1].shares[..], [Share::Line { .. }, Share::Line { .. }]));
    }

    #[test]
    fn a_border_is_apart_from_readers_only() {
        let s = schedule(2, &[(&[], 0, 4, true), (&[], 0, 40, false), (&[0], 1, 4, false)]);
        assert_eq!(ranges(&s), [0..2, 2..3]);
        assert_eq!(phases(&s.0, &s.1)[0].shares, [Share::Even; 2]);
        let twice = schedule(1, &[(&[], 0, 4, false), (&[], 0, 4, false)]);
        assert_eq!(ranges(&twice), [0..1, 1..2]);
    }

    #[test]
    fn parts_of_one_result_are_together() {
        let mut s = schedule(2, &[(&[], 0, 9, false), (&[], 0, 1, false), (&[], 0, 1, false), (&[0], 1, 4, false)]);
        for (i, part) in [Some(7), Some(7), Some(8), Some(8)].into_iter().enumerate() {
            s.0.steps[i].part = part;
        }
        // Those of another result come after them.
        assert_eq!(ranges(&s), [0..2, 2..4]);
        s.0.steps[3].part = None;
        assert_eq!(ranges(&s), [0..2, 2..3, 3..4]);
        assert!(matches!(phases(&s.0, &s.1)[0].shares[..], [Share::Line { .. }, Share::Line { .. }]));
    }

    #[test]
    fn the_border_of_a_buffer_where_an_unread_result_lay_waits() {
        // Nobody reads buffer 0, so that buffer 1 takes its place at once.
        let s = schedule(2, &[(&[], 0, 4, false), (&[], 1, 4, true)]);
        let shared = s.1.offsets[BufferId::new(0)] == s.1.offsets[BufferId::new(1)];
        assert_eq!(ranges(&s).contains(&(0..2)), !shared);
    }

    #[test]
    fn memory_that_is_used_again_counts() {
        // Buffer 2 may take the place of buffer 0, which the step before it reads.
        let s = schedule(3, &[(&[], 0, 4, false), (&[0], 1, 4, false), (&[], 2, 4, false), (&[1, 2], 2, 4, false)]);
        let shared = s.1.offsets[BufferId::new(0)] == s.1.offsets[BufferId::new(2)];
        assert_eq!(ranges(&s).contains(&(1..3)), !shared);
    }
}
