//! Whether compiled code computes what the model says.
//!
//! Two things are compared. The model's outputs: native code against the evaluator on the graph as imported, element by
//! element within the contract's tolerance. And every layer: native code against the evaluator on the graph after all
//! passes, which finds the first kernel that is wrong.
//!
//! A network can be so ill-conditioned that single precision itself is off by more than the tolerance. Then the bound
//! grows by what the reference's own outputs move when the inputs move by a few units in the last place
//! ([`Verification::noise`]). Quantised activations are judged in steps ([`steps`]).

use std::path::Path;

use mnnc_codegen::{Jit, Target};
use mnnc_ir::{DType, Diagnostic, Graph, NodeId, Tensor, ValueId};
use mnnc_ops::Evaluator;

use crate::compare::{Deviation, Tolerance, compare};
use crate::compiler::{Compiler, Model};
use crate::dynamic;
use crate::engine;
use crate::error::{self, Result};
use crate::library::{self, Library};
use crate::native::diagnostics;
use crate::reduced;
use crate::steps;

/// Relative change of inputs that stands for the rounding of a whole network: four units in the last place of f32.
const NUDGE: f64 = 1.0 / (1 << 22) as f64;
/// Rounding happens in every layer, the nudge only in the first.
const NOISE_FACTOR: f64 = 4.0;

/// How one layer or output compares.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name of the value.
    pub value: String,
    /// Name of the node that computes it.
    pub node: String,
    /// Its op; for a fused node those of its members.
    pub op: String,
    /// How far off it is.
    pub deviation: Deviation,
    /// In reduced precision: how far off, in the mean square, it is for the rounding of inputs and weights alone, computed in `f32`. No
    /// code of that precision can do better than about this.
    pub floor: f64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Every layer after optimisation, in order of execution; empty if only outputs were checked.
    pub layers: Vec<Layer>,
    /// The model's outputs.
    pub outputs: Vec<Layer>,
    /// How far the reference's own outputs move when the inputs do by 2^-22 of themselves; measured only where an
    /// output is out of tolerance.
    pub noise: Option<f64>,
}

impl Verification {
    /// What is to blame: nothing if every output is right, else the first layer out of tolerance, or else the first
    /// bad output.
    pub fn first_bad(&self) -> Option<&Layer> {
        let bad = |layer: &&Layer| !layer.deviation.is_within();
        let output = self.outputs.iter().find(bad);
        // Without outputs there are only layers to judge by.
        if output.is_none() && !self.outputs.is_empty() {
            return None;
        }
        self.layers.iter().find(bad).or(output)
    }

    /// A failure that names the first bad node, if there is one.
    ///
    /// # Errors
    /// Of kind verification.
    pub fn judge(&self) -> Result<()> {
        let Some(bad) = self.first_bad() else { return Ok(()) };
        let d = &bad.deviation;
        let message = format!(
            "{} is off by {:.1e} at element {}: {} instead of {}, {:.1} times what is allowed",
            bad.value, d.absolute, d.index, d.got, d.want, d.excess
        );
        Err(Diagnostic::verification(message).node(&bad.node).op(&bad.op).into())
    }

    /// Judges the outputs as a whole, as those of reduced precision are.
    fn judge_by_rms(&mut self) {
        for o in &mut self.outputs {
            o.deviation = o.deviation.judged_by_rms(reduced::bound(o.floor));
        }
    }

    /// Judges the outputs again, by what rounding alone does to them.
    pub(crate) fn know_floors(&mut self, layers: &[Layer]) {
        for o in &mut self.outputs {
            o.floor = layers.iter().find(|l| l.value == o.value).map_or(0.0, |l| l.floor);
        }
        self.judge_by_rms();
    }

    /// The layer or output that is off most.
    pub fn worst(&self) -> Option<&Layer> {
        let all = self.layers.iter().chain(&self.outputs);
        all.max_by(|a, b| a.deviation.excess.total_cmp(&b.deviation.excess))
    }
}

impl Compiler {
    /// Checks native code for this machine, layers and outputs, on the given inputs.
    ///
    /// # Errors
    /// The model cannot be compiled or evaluated; a wrong result is no error of this function.
    pub fn verify_native(&self, model: &Model, inputs: &[Tensor]) -> Result<Verification> {
        let optimised = self.optimise(model, mnnc_transform::Target::Native)?.graph;
        let lowered = self.lower_graph(model, &optimised)?;
        let mut found = self.verify_outputs(model, &optimised, &lowered, inputs)?;
        found.layers = self.verify_layers(model, &optimised, inputs)?;
        if self.reduces() {
            let layers = std::mem::take(&mut found.layers);
            found.know_floors(&layers);
            found.layers = layers;
        }
        Ok(found)
    }

    /// Checks the outputs of lowered code, for every processor of its target that this machine can stand in for.
    pub(crate) fn verify_outputs(
        &self,
        model: &Model,
        optimised: &Graph,
        lowered: &mnnc_codegen::Model,
        inputs: &[Tensor],
    ) -> Result<Verification> {
        let reference = evaluate(model.computed(), inputs)?;
        let mut found = Verification::default();
        for cpu in &lowered.target.cpus {
            let target = Target { arch: lowered.target.arch, cpus: vec![*cpu] };
            if !target.runs_here() {
                continue;
            }
            let mut one = lowered.clone();
            one.variants.retain(|variant| variant.cpu == *cpu);
            one.target = target;
            let jit = Jit::new(one).map_err(|e| diagnostics(e, ""))?;
            let computed = jit.run(inputs).map_err(|e| diagnostics(e, ""))?;
            found.outputs.extend(outputs(optimised, &reference, &computed, Tolerance::F32));
            if self.reduces() || dynamic::quantises(optimised) {
                found.judge_by_rms();
                continue;
            }
            if steps::is_quantised(model.computed()) {
                judge_in_steps(&mut found, model.computed(), [&reference, &computed], inputs)?;
                continue;
            }
            if found.outputs.iter().any(|o| !o.deviation.is_within()) {
                let noise = noise(model.computed(), inputs, &reference)?;
                let tolerance = with_noise(noise);
                found.noise = Some(noise);
                found.outputs = outputs(optimised, &reference, &computed, tolerance);
            }
        }
        Ok(found)
    }

    /// Compares every layer of native code for this machine with the evaluator.
    pub(crate) fn verify_layers(&self, model: &Model, optimised: &Graph, inputs: &[Tensor]) -> Result<Vec<Layer>> {
        if steps::is_quantised(optimised) {
            return self.verify_layers_alone(model, optimised, inputs);
        }
        let mut computed = self.native_layers(model, optimised, inputs)?.into_iter();
        let mut layers = Vec::new();
        let reduces = self.reduces();
        let mut rounded = match reduces {
            true => self.rounded_layers(model, optimised, inputs)?,
            false => Vec::new(),
        }
        .into_iter();
        // Compared as they come: the evaluator's results need not be kept.
        let mut observe = |n: NodeId, expected: &[Tensor]| {
            // Nodes of bodies run too, but only results of the main region can be watched.
            if optimised.node(n).region() == Some(optimised.main()) && is_watched(optimised, n) {
                for (want, (v, got)) in expected.iter().zip(&mut computed) {
                    let mut layer = layer(optimised, v, want, &got, Tolerance::of_layer(want));
                    if let Some((_, moved)) = rounded.next() {
                        layer.floor = compare(want, &moved, Tolerance::F32).map_or(0.0, |d| d.rms);
                        layer.deviation = layer.deviation.judged_by_rms(reduced::bound(layer.floor));
                    }
                    layers.push(layer);
                }
            }
        };
        Evaluator::new(optimised).run_observed(inputs, &mut observe).map_err(|e| engine::diagnostic(&e))?;
        Ok(layers)
    }

    /// Compares every layer of native code with the evaluator on the operands that native code computed.
    fn verify_layers_alone(&self, model: &Model, optimised: &Graph, inputs: &[Tensor]) -> Result<Vec<Layer>> {
        let mut computed = self.native_layers(model, optimised, inputs)?.into_iter();
        let mut layers = Vec::new();
        let mut go_on_with_native = |n: NodeId, expected: Vec<Tensor>| {
            if optimised.node(n).region() != Some(optimised.main()) || !is_watched(optimised, n) {
                return expected;
            }
            let each = expected.into_iter().zip(&mut computed).map(|(want, (v, got))| {
                let mut layer = layer(optimised, v, &want, &got, Tolerance::of_layer(&want));
                layer.deviation = steps::judge_layer(layer.deviation, &want, &got);
                layers.push(layer);
                if (want.dtype(), want.dims()) == (got.dtype(), got.dims()) { got } else { want }
            });
            each.collect()
        };
        let run = Evaluator::new(optimised).run_intercepted(inputs, &mut go_on_with_native);
        run.map_err(|e| engine::diagnostic(&e))?;
        Ok(layers)
    }

    /// What native code for this machine computes for every result of the main region that [is watched](is_watched), in order of execution.
    pub(crate) fn native_layers(
        &self,
        model: &Model,
        optimised: &Graph,
        inputs: &[Tensor],
    ) -> Result<Vec<(ValueId, Tensor)>> {
        let (watched, graph) = with_all_results(optimised);
        let jit = Jit::new(self.lower_graph(model, &graph)?).map_err(|e| diagnostics(e, ""))?;
        let computed = jit.run(inputs).map_err(|e| diagnostics(e, ""))?;
        Ok(watched.into_iter().zip(computed.into_iter().skip(optimised.outputs().len())).collect())
    }

    /// Checks what the passes made of a model, by evaluating the graph before and after them.
    ///
    /// # Errors
    /// The model cannot be evaluated; a wrong result is no error of this function.
    pub fn verify_graph(&self, model: &Model, after: &Graph, inputs: &[Tensor]) -> Result<Verification> {
        self.judge_outputs(model, &evaluate(model.computed(), inputs)?, &evaluate(after, inputs)?, inputs)
    }
}

impl Compiler {
    /// Checks a shared library, object or archive of the model `name` by running it on the given inputs. Objects and
    /// archives are linked into a temporary library first.
    ///
    /// # Errors
    /// The artefact cannot be linked, loaded or run; a wrong result is no error of this function.
    pub fn verify_artefact(
        &self,
        model: &Model,
        artefact: &Path,
        name: &str,
        inputs: &[Tensor],
    ) -> Result<Verification> {
        let folder = tempfile::tempdir().map_err(|e| error::file("create", &std::env::temp_dir(), &e))?;
        let linked = folder.path().join("model.so");
        let library = if artefact.extension().is_some_and(|e| e == "so") {
            artefact
        } else {
            library::link(artefact, &linked)?;
            &linked
        };
        let library = Library::open(library, name)?;
        let computed = library.run(model.graph(), inputs)?;
        self.judge_outputs(model, &evaluate(model.computed(), inputs)?, &computed, inputs)
    }

    /// Compares outputs with a reference, with regard to the model's conditioning.
    pub(crate) fn judge_outputs(
        &self,
        model: &Model,
        reference: &[Tensor],
        computed: &[Tensor],
        inputs: &[Tensor],
    ) -> Result<Verification> {
        let graph = model.computed();
        let mut found =
            Verification { outputs: outputs(graph, reference, computed, Tolerance::F32), ..Verification::default() };
        if self.reduces() || self.multiplies_bytes() {
            found.judge_by_rms();
        } else if steps::is_quantised(graph) {
            judge_in_steps(&mut found, graph, [reference, computed], inputs)?;
        } else if found.first_bad().is_some() {
            // The evaluator's own movement: its distance from another reference must not pass for noise.
            let noise = noise(graph, inputs, &evaluate(graph, inputs)?)?;
            found.noise = Some(noise);
            found.outputs = outputs(graph, reference, computed, with_noise(noise));
        }
        Ok(found)
    }
}

fn outputs(graph: &Graph, reference: &[Tensor], computed: &[Tensor], tolerance: Tolerance) -> Vec<Layer> {
    let pairs = graph.outputs().iter().zip(reference.iter().zip(computed));
    pairs.map(|(&v, (want, got))| layer(graph, v, want, got, tolerance)).collect()
}

pub(crate) fn layer(graph: &Graph, v: ValueId, want: &Tensor, got: &Tensor, tolerance: Tolerance) -> Layer {
    let deviation = compare(want, got, tolerance).unwrap_or(Deviation {
        excess: f64::INFINITY,
        absolute: f64::INFINITY,
        rms: f64::INFINITY,
        ..Deviation::default()
    });
    let producer = graph.producer(v);
    Layer {
        value: graph.value(v).name.clone(),
        node: producer.map_or_else(String::new, |n| graph.node(n).name.clone()),
        op: producer.map_or_else(|| "input".into(), |n| op_name(graph, n)),
        deviation,
        floor: 0.0,
    }
}

/// The op of a node; of a fused one the ops of its members.
fn op_name(graph: &Graph, n: NodeId) -> String {
    let node = graph.node(n);
    if node.op.name != "fused" {
        return node.op.name.into();
    }
    let members = node.regions.iter().flat_map(|&r| graph.region(r).nodes());
    members.map(|&n| graph.node(n).op.name).collect::<Vec<_>>().join("+")
}

fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    Evaluator::new(graph).run(inputs).map_err(|e| engine::diagnostic(&e).into())
}

/// Whether the result of a node is compared. That of constants alone is a weight, which kernels read as it is stored: the numbers exist only
/// where somebody asks for them.
pub(crate) fn is_watched(graph: &Graph, n: NodeId) -> bool {
    let mut inputs = graph.node(n).inputs().iter().flatten();
    graph.node(n).inputs().is_empty() || !inputs.all(|&v| graph.constant(v).is_some())
}

/// A graph that yields the results of all its watched nodes, behind its own outputs; and which values those are.
fn with_all_results(graph: &Graph) -> (Vec<ValueId>, Graph) {
    let mut graph = graph.clone();
    let watched = graph.schedule().iter().filter(|&&n| is_watched(&graph, n));
    let all: Vec<ValueId> = watched.flat_map(|&n| graph.node(n).outputs().to_vec()).collect();
    let results = graph.outputs().iter().chain(&all).copied().collect();
    graph.set_results(graph.main(), results);
    (all, graph)
}

/// Judges the last outputs of `found`, those of a quantised graph.
fn judge_in_steps(
    found: &mut Verification,
    graph: &Graph,
    [reference, computed]: [&[Tensor]; 2],
    inputs: &[Tensor],
) -> Result<()> {
    let first = found.outputs.len() - computed.len();
    if found.outputs[first..].iter().all(|o| o.deviation.is_within()) {
        return Ok(());
    }
    let nudged: Vec<Tensor> = inputs.iter().map(|t| nudge(t, steps::NUDGE)).collect();
    let moved = evaluate(graph, &nudged)?;
    let tensors = reference.iter().zip(computed).zip(&moved);
    for (o, (&v, ((want, got), moved))) in found.outputs[first..].iter_mut().zip(graph.outputs().iter().zip(tensors)) {
        o.deviation = steps::judge_output(o.deviation, want, got, moved, steps::step(graph, v));
    }
    Ok(())
}

fn with_noise(noise: f64) -> Tolerance {
    Tolerance { absolute: Tolerance::F32.absolute + NOISE_FACTOR * noise, ..Tolerance::F32 }
}

/// How far the reference's outputs move when each input element does by [`NUDGE`] of itself, up and down in turn.
fn noise(graph: &Graph, inputs: &[Tensor], reference: &[Tensor]) -> Result<f64> {
    let nudged: Vec<Tensor> = inputs.iter().map(|t| nudge(t, NUDGE)).collect();
    let moved = evaluate(graph, &nudged)?;
    let mut largest = 0.0f64;
    for (a, b) in reference.iter().zip(&moved) {
        if let Ok(deviation) = compare(a, b, Tolerance::F32)
            && deviation.absolute.is_finite()
        {
            largest = largest.max(deviation.absolute);
        }
    }
    Ok(largest)
}

/// Each element moved by this share of itself, up and down in turn.
fn nudge(input: &Tensor, by: f64) -> Tensor {
    if input.dtype() != DType::F32 {
        return input.clone();
    }
    let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let values = input.view::<f32>();
    let moved = values.iter().enumerate().map(|(i, &x)| (f64::from(x) * (1.0 + sign(i) * by)) as f32);
    Tensor::new(input.dims(), moved.collect())
}

#[cfg(test)]
mod tests {
    use super::{Deviation, Layer, Verification};

    fn layer(value: &str, excess: f64) -> Layer {
        let deviation = Deviation { excess, ..Deviation::default() };
        Layer { value: value.into(), node: String::new(), op: String::new(), deviation, floor: 0.0 }
    }

    #[test]
    fn right_outputs_acquit_and_wrong_ones_blame_the_first_bad_layer() {
        let layers = vec![layer("a", 0.1), layer("b", 2.0), layer("c", 9.0)];
        let right = Verification { layers: layers.clone(), outputs: vec![layer("y", 0.9)], noise: None };
        assert_eq!(right.first_bad(), None);
        assert_eq!(right.worst().unwrap().value, "c");
        let wrong = Verification { layers, outputs: vec![layer("y", 1.1)], noise: None };
        assert_eq!(wrong.first_bad().unwrap().value, "b");
        let only = Verification { layers: vec![], outputs: vec![layer("x", 0.0), layer("y", 3.0)], noise: None };
        assert_eq!(only.first_bad().unwrap().value, "y");
    }
}
