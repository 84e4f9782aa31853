//! What compression does to a model: size, time, error and accuracy, before and after, and layer by layer.
//!
//! [`Effect::new`] holds what is known anyway; the rest is measured when asked for: the time of native code ([`Effect::time`]), the float
//! model's size ([`Effect::float_file`]), the time of each layer ([`Effect::layer_times`]) and the error that it adds alone ([`Effect::alone`]).

mod alone;
mod layer_time;
mod time;

use mnnc_quant::weight;
use serde::Serialize;

use crate::accuracy::Compared;
use crate::compiler::{Compiler, Model};
use crate::compress::Loss;
use crate::emit::{Compiled, Emit};
use crate::error::{self, Result};

pub use alone::Rounded;
pub use time::Time;

/// What compression did to a model.
#[derive(Clone, Debug, Serialize)]
pub struct Effect {
    /// The float model's file.
    pub model: String,
    /// Bytes of that file, and of its data files.
    pub source_bytes: u64,
    /// Bytes of what was written, weights beside a `.mnn` file included.
    pub file: Change<u64>,
    /// Bytes of the weights of all [`layers`](Self::layers).
    pub weights: Change<u64>,
    /// Time of an inference; `None` where it was not measured.
    pub time: Option<Time>,
    /// What the errors of outputs were measured on.
    pub measured_on: String,
    /// Errors of the outputs against the float model's.
    pub outputs: Vec<OutputError>,
    /// Layers with weights, in order of execution.
    pub layers: Vec<Layer>,
    /// What [`Layer::alone`] was measured on, or how it is known.
    pub alone_on: String,
    /// Accuracy on labelled pictures.
    pub accuracy: Option<Compared>,
    /// What could not be measured, and other things worth knowing.
    pub notes: Vec<String>,
}

/// A quantity before and after compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// Of the float model; `None` where it was not measured.
    pub before: Option<T>,
    /// Of the compressed one.
    pub after: T,
}

/// How far an output is from the float model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputError {
    /// Its name.
    pub output: String,
    /// Signal to noise in decibels; `None` without noise.
    pub sqnr: Option<f64>,
    /// Root of the mean square of the differences, as a share of that of the float model's elements.
    pub relative_rms: f64,
    /// Largest absolute difference, where it is known.
    pub max_error: Option<f64>,
    /// Largest magnitude of the float model's elements, where it is known.
    pub largest: Option<f64>,
}

impl OutputError {
    /// From the power of the differences relative to that of the float model's elements.
    pub fn of_noise(output: &str, noise: f64) -> OutputError {
        let sqnr = (noise > 0.0).then(|| crate::compare::decibels(noise));
        OutputError { output: output.into(), sqnr, relative_rms: noise.sqrt(), max_error: None, largest: None }
    }
}

impl From<&Loss> for OutputError {
    fn from(loss: &Loss) -> OutputError {
        let rms = loss.deviation.rms;
        OutputError {
            max_error: Some(loss.deviation.absolute),
            largest: Some(loss.largest),
            ..OutputError::of_noise(&loss.output, rms * rms)
        }
    }
}

/// A layer with weights.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// What became of its weights.
    #[serde(flatten)]
    pub weights: weight::Layer,
    /// Power of the outputs' error relative to their own when only this layer's weights are compressed; `None` where it is not known.
    pub alone: Option<f64>,
    /// Its time in the float model, minimum of a few runs, in milliseconds; `None` where it was not measured, or is part of a later layer's.
    pub before_ms: Option<f64>,
    /// Its time in the compressed model.
    pub after_ms: Option<f64>,
}

impl Layer {
    fn new(weights: weight::Layer) -> Layer {
        Layer { weights, alone: None, before_ms: None, after_ms: None }
    }
}

impl Effect {
    /// Sizes, layers and notes. `compressed` names the layers of `float` and says what became of them, `done` what was written.
    pub fn new(float: &Model, compressed: &weight::Report, done: &Compiled) -> Effect {
        let (before, after) = compressed.bytes();
        Effect {
            model: float.path().display().to_string(),
            source_bytes: float.imported().source_bytes,
            file: Change { before: None, after: done.all_bytes() },
            weights: Change { before: Some(before), after },
            time: None,
            measured_on: String::new(),
            outputs: Vec::new(),
            layers: compressed.layers.iter().cloned().map(Layer::new).collect(),
            alone_on: String::new(),
            accuracy: None,
            notes: compressed.notes.iter().chain(&done.notes).cloned().collect(),
        }
    }

    /// The output with the largest error; `None` where none was measured.
    pub fn worst(&self) -> Option<&OutputError> {
        self.outputs.iter().max_by(|a, b| a.relative_rms.total_cmp(&b.relative_rms))
    }

    /// Measures how large the float model would be: it is written, unchecked, to a temporary folder. A note says why that cannot be.
    pub fn float_file(&mut self, compiler: &Compiler, float: &Model, emit: Emit) {
        let extension = Emit::ALL.iter().find(|(e, ..)| *e == emit).map_or("", |(_, _, extension)| extension);
        let write = || -> Result<u64> {
            let folder = tempfile::tempdir().map_err(|e| error::file("write", &std::env::temp_dir(), &e))?;
            let path = folder.path().join(format!("float.{extension}"));
            Ok(compiler.compile(float, emit, &path, false)?.all_bytes())
        };
        let bytes = write();
        self.file.before = self.or_note("the float model's size", bytes);
    }

    /// The error of each layer alone as a search expects it: how the outputs' noise grows with that of the weights, by name, times that noise.
    pub fn alone_from(&mut self, gains: &[(String, f64)]) {
        self.alone_on = "by the noise gain that the search measured".into();
        for layer in &mut self.layers {
            let put_in = layer.weights.sqnr.map_or(0.0, |db| 10f64.powf(-db / 10.0));
            let gain = gains.iter().find(|(name, _)| *name == layer.weights.name).map(|(_, gain)| *gain);
            layer.alone = gain.map(|gain| if put_in > 0.0 { gain * put_in } else { 0.0 }).filter(|n| n.is_finite());
        }
    }

    /// What was measured, or else a note why not: what was asked for is done, and a figure that is missing does not undo it.
    fn or_note<T>(&mut self, what: &str, measured: Result<T>) -> Option<T> {
        let why = match measured {
            Ok(measured) => return Some(measured),
            Err(e) => e.iter().next().map_or_else(String::new, |d| d.message.clone()),
        };
        self.notes.push(format!("{what} was not measured: {why}"));
        None
    }
}
