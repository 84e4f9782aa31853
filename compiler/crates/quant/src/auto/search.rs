//! The search for the best policy within a goal.

use std::collections::BTreeSet;

use mnnc_ir::{Diagnostic, Diagnostics};

use super::frontier::{Frontier, Point};
use super::ladder::{Ladder, Step, policy};
use super::sensitivity::Sensitivity;
use super::{Measured, Trial};

/// What must hold. Within it, an error bound asks for the fewest bytes, a budget for the least error.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Goal {
    /// The error is at most this, in the unit of [`Measured::error`].
    Error(f64),
    /// The weights take at most so many bytes.
    Bytes(u64),
    /// One inference takes at most so many milliseconds.
    Milliseconds(f64),
}

impl Goal {
    fn holds(self, m: &Measured) -> bool {
        match self {
            Goal::Error(bound) => m.error <= bound,
            Goal::Bytes(budget) => m.bytes <= budget && m.error.is_finite(),
            Goal::Milliseconds(budget) => m.milliseconds.is_some_and(|t| t <= budget) && m.error.is_finite(),
        }
    }
    /// Whether a policy that holds the goal is better than another that does.
    fn prefers(self, a: &Measured, b: &Measured) -> bool {
        match self {
            Goal::Error(_) => a.bytes < b.bytes,
            Goal::Bytes(_) | Goal::Milliseconds(_) => a.error < b.error,
        }
    }
    fn cannot(self, closest: &Frontier) -> Diagnostics {
        let best =
            |f: fn(&Measured) -> f64| closest.points.iter().map(|p| f(&p.measured)).fold(f64::INFINITY, f64::min);
        let message = match self {
            Goal::Error(bound) => {
                format!(
                    "no choice of weights keeps the error within {bound}; the closest is off by {:.4}",
                    best(|m| m.error)
                )
            }
            Goal::Bytes(budget) => {
                format!("the weights do not fit {budget} bytes; the smallest choice takes {}", best(|m| m.bytes as f64))
            }
            Goal::Milliseconds(budget) => {
                let fastest = best(|m| m.milliseconds.unwrap_or(f64::INFINITY));
                format!("no choice runs in {budget} ms; the fastest takes {fastest:.3}")
            }
        };
        Diagnostic::usage(message).remedy("relax the goal").into()
    }
}

/// Halvings of the price's range, in its logarithm: the whole range is some thirty decades.
const HALVINGS: usize = 12;
/// Single steps that are tried after that, and how many may fail.
const STEPS: usize = 24;
const FAILURES: usize = 6;

/// The best point that holds `goal`, and all that were seen. `seen` hears of every trial.
///
/// # Errors
/// A trial that fails, or a goal that nothing holds.
pub fn search(
    ladders: &[Ladder],
    sensitivity: &Sensitivity,
    goal: Goal,
    trial: &mut dyn Trial,
    seen: &mut dyn FnMut(&Point),
) -> Result<(Point, Frontier), Diagnostics> {
    let mut search = Search { ladders, sensitivity, goal, trial, seen, frontier: Frontier::default(), best: None };
    search.by_price()?;
    if let (Goal::Error(_), Some(start)) = (goal, search.best.clone()) {
        search.by_steps(start.0)?;
    }
    match search.best {
        Some((_, point)) => Ok((point, search.frontier)),
        None => Err(goal.cannot(&search.frontier)),
    }
}

struct Search<'a> {
    ladders: &'a [Ladder],
    sensitivity: &'a Sensitivity,
    goal: Goal,
    trial: &'a mut dyn Trial,
    seen: &'a mut dyn FnMut(&Point),
    frontier: Frontier,
    best: Option<(Vec<usize>, Point)>,
}

impl Search<'_> {
    /// Tries a choice; whether it holds the goal.
    fn try_out(&mut self, chosen: &[usize]) -> Result<Measured, Diagnostics> {
        let policy = policy(self.ladders, chosen);
        if let Some(known) = self.frontier.points.iter().find(|p| p.policy == policy) {
            return Ok(known.measured);
        }
        let measured = self.trial.measure(&policy)?;
        let point = Point { policy, measured };
        (self.seen)(&point);
        let better = self.best.as_ref().is_none_or(|(_, b)| self.goal.prefers(&measured, &b.measured));
        if self.goal.holds(&measured) && better {
            self.best = Some((chosen.to_vec(), point.clone()));
        }
        self.frontier.points.push(point);
        Ok(measured)
    }

    /// The step of every ladder, up to its end, with the least noise plus price of its bytes.
    fn at_price(&self, price: f64, ends: &[usize]) -> Vec<usize> {
        let cost = |i: usize, s: usize| {
            self.sensitivity.predicted(self.ladders, i, s) + price * self.ladders[i].steps[s].bytes as f64
        };
        let cheapest = |i: usize| (0..=ends[i]).min_by(|&a, &b| cost(i, a).total_cmp(&cost(i, b))).unwrap_or(0);
        (0..self.ladders.len()).map(cheapest).collect()
    }

    /// Bisects the price: the dearer a byte, the smaller and the worse the network.
    fn by_price(&mut self) -> Result<(), Diagnostics> {
        let last = self.with_bits(0);
        // The ends of the range are tried, too: the goal may be that easy, or out of reach.
        let smallest = self.try_out(&last)?;
        if self.goal.holds(&smallest) && matches!(self.goal, Goal::Error(_)) {
            return Ok(());
        }
        self.try_out(&vec![0; self.ladders.len()])?;
        let ends = if matches!(self.goal, Goal::Milliseconds(_)) { self.fastest()? } else { last };
        let (mut low, mut high) = (-60.0f64, 0.0f64);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            let chosen = self.at_price(middle.exp2(), &ends);
            let measured = self.try_out(&chosen)?;
            // Under an error bound a price that holds it may rise; under a budget one that holds it may fall.
            let may_rise = self.goal.holds(&measured) == matches!(self.goal, Goal::Error(_));
            if may_rise { low = middle } else { high = middle }
        }
        Ok(())
    }

    /// The smallest step of every ladder with at least so many bits.
    fn with_bits(&self, bits: u8) -> Vec<usize> {
        let last = |l: &Ladder| l.steps.iter().rposition(|step| step.bits() >= bits).unwrap_or(0);
        self.ladders.iter().map(last).collect()
    }

    /// Tries every number of bits for all sites; where each ladder stands at the fastest. Time falls with bytes only down to there: fewer bits may
    /// have to be unpacked, and take longer.
    fn fastest(&mut self) -> Result<Vec<usize>, Diagnostics> {
        let steps = self.ladders.iter().flat_map(|l| &l.steps);
        let bits: BTreeSet<u8> = steps.map(Step::bits).collect();
        let mut fastest = (f64::INFINITY, self.with_bits(0));
        for bits in bits {
            let chosen = self.with_bits(bits);
            let time = self.try_out(&chosen)?.milliseconds.unwrap_or(f64::INFINITY);
            if time < fastest.0 {
                fastest = (time, chosen);
            }
        }
        Ok(fastest.1)
    }

    /// From a choice that holds the bound, one site a time down its ladder, the most bytes for the noise first.
    fn by_steps(&mut self, mut chosen: Vec<usize>) -> Result<(), Diagnostics> {
        let mut refused = vec![false; chosen.len()];
        let (mut tried, mut failed) = (0, 0);
        while tried < STEPS && failed < FAILURES {
            let gain = |&i: &usize| {
                let (from, to) = (&self.ladders[i].steps[chosen[i]], &self.ladders[i].steps[chosen[i] + 1]);
                let noise = self.sensitivity.predicted(self.ladders, i, chosen[i] + 1)
                    - self.sensitivity.predicted(self.ladders, i, chosen[i]);
                (from.bytes - to.bytes) as f64 / noise.max(f64::MIN_POSITIVE)
            };
            let open = |&i: &usize| !refused[i] && chosen[i] + 1 < self.ladders[i].steps.len();
            let Some(i) = (0..chosen.len()).filter(open).max_by(|a, b| gain(a).total_cmp(&gain(b))) else { break };
            chosen[i] += 1;
            tried += 1;
            if !self.goal.holds(&self.try_out(&chosen)?) {
                chosen[i] -= 1;
                refused[i] = true;
                failed += 1;
            }
        }
        Ok(())
    }
}
