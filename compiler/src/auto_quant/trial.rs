//! One trial: a network compressed by a policy, compiled, and run on samples.

use std::collections::HashMap;

use mnnc_ir::{Diagnostic, Diagnostics, Graph, Tensor};
use mnnc_quant::auto::{Goal, Measured, Trial};
use mnnc_quant::weight::methods::DataFree;
use mnnc_quant::weight::{Policy, Quantised, Quantiser, Report, Rows, Scheme, Site, compress_with};

use super::{Metric, Request};
use crate::accuracy::{Score, first};
use crate::compare::noise;
use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::{self, Result};
use crate::timing::Timings;
use crate::weights::Samples;

/// Samples that tell the noise of one op: noise is a mean over all elements of all outputs, which few samples tell well enough.
const FEW: usize = 8;
/// Elements of an output that is nowhere above this say nothing in [`Metric::Relative`].
const SILENT: f64 = 0.01;
/// Runs of which the fastest counts.
const RUNS: usize = 15;

pub(super) struct NetworkTrial<'a> {
    compiler: &'a Compiler,
    model: &'a Model,
    request: Request,
    inputs: Vec<Vec<Tensor>>,
    reference: Vec<Vec<Tensor>>,
    labels: Option<&'a [usize]>,
    top1: f64,
    known: Known,
}

impl<'a> NetworkTrial<'a> {
    pub fn new(
        compiler: &'a Compiler,
        model: &'a Model,
        request: Request,
        samples: &dyn Samples,
        labels: Option<&'a [usize]>,
    ) -> Result<Self> {
        if samples.is_empty() {
            return Err(error::usage("there are no samples to measure errors on"));
        }
        if request.metric == Metric::Top1Loss && labels.map(<[usize]>::len) != Some(samples.len()) {
            return Err(error::usage("a loss of accuracy is measured on samples with labels; give --labels"));
        }
        let inputs: Vec<Vec<Tensor>> = (0..samples.len()).map(|i| samples.get(i)).collect::<Result<_>>()?;
        let mut trial = NetworkTrial {
            compiler,
            model,
            request,
            inputs,
            reference: Vec::new(),
            labels,
            top1: 0.0,
            known: Known::default(),
        };
        let mut engine = trial.engine(model.graph().clone())?;
        trial.reference = trial.run(&mut engine, usize::MAX)?;
        if trial.reference.iter().flatten().any(|t| t.to_f64s().iter().any(|x| !x.is_finite())) {
            return Err(Diagnostic::bad_input("the float model's outputs on the samples are not all finite")
                .remedy("look at the samples and their preparation (mean, normal, format)")
                .into());
        }
        trial.top1 = trial.top1(&trial.reference);
        Ok(trial)
    }

    /// The graph with its weights compressed by `policy`.
    pub fn compressed(&mut self, policy: &Policy) -> std::result::Result<(Graph, Report), Diagnostics> {
        let mut graph = self.model.graph().clone();
        let report = compress_with(&mut graph, policy, &mut self.known)?;
        Ok((graph, report))
    }

    fn engine(&self, graph: Graph) -> Result<Engine> {
        Ok(Engine::jit(self.compiler.jit(&self.model.with_graph(graph))?))
    }

    /// Outputs of the first samples.
    fn run(&self, engine: &mut Engine, most: usize) -> Result<Vec<Vec<Tensor>>> {
        self.inputs.iter().take(most).map(|inputs| engine.run(inputs)).collect()
    }

    fn top1(&self, outputs: &[Vec<Tensor>]) -> f64 {
        let Some(labels) = self.labels else { return 0.0 };
        let mut score = Score::default();
        for (&class, outputs) in labels.iter().zip(outputs) {
            score.add(Some(class), None, &first(outputs));
        }
        100.0 * score.finish().top1.unwrap_or(0.0)
    }

    fn error(&self, outputs: &[Vec<Tensor>], noise: f64) -> f64 {
        match self.request.metric {
            Metric::Noise => noise,
            Metric::Top1Loss => self.top1 - self.top1(outputs),
            Metric::Relative => {
                let pairs = self.reference.iter().zip(outputs).flat_map(|(a, b)| a.iter().zip(b));
                pairs.map(|(want, got)| relative(want, got)).fold(0.0, f64::max)
            }
        }
    }
}

impl Trial for NetworkTrial<'_> {
    fn measure(&mut self, policy: &Policy) -> std::result::Result<Measured, Diagnostics> {
        let (graph, report) = self.compressed(policy)?;
        let mut engine = self.engine(graph)?;
        let outputs = self.run(&mut engine, usize::MAX)?;
        let noise = noise(&self.reference, &outputs);
        let error = if noise.is_finite() { self.error(&outputs, noise) } else { f64::INFINITY };
        let milliseconds = match self.request.goal {
            Goal::Milliseconds(_) => {
                let run = || engine.run(&self.inputs[0]).map(drop);
                Some(Timings::measure(0, RUNS, run)?.min_ms())
            }
            _ => None,
        };
        Ok(Measured { error, noise, bytes: report.bytes().1, milliseconds })
    }

    fn noise(&mut self, policy: &Policy) -> std::result::Result<f64, Diagnostics> {
        let (graph, _) = self.compressed(policy)?;
        let outputs = self.run(&mut self.engine(graph)?, FEW)?;
        Ok(noise(&self.reference, &outputs))
    }
}

fn relative(want: &Tensor, got: &Tensor) -> f64 {
    let want = want.to_f64s();
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if largest <= SILENT {
        return 0.0;
    }
    let off = want.iter().zip(got.to_f64s()).map(|(a, b)| (a - b).abs());
    // A NaN must not pass for agreement.
    off.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / largest
}

/// Integers that were chosen before: trials differ in few ops.
#[derive(Default)]
struct Known {
    chosen: HashMap<(String, Scheme), Quantised>,
}

impl Quantiser for Known {
    fn quantise(
        &mut self,
        g: &Graph,
        site: &Site,
        rows: &Rows,
        scheme: &Scheme,
    ) -> std::result::Result<Quantised, Diagnostic> {
        let key = (site.name.clone(), scheme.clone());
        if let Some(known) = self.chosen.get(&key) {
            return Ok(known.clone());
        }
        let chosen = DataFree.quantise(g, site, rows, scheme)?;
        self.chosen.insert(key, chosen.clone());
        Ok(chosen)
    }
}
