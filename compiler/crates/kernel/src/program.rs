//! Kernels made of kernels: for every unit a fixed list of calls that pass their results on through scratch memory.
//!
//! A program is how several layers run as one step without their intermediate values ever reaching the workspace. Its scratch lies on
//! the stack of the thread that runs it, so that it needs no place in the memory plan, stays in L1, and threads do not share it.
//! Addresses are constants but for three things: the operand's base, which moves with the unit, and a constant step
//! for each round of a repeated run.

use crate::schedule::KernelId;

/// Where an argument points.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// Operand `.0` of the step, at the current unit.
    Operand(usize),
    /// The scratch memory.
    Scratch,
}

/// An argument of a call: the address of `base` plus `offset`, plus `step` for every finished round.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Arg {
    /// Base.
    pub base: Base,
    /// Bytes from there in the first round.
    pub offset: usize,
    /// Bytes that it moves with every round; 0 outside a repeated run.
    pub step: isize,
    /// Bytes that the call may touch from there on.
    pub bytes: usize,
}

impl Arg {
    /// An address that does not move.
    pub fn fixed(base: Base, offset: usize, bytes: usize) -> Arg {
        Arg { base, offset, step: 0, bytes }
    }
}

/// A call of another kernel, of all its units.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// A kernel that was defined before the program.
    pub kernel: KernelId,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// Its units.
    pub units: usize,
}

/// Calls that are made one after the other, `count` times.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// Rounds, at least 1.
    pub count: usize,
    /// The calls of a round.
    pub calls: Vec<Call>,
}

/// The calls of a unit.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Program {
    /// Bytes that each operand moves from image to image and from panel to panel. Units are `images * panels`, panels
    /// innermost.
    pub strides: Vec<[usize; 2]>,
    /// Panels.
    pub panels: usize,
    /// Bytes of scratch, aligned to 64.
    pub scratch: usize,
    /// Calls made once, before the first unit of a share, on the scratch only: zero borders.
    pub setup: Vec<Call>,
    /// What every unit does.
    pub body: Vec<Run>,
}

impl Program {
    /// Whether no call touches memory outside the operands, of `bytes` each, and the scratch, for `units` units. The error
    /// names the call.
    ///
    /// # Errors
    /// The first call that does.
    pub fn check(&self, bytes: &[usize], units: usize) -> Result<(), String> {
        if bytes.len() != self.strides.len() {
            return Err(format!("{} operands, not {}", bytes.len(), self.strides.len()));
        }
        let (images, panels) = (units.div_ceil(self.panels.max(1)), self.panels);
        let furthest = |i: usize| (images - 1) * self.strides[i][0] + (panels - 1) * self.strides[i][1];
        let setup = Run { count: 1, calls: self.setup.clone() };
        for (r, run) in std::iter::once(&setup).chain(&self.body).enumerate() {
            for (c, call) in run.calls.iter().enumerate() {
                for (a, arg) in call.args.iter().enumerate() {
                    let (limit, moved) = match arg.base {
                        Base::Scratch => (self.scratch, 0),
                        Base::Operand(i) if i < bytes.len() => (bytes[i], furthest(i)),
                        Base::Operand(i) => return Err(format!("run {r}, call {c}: there is no operand {i}")),
                    };
                    let rounds = (run.count as isize - 1) * arg.step;
                    let first = arg.offset as isize + rounds.min(0);
                    let last = arg.offset as isize + rounds.max(0) + (moved + arg.bytes) as isize;
                    if first < 0 || last > limit as isize {
                        return Err(format!("run {r}, call {c}, argument {a}: bytes {first} to {last} of {limit}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// One line a call, for people.
    pub fn show(&self) -> String {
        use std::fmt::Write;
        let mut out = String::new();
        let setup = Run { count: 1, calls: self.setup.clone() };
        for run in std::iter::once(&setup).chain(&self.body) {
            for call in &run.calls {
                let args: Vec<String> = call
                    .args
                    .iter()
                    .map(|a| {
                        let base = match a.base {
                            Base::Operand(i) => format!("operand {i}"),
                            Base::Scratch => "scratch".to_owned(),
                        };
                        let step = if a.step == 0 { String::new() } else { format!(" {:+} a round", a.step) };
                        format!("{base}[{}{step}]", a.offset)
                    })
                    .collect();
                // Writing to a string cannot fail.
                let _ = writeln!(out, "  {} x {}({}) units {}", run.count, call.kernel, args.join(", "), call.units);
            }
        }
        out
    }
}

/// Most calls in a round.
const LONGEST_ROUND: usize = 32;

/// A list of calls as runs: the part that repeats itself, but for addresses that move evenly, becomes a loop.
pub fn roll_up(calls: Vec<Call>) -> Vec<Run> {
    let mut best: Option<(usize, usize, usize)> = None;
    for period in 1..=LONGEST_ROUND.min(calls.len() / 2) {
        let mut start = 0;
        while start + 2 * period <= calls.len() {
            let count = rounds(&calls[start..], period);
            let saved = |count: usize, period: usize| (count - 1) * period;
            if count > 1 && best.is_none_or(|(_, p, n)| saved(count, period) > saved(n, p)) {
                best = Some((start, period, count));
            }
            start += if count > 1 { (count - 1) * period } else { 1 };
        }
    }
    let straight = |calls: &[Call]| Run { count: 1, calls: calls.to_vec() };
    let Some((start, period, count)) = best else { return vec![straight(&calls)] };
    let mut round = calls[start..start + period].to_vec();
    for (call, next) in round.iter_mut().zip(&calls[start + period..]) {
        for (arg, next) in call.args.iter_mut().zip(&next.args) {
            arg.step = next.offset as isize - arg.offset as isize;
        }
    }
    let mut runs =
        vec![straight(&calls[..start]), Run { count, calls: round }, straight(&calls[start + count * period..])];
    runs.retain(|r| !r.calls.is_empty());
    runs
}

/// How many rounds of `period` calls begin the list.
fn rounds(calls: &[Call], period: usize) -> usize {
    let mut count = 1;
    while (count + 1) * period <= calls.len() && (0..period).all(|i| follows(calls, period, count, i)) {
        count += 1;
    }
    count
}

/// Whether call `i` of round `round` is that of the first round, moved as far each round as from the first to the second.
fn follows(calls: &[Call], period: usize, round: usize, i: usize) -> bool {
    let (first, second, this) = (&calls[i], &calls[period + i], &calls[round * period + i]);
    let alike = first.kernel == this.kernel && first.units == this.units && first.args.len() == this.args.len();
    alike
        && first.args.iter().zip(&second.args).zip(&this.args).all(|((a, b), c)| {
            let step = b.offset as isize - a.offset as isize;
            (a.base, a.bytes) == (c.base, c.bytes) && c.offset as isize == a.offset as isize + round as isize * step
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::entity::EntityId;

    fn call(kernel: usize, offset: usize) -> Call {
        let args = vec![Arg::fixed(Base::Operand(0), offset, 4), Arg::fixed(Base::Scratch, offset % 12, 4)];
        Call { kernel: KernelId::new(kernel), args, units: 1 }
    }

    fn flat(runs: &[Run]) -> Vec<(KernelId, Vec<usize>)> {
        let mut out = Vec::new();
        for r in runs {
            for i in 0..r.count {
                for c in &r.calls {
                    let at = |a: &Arg| (a.offset as isize + i as isize * a.step) as usize;
                    out.push((c.kernel, c.args.iter().map(at).collect()));
                }
            }
        }
        out
    }

    #[test]
    fn rolled_up_calls_are_the_same_calls() {
        // A ring of three rows: the scratch address has period 3.
        let mut calls = vec![call(7, 0), call(7, 4)];
        for row in 0..23 {
            calls.push(call(7, 8 + 4 * row));
            calls.push(call(9, 4 * row));
        }
        calls.push(call(11, 40));
        let runs = roll_up(calls.clone());
        assert_eq!(flat(&runs), flat(&[Run { count: 1, calls }]));
        assert_eq!(runs.iter().map(|r| r.calls.len()).sum::<usize>(), 3 + 6 + 4, "{runs:?}");
    }

    #[test]
    fn addresses_outside_an_operand_are_found() {
        let run = Run {
            count: 3,
            calls: vec![Call { args: vec![Arg { step: 4, ..Arg::fixed(Base::Operand(0), 8, 4) }], ..call(0, 0) }],
        };
        let p = Program { strides: vec![[0, 16]], panels: 2, scratch: 0, setup: Vec::new(), body: vec![run] };
        assert_eq!(p.check(&[36], 2), Ok(()));
        assert!(p.check(&[35], 2).is_err());
    }
}
