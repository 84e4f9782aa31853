//! Where a model's time goes, step by step, against the roofline of the core.

use std::collections::HashMap;
use std::hint::black_box;

use mnnc_codegen::Jit;
use mnnc_ir::Tensor;

use crate::error::Result;
use crate::roofline::{Limit, Roofline, Traffic, Unit};

/// All steps of one node that run the same kernel: one step, or the strips that a node is worked off in.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The graph's node.
    pub node: String,
    /// The kernel.
    pub kernel: String,
    /// Number of steps.
    pub steps: u64,
    /// Their time in seconds: for each step the fastest of all runs.
    pub seconds: f64,
    /// Useful operations, those of the plain definition.
    pub flops: u64,
    /// Bytes of the operands.
    pub bytes: u64,
    /// Peak of the unit that the kernel uses, GFLOP/s.
    pub peak: f64,
    /// The least time that the roofline allows, in seconds.
    pub bound: f64,
    /// What sets it for most of that time.
    pub limit: Limit,
}

/// How often a model is run.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Runs {
    /// Runs that do not count.
    pub warm_up: usize,
    /// Runs that do, at least one.
    pub counted: usize,
    /// Bytes of other data that are touched before every run: weights and inputs are then no nearer than that.
    pub between: usize,
}

/// Times every step on one thread.
///
/// # Errors
/// Inputs that do not fit the model.
pub fn profile(jit: &Jit, inputs: &[Tensor], runs: Runs, roofline: &Roofline) -> Result<Vec<Part>> {
    let mut workspace = jit.workspace();
    let mut others = vec![0u64; runs.between / size_of::<u64>()];
    let mut fastest: Vec<f64> = Vec::new();
    for run in 0..runs.warm_up + runs.counted.max(1) {
        others.iter_mut().for_each(|word| *word = word.wrapping_add(1));
        black_box(&others);
        let timed = jit.run_timed(&mut workspace, inputs);
        let (_, times) = timed.map_err(|e| crate::native::diagnostics(e, ""))?;
        let times = times.iter().map(|step| step.time.as_secs_f64());
        if run <= runs.warm_up {
            fastest = times.collect();
        } else {
            fastest.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        }
    }
    Ok(parts(jit, &fastest, runs.between, roofline))
}

/// The steps of the model with their times, put together by node and kernel.
fn parts(jit: &Jit, seconds: &[f64], between: usize, roofline: &Roofline) -> Vec<Part> {
    let variant = &jit.model().variants[0];
    let schedule = &variant.schedule;
    let mut parts: Vec<Part> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    // Of each part the time that its bound spends at the limit that is longest so far.
    let mut limits: Vec<HashMap<&'static str, (f64, Limit)>> = Vec::new();
    let traffic = Traffic::of(schedule, &variant.plan, between);
    for ((step, traffic), &seconds) in schedule.steps.iter().zip(&traffic).zip(seconds) {
        let kernel = schedule.kernels[step.kernel].name.as_str();
        let peak = roofline.gflops(variant.cpu.level, Unit::of_kernel(kernel));
        let bound = traffic.bound(step.flops, peak, &roofline.memory);
        let index = *known.entry((&step.name, kernel)).or_insert_with(|| {
            parts.push(Part {
                node: step.name.clone(),
                kernel: kernel.into(),
                steps: 0,
                seconds: 0.0,
                flops: 0,
                bytes: 0,
                peak,
                bound: 0.0,
                limit: bound.limit,
            });
            limits.push(HashMap::new());
            parts.len() - 1
        });
        let part = &mut parts[index];
        part.steps += 1;
        part.seconds += seconds;
        part.flops += step.flops;
        part.bytes += traffic.bytes();
        part.bound += bound.seconds;
        limits[index].entry(bound.limit.name()).or_insert((0.0, bound.limit)).0 += bound.seconds;
    }
    for (part, limits) in parts.iter_mut().zip(&limits) {
        let longest = limits.values().max_by(|a, b| a.0.total_cmp(&b.0));
        part.limit = longest.map_or(part.limit, |&(_, limit)| limit);
    }
    parts
}
