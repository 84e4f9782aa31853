//! The search: one version of the model after the other, in each of which every product has its next candidate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mnnc_codegen::{Cpu, Jit, Target, Tuned, planner};
use mnnc_ir::{Diagnostic, Graph, Tensor};
use mnnc_kernel::Planner;
use mnnc_kernel::cost::{Choice, Problem};

use super::file::TuneFile;
use super::measure::Version;
use crate::compare::{Tolerance, compare};
use crate::compiler::{Compiler, Model};
use crate::error::{self, Result};
use crate::inputs;

/// Candidates of one product at most.
const MOST_CANDIDATES: usize = 16;
/// A candidate is tried only if the cost model expects it to take less than this many times what the cheapest takes.
const HOPELESS: f64 = 2.0;
/// What a candidate must gain to be kept: less is noise.
const WORTHWHILE: f64 = 0.98;
/// Runs that compare the tuned model with the untuned one.
const FINAL_RUNS: usize = 40;

/// What was found.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The choices.
    pub file: TuneFile,
    /// Every product that was tried, largest gain first.
    pub gains: Vec<Gain>,
    /// Fastest run of the whole model, untuned and tuned, in milliseconds.
    pub model_ms: [f64; 2],
    /// Versions of the model that were timed, and how many there were to time.
    pub versions: [usize; 2],
}

/// One product.
#[derive(Clone, Debug)]
pub struct Gain {
    /// What is computed.
    pub problem: Problem,
    /// Nodes that compute it.
    pub nodes: usize,
    /// The cost model's choice and the best one.
    pub choices: [Choice; 2],
    /// Their times, all nodes together, in milliseconds.
    pub ms: [f64; 2],
    /// Candidates that were timed.
    pub tried: usize,
}

/// What is known about a product.
struct Search {
    usual: Choice,
    nodes: usize,
    /// In the order in which they are tried.
    candidates: Vec<Choice>,
    /// Fastest time of each choice so far.
    times: HashMap<Choice, f64>,
}

impl Search {
    fn new(planner: &Planner, problem: &Problem, usual: Choice, nodes: usize) -> Search {
        let all = planner.candidates(problem);
        let bound = all.first().map_or(0.0, |(_, cycles)| HOPELESS * cycles);
        let hopeful = all.iter().filter(|(choice, cycles)| *cycles <= bound && *choice != usual);
        let candidates = hopeful.map(|(choice, _)| *choice).take(MOST_CANDIDATES).collect();
        Search { usual, nodes, candidates, times: HashMap::new() }
    }

    /// The candidate of a round; the usual choice where there are no more.
    fn at(&self, round: usize) -> Choice {
        round.checked_sub(1).and_then(|i| self.candidates.get(i)).copied().unwrap_or(self.usual)
    }

    fn note(&mut self, choice: Choice, ms: f64) {
        let best = self.times.entry(choice).or_insert(ms);
        *best = best.min(ms);
    }

    /// The fastest choice, if it is worth leaving the usual one for.
    fn best(&self) -> Choice {
        let usual = self.times.get(&self.usual).copied().unwrap_or(f64::INFINITY);
        let fastest = self.times.iter().min_by(|a, b| a.1.total_cmp(b.1));
        fastest.filter(|(_, ms)| **ms < WORTHWHILE * usual).map_or(self.usual, |(choice, _)| *choice)
    }
}

impl Compiler {
    /// Times candidates of every product of the model on this machine for about `budget`, and keeps the best.
    /// `progress` hears which version of how many is next.
    ///
    /// # Errors
    /// The model cannot be compiled, or not for this machine, or computes something else with a candidate.
    pub fn tune(&self, model: &Model, budget: Duration, progress: &mut dyn FnMut(usize, usize)) -> Result<Tuning> {
        let start = Instant::now();
        let cpu = self.tuned_cpu()?;
        let graph = self.optimise(model, mnnc_transform::Target::Native)?.graph;
        let inputs = inputs::all(model.graph(), 0)?;
        let Some(planner) = planner(&graph, cpu, None) else {
            let message = format!("{cpu} has no vector instructions that kernels are made of");
            return Err(Diagnostic::unsupported(message).into());
        };
        let slice = budget / (2 * MOST_CANDIDATES as u32);
        progress(0, 0);
        let untuned = self.time_version(model, &graph, None, &inputs, slice)?;
        let mut searches: HashMap<Problem, Search> = untuned
            .products
            .iter()
            .map(|(&p, t)| {
                let mut search = Search::new(&planner, &p, t.choice, t.nodes);
                search.note(t.choice, t.ms);
                (p, search)
            })
            .collect();
        let rounds = searches.values().map(|s| s.candidates.len()).max().unwrap_or(0);
        let mut done = 0;
        for round in 1..=rounds {
            if start.elapsed() > budget.mul_f64(0.7) {
                break;
            }
            progress(round, rounds);
            self.round(model, &graph, cpu, &inputs, slice, &untuned, &mut searches, |s| s.at(round))?;
            done = round;
        }
        // The finalists once more, and the usual choices: a disturbance must not decide.
        for again in 0..4 {
            if start.elapsed() > budget.mul_f64(0.9) {
                break;
            }
            progress(done, rounds);
            let usual = again % 2 == 0;
            let pick = |s: &Search| if usual { s.usual } else { s.best() };
            self.round(model, &graph, cpu, &inputs, slice, &untuned, &mut searches, pick)?;
        }
        self.finish(model, &graph, cpu, &inputs, &untuned, &searches, [done, rounds])
    }

    /// Times the version of the model in which every product has the choice that `pick` gives.
    #[allow(clippy::too_many_arguments, reason = "the state of a search")]
    fn round(
        &self,
        model: &Model,
        graph: &Graph,
        cpu: Cpu,
        inputs: &[Tensor],
        slice: Duration,
        untuned: &Version,
        searches: &mut HashMap<Problem, Search>,
        pick: impl Fn(&Search) -> Choice,
    ) -> Result<()> {
        let choices: HashMap<Problem, Choice> = searches.iter().map(|(&p, s)| (p, pick(s))).collect();
        let version = self.time_version(model, graph, Some(Tuned { cpu, choices }), inputs, slice)?;
        for (want, got) in untuned.outputs.iter().zip(&version.outputs) {
            let d = compare(want, got, Tolerance::F32).map_err(error::internal)?;
            // Untuned and tuned may both be off by what the contract allows.
            if d.excess > 2.0 {
                let message = format!("a candidate schedule computes something else: off by {:.1e}", d.absolute);
                return Err(Diagnostic::verification(message).into());
            }
        }
        for (problem, timed) in &version.products {
            if let Some(search) = searches.get_mut(problem) {
                search.note(timed.choice, timed.ms);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the state of a search")]
    fn finish(
        &self,
        model: &Model,
        graph: &Graph,
        cpu: Cpu,
        inputs: &[Tensor],
        untuned: &Version,
        searches: &HashMap<Problem, Search>,
        versions: [usize; 2],
    ) -> Result<Tuning> {
        let time = |s: &Search, c: Choice| s.times.get(&c).copied().unwrap_or(f64::INFINITY);
        let mut gains: Vec<Gain> = searches
            .iter()
            .map(|(&problem, s)| Gain {
                problem,
                nodes: s.nodes,
                choices: [s.usual, s.best()],
                ms: [time(s, s.usual), time(s, s.best())],
                tried: s.times.len(),
            })
            .collect();
        let order = |g: &Gain| (g.ms[1] - g.ms[0], g.problem.to_string());
        gains.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
        let better = gains.iter().filter(|g| g.choices[0] != g.choices[1]);
        let mut kept: Vec<_> = better.map(|g| (g.problem, g.choices[1], [g.ms[1], g.ms[0]])).collect();
        let choices = kept.iter().map(|&(p, c, _)| (p, c)).collect();
        let tuned = self.time_version(model, graph, Some(Tuned { cpu, choices }), inputs, Duration::ZERO)?;
        let model_ms = race([&untuned.jit, &tuned.jit], inputs)?;
        if model_ms[1] > model_ms[0] {
            // Faster one by one, slower together: what is not a gain is not kept.
            kept.clear();
        }
        Ok(Tuning { file: TuneFile::new(model, cpu, &kept), gains, model_ms, versions })
    }

    /// The one processor that is tuned for: this machine must be able to run its code.
    pub(super) fn tuned_cpu(&self) -> Result<Cpu> {
        let target = self.target();
        match &target.cpus[..] {
            &[cpu] if (Target { arch: target.arch, cpus: vec![cpu] }).runs_here() => Ok(cpu),
            [cpu] => Err(Diagnostic::unsupported(format!("this machine cannot run code for {cpu}"))
                .remedy("tune on a machine of that kind, or with --cpu native")
                .into()),
            _ => Err(error::usage("tune for one processor at a time")),
        }
    }
}

/// The fastest run of each, run in turn.
fn race(jits: [&Jit; 2], inputs: &[Tensor]) -> Result<[f64; 2]> {
    let mut workspaces = jits.map(Jit::workspace);
    let mut best = [f64::INFINITY; 2];
    for _ in 0..FINAL_RUNS {
        for (i, jit) in jits.iter().enumerate() {
            let start = Instant::now();
            jit.run_in(&mut workspaces[i], inputs).map_err(|e| error::internal(e.to_string()))?;
            best[i] = best[i].min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(best)
}
