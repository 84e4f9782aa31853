//! What quantisation did, layer by layer.

use mnnc_ir::Graph;
use mnnc_quant::calibrate::{Chosen, Group, Observed, QParams};
use mnnc_quant::weight;
use serde::Serialize;

use super::Recipe;
use super::measure::Noise;

/// Bars of a histogram in a report.
const BARS: usize = 64;

/// What became of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How ranges of activations were found.
    pub method: &'static str,
    /// Files that calibrated it.
    pub samples: usize,
    /// Files that were left out, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Classes of values whose channels were scaled.
    pub equalised: usize,
    /// Layers that stayed in float because they lose most.
    pub fallback: Vec<String>,
    /// Rounded activations, in order of execution.
    pub activations: Vec<Activation>,
    /// Rounded weights.
    pub weights: Vec<weight::Layer>,
    /// The network's results.
    pub outputs: Vec<Layer>,
}

/// A result of the network.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Signal to noise in decibels, against the float network; `None` without noise.
    pub sqnr: Option<f64>,
}

/// A rounded activation.
#[derive(Clone, Debug, Serialize)]
pub struct Activation {
    /// Its name.
    pub name: String,
    /// The op that makes it.
    pub op: &'static str,
    /// How its range was found.
    pub method: &'static str,
    /// The least value seen.
    pub min: f32,
    /// The largest value seen.
    pub max: f32,
    /// The real value of the least integer.
    pub low: f64,
    /// The real value of the largest integer.
    pub high: f64,
    /// Step between integers.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i32,
    /// `u8` or `i8`.
    pub r#type: String,
    /// Signal to noise in decibels against the float network, after rounding everything before; `None` without noise.
    pub sqnr: Option<f64>,
    /// Cosine distance, as MNN's `debug` prints it.
    pub cosine_distance: f64,
    /// Share of values beyond the range.
    pub saturated: f64,
    /// Where the method could not be used: what was done and why.
    pub note: Option<String>,
    /// How its values are distributed.
    pub histogram: Bars,
}

/// A histogram for a plot.
#[derive(Clone, Debug, Serialize)]
pub struct Bars {
    /// Where the first bar begins.
    pub low: f64,
    /// Where the last bar ends.
    pub high: f64,
    /// How many values each bar holds.
    pub counts: Vec<u64>,
}

impl Report {
    /// The least signal to noise of the network's results; `None` without noise.
    pub fn sqnr(&self) -> Option<f64> {
        self.outputs.iter().filter_map(|o| o.sqnr).reduce(f64::min)
    }
    /// What was not as asked for: activations with a fall-back, and why.
    pub fn notes(&self) -> Vec<String> {
        self.activations.iter().filter_map(|a| Some(format!("{}: {}", a.name, a.note.as_ref()?))).collect()
    }
}

pub(super) struct Found<'a> {
    pub groups: &'a [Group],
    pub observed: &'a [Observed],
    pub chosen: &'a [Chosen],
    pub methods: &'a [&'static str],
    /// Of every value of every group.
    pub noise: &'a [Noise],
    /// Of the network's results.
    pub outputs: &'a [Noise],
}

pub(super) fn make(g: &Graph, recipe: &Recipe, found: &Found<'_>, weights: weight::Report) -> Report {
    let mut noise = found.noise.iter();
    let mut activations = Vec::new();
    let all = found.groups.iter().zip(found.observed).zip(found.chosen).zip(found.methods);
    for (((group, observed), chosen), method) in all {
        for &v in &group.values {
            let extent = observed.extent();
            let (low, high) = chosen.params.range();
            let noise = noise.next().copied().unwrap_or_default();
            let (from, to, counts) = observed.histogram.bars(BARS);
            activations.push(Activation {
                name: g.value(v).name.clone(),
                op: g.producer(v).map_or("input", |n| g.node(n).op.name),
                method,
                min: extent.min,
                max: extent.max,
                low,
                high,
                scale: chosen.params.scale,
                zero: chosen.params.zero,
                r#type: chosen.params.dtype.to_string(),
                sqnr: noise.decibels(),
                cosine_distance: noise.cosine_distance(),
                saturated: saturated(observed, &chosen.params),
                note: chosen.note.clone(),
                histogram: Bars { low: from, high: to, counts },
            });
        }
    }
    let order = |a: &Activation| {
        g.find_value(&a.name).and_then(|v| g.producer(v)).and_then(|n| g.position(n)).map_or(0, |p| p + 1)
    };
    activations.sort_by_key(order);
    let output = |(&v, n): (&mnnc_ir::ValueId, &Noise)| Layer { name: g.value(v).name.clone(), sqnr: n.decibels() };
    Report {
        method: recipe.activations.method.name(),
        samples: 0,
        skipped: Vec::new(),
        equalised: 0,
        fallback: Vec::new(),
        activations,
        weights: weights.layers,
        outputs: g.outputs().iter().zip(found.outputs).map(output).collect(),
    }
}

/// Share of values that are further than half a step beyond the range.
fn saturated(observed: &Observed, params: &QParams) -> f64 {
    let (low, high) = params.range();
    let half = f64::from(params.scale) / 2.0;
    let points = observed.histogram.points();
    let beyond: f64 = points.iter().filter(|(x, _)| *x < low - half || *x > high + half).map(|p| p.1).sum();
    // A sum of nothing is minus zero.
    beyond.max(0.0) / (observed.histogram.total() as f64).max(1.0)
}
