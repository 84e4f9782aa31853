//! Compression of a model's weights, with and without a calibration set.

mod synthetic;

use mnnc_ir::{Diagnostics, Graph, Tensor, ValueId};
use mnnc_quant::weight::{Calibrated, Effort, Method, Policy, Report, Watch, compress, compress_with};

use crate::compiler::{CompileOptions, Compiler, Model};
use crate::error::Result;

pub use synthetic::Synthetic;

/// Samples of a model's inputs, by number.
pub trait Samples {
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Inputs in the model's order.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, i: usize) -> Result<Vec<Tensor>>;
}

impl Samples for [Vec<Tensor>] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn get(&self, i: usize) -> Result<Vec<Tensor>> {
        Ok(self[i].clone())
    }
}

impl Compiler {
    /// Compresses the weights that `policy` lists; `model` is clean (see [`clean`](Self::clean)). Integers of method
    /// [`Output`](mnnc_quant::weight::Method::Output) are chosen so that the results of layers change least on the samples, or without any on
    /// [`Synthetic`] ones.
    ///
    /// # Errors
    /// A policy that is not for this model, weights that are not finite, samples that cannot be run.
    pub fn compress(
        &self,
        model: &Model,
        policy: &Policy,
        samples: Option<(&dyn Samples, Effort)>,
    ) -> Result<(Model, Report)> {
        let mut graph = model.graph().clone();
        let mut note = None;
        let known = match samples {
            Some((samples, effort)) => Some(self.observe(model, policy, samples, effort)?),
            None if wants_samples(policy) => {
                let noise = Synthetic::new(model.graph());
                // What noise gives in the mean is not what pictures give: biases stay.
                let effort = Effort { bias: false, ..Effort::default() };
                let found = self.observe(model, policy, &noise, effort);
                note = found.as_ref().err().and_then(|e| e.iter().next()).map(|e| {
                    format!("integers are chosen by the weights alone, as the model does not run here: {}", e.message)
                });
                found.ok()
            }
            None => None,
        };
        let mut report = match known {
            Some(mut quantiser) => compress_with(&mut graph, policy, &mut quantiser)?,
            None => compress(&mut graph, policy)?,
        };
        report.notes.extend(note);
        Ok((model.with_graph(graph), report))
    }

    fn observe(&self, model: &Model, policy: &Policy, samples: &dyn Samples, effort: Effort) -> Result<Calibrated> {
        // Statistics are gathered on this machine, whatever is compiled for later.
        let host = Compiler::new(CompileOptions {
            opt_level: self.options.opt_level,
            prefer: self.options.prefer,
            ..CompileOptions::default()
        });
        let mut watch = NativeWatch { compiler: &host, model, samples };
        Calibrated::observe(model.graph(), policy, &mut watch, effort)
    }
}

fn wants_samples(policy: &Policy) -> bool {
    policy.ops.iter().any(|op| op.weights.is_integer() && op.weights.method == Method::Output)
}

/// Watches values in native code, one sample after the other, so that sums do not depend on the number of threads.
pub(crate) struct NativeWatch<'a> {
    pub compiler: &'a Compiler,
    pub model: &'a Model,
    pub samples: &'a dyn Samples,
}

impl Watch for NativeWatch<'_> {
    fn samples(&self) -> usize {
        self.samples.len()
    }
    fn watch(
        &mut self,
        g: &Graph,
        values: &[ValueId],
        see: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> std::result::Result<(), Diagnostics> {
        self.compiler.watch(self.model, g, values)?.each(self.samples, see)
    }
}
