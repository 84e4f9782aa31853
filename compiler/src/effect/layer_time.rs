//! Where the time of an inference goes, layer by layer.
//!
//! A step of native code is named after the node or value that it ends at; its time is that of the last layer with weights before it. Layers that are
//! computed in one step with a later one have no time of their own.

use std::collections::HashMap;

use mnnc_ir::{Graph, NodeId, Tensor};
use mnnc_quant::weight::sites;

use super::Effect;
use crate::compiler::{Compiler, Model};
use crate::error::Result;
use crate::inputs;
use crate::native::diagnostics;

/// Runs of which the fastest counts, for each step.
const RUNS: usize = 10;
/// Seed of the inputs.
const SEED: u64 = 0x7374_6570;
/// How many endings a step's name has at most behind that of its value, such as `.rows.border`.
const ENDINGS: usize = 2;

impl Effect {
    /// Measures the time of each layer of both models on one thread, each by its compiler; a note says where that cannot be. `float` is the graph
    /// whose layers these are.
    pub fn layer_times(&mut self, float: &Graph, before: (&Compiler, &Model), after: (&Compiler, &Model)) {
        if !after.0.target().runs_here() {
            // The note on the whole time says so.
            return;
        }
        let names: Vec<&str> = self.layers.iter().map(|layer| layer.weights.name.as_str()).collect();
        let owners = Owners::new(float, &names);
        let measure = || -> Result<[HashMap<usize, f64>; 2]> {
            let inputs = inputs::all(before.1.graph(), SEED)?;
            Ok([owners.times(before, &inputs)?, owners.times(after, &inputs)?])
        };
        let measured = measure();
        let Some([before, after]) = self.or_note("the time of each layer", measured) else { return };
        for (i, layer) in self.layers.iter_mut().enumerate() {
            (layer.before_ms, layer.after_ms) = (before.get(&i).copied(), after.get(&i).copied());
        }
    }
}

/// Which layer a step belongs to.
struct Owners<'a> {
    /// Layers by the names of the nodes and values behind them.
    layers: HashMap<&'a str, usize>,
}

impl<'a> Owners<'a> {
    fn new(float: &'a Graph, names: &[&str]) -> Owners<'a> {
        let numbers: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let mut of_node: HashMap<NodeId, usize> =
            sites(float).iter().filter_map(|site| Some((site.node, *numbers.get(site.name.as_str())?))).collect();
        let mut layers = HashMap::new();
        for &n in float.schedule() {
            let node = float.node(n);
            let before = || node.inputs().iter().flatten().find_map(|&v| of_node.get(&float.producer(v)?).copied());
            let Some(layer) = of_node.get(&n).copied().or_else(before) else { continue };
            of_node.insert(n, layer);
            layers.insert(node.name.as_str(), layer);
            layers.extend(node.outputs().iter().map(|&v| (float.value(v).name.as_str(), layer)));
        }
        Owners { layers }
    }

    fn of(&self, step: &str) -> Option<usize> {
        let lengths = std::iter::successors(Some(step.len()), |&length| step[..length].rfind('.'));
        lengths.take(1 + ENDINGS).find_map(|length| self.layers.get(&step[..length]).copied())
    }

    /// Milliseconds of each layer. A step that belongs to none prepares the operand of one that follows.
    fn times(&self, (compiler, model): (&Compiler, &Model), inputs: &[Tensor]) -> Result<HashMap<usize, f64>> {
        let jit = compiler.jit(model)?;
        let mut workspace = jit.workspace();
        let mut fastest: Vec<f64> = Vec::new();
        for _ in 0..RUNS {
            let (_, times) = jit.run_timed(&mut workspace, inputs).map_err(|e| diagnostics(e, ""))?;
            fastest.resize(times.len(), f64::INFINITY);
            fastest.iter_mut().zip(times).for_each(|(best, step)| *best = best.min(step.time.as_secs_f64() * 1e3));
        }
        let steps = &jit.model().variants[0].schedule.steps;
        let mut found = HashMap::new();
        let mut waiting = 0.0;
        for (step, ms) in steps.iter().zip(fastest) {
            waiting += ms;
            if let Some(layer) = self.of(&step.name) {
                *found.entry(layer).or_insert(0.0) += std::mem::take(&mut waiting);
            }
        }
        Ok(found)
    }
}
