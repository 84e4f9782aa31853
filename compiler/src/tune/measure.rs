//! Times of a model's products inside the running model: inputs, weights and caches are as they will be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mnnc_codegen::{Jit, Tuned};
use mnnc_ir::{Graph, NodeId, Tensor};
use mnnc_kernel::cost::{Choice, Decision, Problem};

use crate::compiler::{CompileOptions, Compiler, Model};
use crate::error::{self, Result};
use crate::native::diagnostics;

/// Fewest and most timed runs of one version of the model.
const RUNS: [usize; 2] = [3, 60];

/// A version of the model, compiled and timed.
pub(super) struct Version {
    pub jit: Jit,
    pub outputs: Vec<Tensor>,
    /// For each product of the model: its schedule, the cycles that the model expects, and the milliseconds of all nodes that compute
    /// it, each at its fastest.
    pub products: HashMap<Problem, Timed>,
}

/// One product.
#[derive(Copy, Clone, Debug)]
pub(super) struct Timed {
    pub choice: Choice,
    pub cycles: f64,
    pub ms: f64,
    pub nodes: usize,
}

impl Compiler {
    /// Compiles a version with these schedules and times it for about `time`.
    pub(super) fn time_version(
        &self,
        model: &Model,
        graph: &Graph,
        tuned: Option<Tuned>,
        inputs: &[Tensor],
        time: Duration,
    ) -> Result<Version> {
        let options = CompileOptions { tune: None, ..self.options.clone() };
        let lowered = Compiler::new(options).lower_tuned(model, graph, tuned)?;
        let jit = Jit::new(lowered).map_err(|e| diagnostics(e, ""))?;
        let failed = |e: mnnc_codegen::CodegenError| error::internal(e.to_string());
        let mut workspace = jit.workspace();
        let (outputs, first) = jit.run_timed(&mut workspace, inputs).map_err(failed)?;
        let mut best: Vec<Duration> = first.iter().map(|s| s.time).collect();
        let start = Instant::now();
        for run in 0..RUNS[1] {
            if run >= RUNS[0] && start.elapsed() > time {
                break;
            }
            let (_, times) = jit.run_timed(&mut workspace, inputs).map_err(failed)?;
            for (best, step) in best.iter_mut().zip(&times) {
                *best = step.time.min(*best);
            }
        }
        let products = products(&jit, &best);
        Ok(Version { jit, outputs, products })
    }
}

/// Kernels of the families whose schedules are chosen.
const FAMILIES: [&str; 6] = ["conv_k", "conv_transpose", "linear", "matmul", "pack_", "winograd_"];

fn products(jit: &Jit, times: &[Duration]) -> HashMap<Problem, Timed> {
    let schedule = &jit.model().variants[0].schedule;
    let mut decided: HashMap<NodeId, Vec<&Decision>> = HashMap::new();
    for d in &schedule.decisions {
        decided.entry(d.node).or_default().push(d);
    }
    let mut ms: HashMap<NodeId, f64> = HashMap::new();
    for (step, time) in schedule.steps.iter().zip(times) {
        let Some(node) = step.node else { continue };
        let name = &schedule.kernels[step.kernel].name;
        // Where something else is computed on the way, the time is not that of the product.
        let own = FAMILIES.iter().any(|f| name.starts_with(f));
        *ms.entry(node).or_default() += if own { time.as_secs_f64() * 1e3 } else { f64::INFINITY };
    }
    let mut products: HashMap<Problem, Timed> = HashMap::new();
    for (node, decisions) in decided {
        let &[d] = &decisions[..] else { continue };
        let Some(&ms) = ms.get(&node).filter(|ms| ms.is_finite()) else { continue };
        let new = Timed { choice: d.choice, cycles: 0.0, ms: 0.0, nodes: 0 };
        let sum = products.entry(d.problem).or_insert(new);
        sum.cycles += d.cycles;
        sum.ms += ms;
        sum.nodes += 1;
    }
    products
}
