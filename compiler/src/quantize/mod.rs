//! Post-training quantisation: from a float model and a calibration set to a model in QDQ form.
//!
//! ```text
//! clean graph ─▶ equalise ─▶ observe ─▶ ranges ─▶ refine ─▶ round weights ─▶ correct biases ─▶ insert pairs ─▶ measure
//! ```
//!
//! The quantised network is *simulated* on the way: by a float graph that rounds where it does, which native code computes as fast as the original.

mod bias;
mod measure;
mod observe;
mod recipe;
mod refine;
mod report;
mod sensitivity;
mod weights;
mod whole;

use std::collections::HashSet;

use mnnc_import::{ImportOptions, load_mnn_bytes};
use mnnc_ir::diag::{Diagnostic, Diagnostics};
use mnnc_ir::{Graph, NodeId, ValueId};
use mnnc_quant::calibrate::{
    Chosen, Group, Observed, Placement, QParams, Style, classes, equalise, expand_constants, insert, is_called,
    simulate, spread,
};
use mnnc_quant::weight::{Calibrated, Effort, compress, compress_with};

use crate::calibrate::{Progress, Samples, WeightMethod};
use crate::compiler::{Compiler, Model};
use crate::error::Result;
use crate::mnn_arithmetic;
use crate::weights::NativeWatch;

pub use recipe::Recipe;
pub use report::{Activation, Bars, Layer, Report};

/// Samples that biases and reports are made from, at most.
const FEW: usize = 32;

/// Is told what begins, and then how far it is.
pub trait Watcher: Sync {
    /// A stage begins.
    fn stage(&self, what: &str);
    /// So much of it is done, of so much.
    fn progress(&self, done: usize, total: usize);
}

/// Nobody watches.
impl Watcher for () {
    fn stage(&self, _: &str) {}
    fn progress(&self, _: usize, _: usize) {}
}

/// A quantised model and what became of it.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The model in QDQ form.
    pub model: Model,
    /// The float model whose weights were rounded: channels are equalised in it.
    pub float: Model,
    /// A float model that rounds where the quantised one does; of one for MNN, what MNN computes on x86, to the bit.
    pub simulated: Model,
    /// Layer by layer.
    pub report: Report,
}

/// What a pass over the samples made of a graph.
struct Plan {
    groups: Vec<Group>,
    observed: Vec<Observed>,
    chosen: Vec<Chosen>,
    /// Name of the method that gave each group its range.
    methods: Vec<&'static str>,
    anchors: Vec<NodeId>,
}

impl Plan {
    fn params(&self) -> Vec<(ValueId, QParams)> {
        let params: Vec<QParams> = self.chosen.iter().map(|c| c.params).collect();
        spread(&self.groups, &params)
    }
}

impl Compiler {
    /// Quantises a model on a calibration set.
    ///
    /// # Errors
    /// A name in the skip list that no node has, a model without anything to quantise, samples that cannot be run.
    pub fn quantize(
        &self,
        model: &Model,
        recipe: &Recipe,
        samples: &Samples,
        watcher: &dyn Watcher,
    ) -> Result<Quantized> {
        let progress: Progress<'_> = &|done, total| watcher.progress(done, total);
        let original = self.clean(model)?.graph;
        let mut float = original.clone();
        let skipped = skipped(&float, &recipe.skip)?;
        let few = samples.some(FEW);
        let mut equalised = 0;
        if recipe.equalise {
            watcher.stage("looking at channels");
            let classes = classes(&float);
            if !classes.is_empty() {
                let known = self.observe_channels(model, &float, &classes, samples, progress)?;
                equalised = equalise(&mut float, &classes, &known);
            }
        }
        let mut plan = self.plan(model, &float, recipe, skipped.clone(), samples, watcher)?;
        let mut fallback = Vec::new();
        if recipe.float_fallback > 0 {
            watcher.stage("finding sensitive layers");
            let sensitive = self.most_sensitive(model, &float, recipe, &plan, &samples.some(FEW / 2), progress)?;
            fallback = sensitive.iter().map(|&n| float.node(n).name.clone()).collect();
            let skipped = skipped.into_iter().chain(sensitive).collect();
            plan = self.plan(model, &float, recipe, skipped, samples, watcher)?;
        }
        if recipe.refine {
            watcher.stage("trying ranges");
            self.refine(model, &float, recipe, &mut plan, &few, progress)?;
        }
        let params = plan.params();
        watcher.stage("rounding weights");
        let (mut quantised, weights) = self.round_weights(model, &float, recipe, &plan, samples)?;
        if recipe.bias {
            watcher.stage("correcting biases");
            self.correct_biases(model, &float, &mut quantised, &params, &plan.anchors, &few, progress)?;
        }
        if recipe.style == Style::EveryOp {
            whole::whole_biases(&mut quantised, &plan.anchors, &params);
        }
        watcher.stage("measuring");
        let simulated = simulation(&quantised, &params)?;
        let shown: Vec<ValueId> = plan.groups.iter().flat_map(|g| g.values.iter().copied()).collect();
        let noise = self.measure(model, (&float, &shown), (&simulated, &shown), &few, progress)?;
        insert(&mut quantised, &params)?;
        let quantised = model.with_graph(quantised);
        let simulated = match recipe.style {
            Style::Fused => simulated,
            Style::EveryOp => self.in_mnn(&quantised)?,
        };
        let ends = (original.outputs(), simulated.outputs());
        let outputs = self.measure(model, (&original, ends.0), (&simulated, ends.1), &few, progress)?;
        let found = report::Found {
            groups: &plan.groups,
            observed: &plan.observed,
            chosen: &plan.chosen,
            methods: &plan.methods,
            noise: &noise,
            outputs: &outputs,
        };
        let report = report::make(&float, recipe, &found, weights);
        let report = Report {
            equalised,
            fallback,
            samples: samples.files_used(),
            skipped: samples.skipped().to_vec(),
            ..report
        };
        let [float, simulated] = [float, simulated].map(|graph| model.with_graph(graph));
        Ok(Quantized { model: quantised, float, simulated, report })
    }

    /// What MNN makes of the file that a quantised model becomes.
    fn in_mnn(&self, quantised: &Model) -> Result<Graph> {
        let file = self.mnn_file(quantised)?;
        let read = load_mnn_bytes(file, &ImportOptions::default())?;
        Ok(mnn_arithmetic::as_engine(&read.graph)?)
    }

    /// What is quantised, and with which parameters.
    fn plan(
        &self,
        model: &Model,
        float: &Graph,
        recipe: &Recipe,
        skipped: HashSet<NodeId>,
        samples: &Samples,
        watcher: &dyn Watcher,
    ) -> Result<Plan> {
        let placement = Placement::new(float, skipped, recipe.style);
        let (groups, anchors) = (placement.groups(), placement.anchors());
        if anchors.is_empty() {
            return Err(Diagnostic::usage("nothing is left to quantise: every convolution and product stays in float")
                .remedy("take names out of skip_quant_op_names")
                .into());
        }
        watcher.stage("looking at activations");
        let observed =
            self.observe_ranges(model, float, &groups, samples, &|done, total| watcher.progress(done, total))?;
        let chosen = observed.iter().map(|o| o.choose(&recipe.activations)).collect();
        let methods = vec![recipe.activations.method.name(); groups.len()];
        Ok(Plan { groups, observed, chosen, methods, anchors })
    }

    /// The graph with integer weights, and what became of each.
    fn round_weights(
        &self,
        model: &Model,
        float: &Graph,
        recipe: &Recipe,
        plan: &Plan,
        samples: &Samples,
    ) -> Result<(Graph, mnnc_quant::weight::Report)> {
        let policy = recipe.policy(float, &plan.anchors);
        let mut graph = float.clone();
        let report = if recipe.adaptive {
            // What layers will read: rounded activations.
            let mut reads = float.clone();
            simulate(&mut reads, &plan.params())?;
            let mut watch = NativeWatch { compiler: self, model, samples };
            let mut quantiser = Calibrated::observe(&reads, &policy, &mut watch, Effort::default())?;
            compress_with(&mut graph, &policy, &mut quantiser)?
        } else if recipe.weights == WeightMethod::Mse {
            compress(&mut graph, &policy)?
        } else {
            let mut quantiser = weights::Clamped { method: recipe.weights, clamp: recipe.weight_clamp };
            compress_with(&mut graph, &policy, &mut quantiser)?
        };
        Ok((graph, report))
    }
}

/// A float graph that rounds as `quantised` will with these parameters.
fn simulation(quantised: &Graph, params: &[(ValueId, QParams)]) -> Result<Graph> {
    let mut graph = quantised.clone();
    expand_constants(&mut graph)?;
    simulate(&mut graph, params)?;
    Ok(graph)
}

/// The nodes that a skip list names.
fn skipped(g: &Graph, names: &[String]) -> Result<HashSet<NodeId>> {
    let mut found = HashSet::new();
    let mut wrong = Diagnostics::new();
    for name in names {
        let named: Vec<NodeId> = g.schedule().iter().copied().filter(|&n| is_called(g, g.node(n), name)).collect();
        if named.is_empty() {
            let known: Vec<&str> = g.schedule().iter().map(|&n| g.node(n).name.as_str()).collect();
            let more = if known.len() > 40 { format!(" and {} more", known.len() - 40) } else { String::new() };
            let list = known.iter().take(40).copied().collect::<Vec<_>>().join(", ");
            wrong.push(
                Diagnostic::bad_input(format!("skip_quant_op_names: the model has no op {name}"))
                    .remedy(format!("its ops are: {list}{more}")),
            );
        }
        found.extend(named);
    }
    wrong.into_result()?;
    Ok(found)
}
