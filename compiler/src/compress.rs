//! Compression on the way to an artefact: what is asked for, and what it costs.

use std::path::PathBuf;

use mnnc_ir::{Graph, Tensor};
use mnnc_quant::weight::{Effort, Options, Policy, Report, halve_constants, mnn};

use crate::calibrate::{Config, Samples};
use crate::compare::{Deviation, Tolerance, compare};
use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::Result;
use crate::inputs;

/// What becomes of a model's weights.
#[derive(Clone, Debug)]
pub struct Compression {
    /// The same for all, as far as sensible; what a policy leaves open.
    pub options: Options,
    /// The text of a policy: this project's, or MNN's compression parameter file. It decides alone.
    pub policy: Option<String>,
    /// Whether other large float constants, such as tables of embeddings, become `f16`.
    pub halve_constants: bool,
    /// A configuration (MNN's `quant.json`) that names samples: integers are then chosen by what they do to the layers on these.
    pub calibration: Option<PathBuf>,
}

impl Compression {
    /// What the options say, without a policy.
    pub fn new(options: Options) -> Compression {
        let halve_constants = options.bits == 16;
        Compression { options, policy: None, halve_constants, calibration: None }
    }

    /// The policy for a clean graph.
    ///
    /// # Errors
    /// A text that is no policy.
    pub fn policy(&self, graph: &Graph) -> Result<Policy> {
        Ok(match &self.policy {
            None => self.options.policy(graph),
            Some(text) if mnn::is_one(text) => mnn::read(text, &self.options)?,
            Some(text) => Policy::from_json(text)?,
        })
    }
}

/// A model whose weights are compressed.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// It, ready to be compiled.
    pub model: Model,
    /// The float model in the form in which its weights were compressed.
    pub float: Model,
    /// What became of each layer's weights.
    pub report: Report,
    /// What became of each output, against the float model on seeded inputs; empty where an input's shape is open.
    pub losses: Vec<Loss>,
}

/// How far an output of a compressed model is from the float model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Name of the output.
    pub output: String,
    /// How they compare.
    pub deviation: Deviation,
    /// Largest magnitude of the float model's elements.
    pub largest: f64,
}

/// Seed of the inputs.
const SEED: u64 = 0x6c6f_7373;

impl Compiler {
    /// Brings a model into the form in which its weights are compressed, and compresses them. What is emitted of the result is checked against the
    /// compressed weights; what these cost is in [`Compressed::losses`], if `measure` says so.
    ///
    /// # Errors
    /// A policy that is none or not for this model, weights that are not finite, a model that cannot be evaluated.
    pub fn compress_model(&self, model: &Model, how: &Compression, measure: bool) -> Result<Compressed> {
        let clean = model.with_graph(self.clean(model)?.graph);
        let policy = how.policy(clean.graph())?;
        let samples = match &how.calibration {
            Some(path) => Some(Samples::open(&Config::read(path)?, clean.graph())?),
            None => None,
        };
        let samples = samples.as_ref().map(|s| (s as &dyn crate::weights::Samples, Effort::default()));
        let (mut compressed, report) = self.compress(&clean, &policy, samples)?;
        if how.halve_constants {
            let mut graph = compressed.graph().clone();
            halve_constants(&mut graph)?;
            compressed = compressed.with_graph(graph);
        }
        let losses = if measure { losses(model.graph(), compressed.graph())? } else { Vec::new() };
        Ok(Compressed { model: compressed, float: clean, report, losses })
    }
}

/// Compares the outputs of two graphs with the same interface; nothing where an input's shape is open.
fn losses(float: &Graph, compressed: &Graph) -> Result<Vec<Loss>> {
    if float.inputs().iter().any(|&v| float.ty(v).static_dims().is_none()) {
        return Ok(Vec::new());
    }
    let mut engines = [float, compressed].map(Engine::reference);
    let [before, after] = &mut engines;
    Loss::measure(float, before, after)
}

impl Loss {
    /// Compares the outputs of two engines on seeded inputs; `float` is what the first computes.
    ///
    /// # Errors
    /// An input's shape is open, or an engine fails.
    pub fn measure(float: &Graph, before: &mut Engine, after: &mut Engine) -> Result<Vec<Loss>> {
        let inputs = inputs::all(float, SEED)?;
        let (want, got) = (before.run(&inputs)?, after.run(&inputs)?);
        let loss = |(&v, (want, got)): (&mnnc_ir::ValueId, (&Tensor, &Tensor))| Loss {
            output: float.value(v).name.clone(),
            deviation: compare(want, got, Tolerance::F32).unwrap_or_default(),
            largest: want.to_f64s().into_iter().filter(|x| x.is_finite()).fold(0.0, |m, x| m.max(x.abs())),
        };
        Ok(float.outputs().iter().zip(want.iter().zip(&got)).map(loss).collect())
    }
}
