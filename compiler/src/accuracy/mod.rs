//! How good a classifier is on pictures with known classes, and how far a compressed model strays from its original.

mod labels;
mod pictures;
mod score;

use mnnc_ir::Tensor;

use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::Result;
use crate::weights::Samples;

pub use labels::Labels;
pub use pictures::{Compared, Pictures};
pub use score::{Accuracy, Score};

/// The first output of a model for each sample, as `f32`.
pub type Outputs = Vec<Vec<f32>>;

impl Compiler {
    /// Runs a model in native code on all samples.
    ///
    /// # Errors
    /// It does not compile for this machine, or a sample cannot be read or run.
    pub fn outputs(&self, model: &Model, samples: &dyn Samples) -> Result<Outputs> {
        let mut engine = Engine::jit(self.jit(model)?);
        (0..samples.len()).map(|i| Ok(first(&engine.run(&samples.get(i)?)?))).collect()
    }
}

/// The output that classes are told by.
pub(crate) fn first(outputs: &[Tensor]) -> Vec<f32> {
    outputs.first().map_or_else(Vec::new, |t| t.to_f64s().into_iter().map(|x| x as f32).collect())
}

/// Judges outputs by the samples' classes, where these are known, and by another model's outputs on the same samples.
pub fn judge(outputs: &Outputs, classes: Option<&[usize]>, reference: Option<&Outputs>) -> Accuracy {
    let mut score = Score::default();
    for (i, got) in outputs.iter().enumerate() {
        let class = classes.and_then(|c| c.get(i).copied());
        score.add(class, reference.and_then(|r| r.get(i)).map(Vec::as_slice), got);
    }
    score.finish()
}
