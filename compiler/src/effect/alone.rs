//! What each layer's weights do to the outputs when all others are exact.

use mnnc_ir::{Diagnostic, Graph, Tensor, ValueId};
use mnnc_ops::eval::evaluate_op;
use mnnc_quant::weight::{Site, sites};

use super::Effect;
use crate::compare::noise;
use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::Result;
use crate::weights::Samples;

/// A graph with rounded weights, beside the float graph that it was made of: the same ids stand for the same nodes.
#[derive(Clone, Copy, Debug)]
pub struct Rounded<'a> {
    /// The float model.
    pub float: &'a Model,
    /// The graph with compressed weights.
    pub graph: &'a Graph,
    /// Whether a layer's bias was changed to make up for the error of its own weights, and goes with them.
    pub biases: bool,
}

impl Effect {
    /// Measures the error that each layer alone adds to the outputs: native code of the float model with the weights of that layer rounded, on
    /// the samples. `progress` hears how many of how many layers are done; a note says why it cannot be.
    pub fn alone(
        &mut self,
        compiler: &Compiler,
        rounded: Rounded<'_>,
        samples: &dyn Samples,
        progress: &dyn Fn(usize, usize),
    ) {
        let names: Vec<&str> = self.layers.iter().map(|layer| layer.weights.name.as_str()).collect();
        let measured = rounded.alone(compiler, &names, samples, progress);
        let noises = self.or_note("the error of each layer alone", measured).unwrap_or_default();
        self.layers.iter_mut().zip(noises).for_each(|(layer, noise)| layer.alone = noise);
    }
}

impl Rounded<'_> {
    /// For each of these layers the power of the outputs' error relative to their own, if there is such a layer.
    fn alone(
        &self,
        compiler: &Compiler,
        layers: &[&str],
        samples: &dyn Samples,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<Option<f64>>> {
        let inputs: Vec<Vec<Tensor>> = (0..samples.len()).map(|i| samples.get(i)).collect::<Result<_>>()?;
        let run = |model: &Model| -> Result<Vec<Vec<Tensor>>> {
            let mut engine = Engine::jit(compiler.jit(model)?);
            inputs.iter().map(|inputs| engine.run(inputs)).collect()
        };
        let reference = run(self.float)?;
        let sites = sites(self.float.graph());
        let mut noises = Vec::with_capacity(layers.len());
        for (i, name) in layers.iter().enumerate() {
            let site = sites.iter().find(|site| site.name == *name);
            noises.push(match site.map(|site| self.one(site)).transpose()? {
                None => None,
                Some(None) => Some(0.0),
                Some(Some(graph)) => Some(noise(&reference, &run(&self.float.with_graph(graph))?)),
            });
            progress(i + 1, layers.len());
        }
        Ok(noises)
    }

    /// The float graph with rounded weights of one layer; `None` where they are exact.
    fn one(&self, site: &Site) -> Result<Option<Graph>> {
        let float = self.float.graph();
        let mut graph = None;
        for operand in [site.operand, 2] {
            if operand != site.operand && !(self.biases && site.takes_bias) {
                continue;
            }
            let (was, is) = (float.node(site.node).input(operand), self.graph.node(site.node).input(operand));
            let Some(is) = is.map(|v| stored(self.graph, v)).transpose()?.flatten() else { continue };
            if was.and_then(|v| float.constant(v)).is_some_and(|was| same(was, &is)) {
                continue;
            }
            let graph = graph.get_or_insert_with(|| float.clone());
            let new = graph.add_const(&format!("{}.rounded", site.name), is);
            graph.set_input(site.node, operand, Some(new));
        }
        Ok(graph)
    }
}

/// The numbers of a constant, or of what dequantises one.
fn stored(graph: &Graph, v: ValueId) -> Result<Option<Tensor>> {
    if let Some(constant) = graph.constant(v) {
        return Ok(Some(constant.clone()));
    }
    let Some(n) = graph.producer(v) else { return Ok(None) };
    let node = graph.node(n);
    let inputs: Vec<Option<Tensor>> =
        node.inputs().iter().map(|v| v.and_then(|v| graph.constant(v).cloned())).collect();
    if node.inputs().iter().zip(&inputs).any(|(v, t)| v.is_some() && t.is_none()) {
        return Ok(None);
    }
    let made = evaluate_op(node.op, &node.attrs, &inputs, 1, usize::MAX);
    Ok(made.map_err(|e| Diagnostic::at_node(graph, n, &e))?.into_iter().next())
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.dims() == b.dims() && a.to_f64s() == b.to_f64s()
}
