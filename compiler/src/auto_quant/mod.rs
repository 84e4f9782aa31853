//! Automatic choice of how a model's weights are compressed, by what that does to its outputs on samples.
//!
//! The search is in [`mnnc_quant::auto`]; here a network is compressed, compiled and run for it ([`trial`]).

mod trial;

use std::fmt;

use mnnc_quant::auto::{Axes, Frontier, Goal, Ladder, Point, Sensitivity, ladders, search};
use mnnc_quant::weight::{Policy, Report};

use crate::compare::decibels;
use crate::compiler::{Compiler, Model};
use crate::error::{self, Result};
use crate::weights::Samples;
use trial::NetworkTrial;

/// What the error of a compressed model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The largest difference of an output's elements as a share of its largest element, over outputs and samples; outputs that are
    /// nowhere above 0.01 do not count. What MNN's tool bounds by `--rate`.
    Relative,
    /// Percentage points of top-1 accuracy lost on labelled samples.
    Top1Loss,
    /// Power of the difference relative to that of the outputs: `10^(-SQNR/10)`.
    Noise,
}

impl Metric {
    /// An error in this metric, for people.
    pub fn show(self, error: f64) -> String {
        match self {
            Metric::Relative => format!("{error:.4}"),
            Metric::Top1Loss => format!("{error:.2} points"),
            Metric::Noise if error == 0.0 => "exact".into(),
            Metric::Noise => format!("{:.1} dB", decibels(error)),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// What must hold.
    pub goal: Goal,
    /// In which unit errors are told.
    pub metric: Metric,
    /// What may be chosen.
    pub axes: Axes,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The compressed model.
    pub model: Model,
    /// What compression did to every op.
    pub report: Report,
    /// The choice, with what was measured.
    pub point: Point,
    /// Every trial.
    pub frontier: Frontier,
    /// The ops that could be compressed, with how the outputs' noise grows with that of their weights.
    pub gains: Vec<(String, f64)>,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// So many of so many ops have been compressed alone.
    Sensitivity(usize, usize),
    /// The whole network was tried.
    Trial(&'a Point),
}

impl fmt::Display for Stage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Sensitivity(done, all) => write!(f, "sensitivity of op {done} of {all}"),
            Stage::Trial(p) => write!(f, "tried {:.2} MiB of weights", p.measured.bytes as f64 / f64::from(1 << 20)),
        }
    }
}

impl Compiler {
    /// Chooses bits and blocks of every op of a clean model (see [`clean`](Self::clean)). `labels` are the classes of the samples, for
    /// [`Metric::Top1Loss`].
    ///
    /// # Errors
    /// Nothing can be compressed, samples that cannot be run, a goal that nothing holds.
    pub fn auto_quant(
        &self,
        model: &Model,
        request: Request,
        samples: &dyn Samples,
        labels: Option<&[usize]>,
        watch: &mut dyn FnMut(Stage),
    ) -> Result<Chosen> {
        let ladders: Vec<Ladder> = ladders(model.graph(), request.axes);
        if ladders.iter().all(|l| l.steps.len() < 2) {
            return Err(error::usage("the model has no weights that could be compressed"));
        }
        let mut trial = NetworkTrial::new(self, model, request, samples, labels)?;
        let all = ladders.len();
        let sensitivity = Sensitivity::measure(&ladders, &mut trial, &mut |i| watch(Stage::Sensitivity(i + 1, all)))?;
        let mut seen = |p: &Point| watch(Stage::Trial(p));
        let (point, frontier) = search(&ladders, &sensitivity, request.goal, &mut trial, &mut seen)?;
        let (graph, report) = trial.compressed(&point.policy)?;
        let names = ladders.iter().map(|l| l.site.name.clone());
        let gains = names.zip(sensitivity.gain).collect();
        Ok(Chosen { model: model.with_graph(graph), report, point, frontier, gains })
    }

    /// What a policy does to the outputs, without a search.
    ///
    /// # Errors
    /// As [`auto_quant`](Self::auto_quant), or a policy that is not for this model.
    pub fn try_policy(
        &self,
        model: &Model,
        request: Request,
        policy: &Policy,
        samples: &dyn Samples,
        labels: Option<&[usize]>,
    ) -> Result<Chosen> {
        let mut trial = NetworkTrial::new(self, model, request, samples, labels)?;
        let measured = mnnc_quant::auto::Trial::measure(&mut trial, policy)?;
        let (graph, report) = trial.compressed(policy)?;
        let point = Point { policy: policy.clone(), measured };
        let frontier = Frontier { points: vec![point.clone()] };
        Ok(Chosen { model: model.with_graph(graph), report, point, frontier, gains: Vec::new() })
    }
}
