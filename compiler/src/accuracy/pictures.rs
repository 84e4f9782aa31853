//! A folder of pictures with known classes, and two models on it.

use std::path::Path;

use mnnc_ir::Graph;
use mnnc_ir::diag::Diagnostic;
use serde::Serialize;

use super::{Accuracy, Labels, Score, first};
use crate::calibrate::{Config, Samples};
use crate::engine::Engine;
use crate::error::Result;

/// Pictures that a list of labels names.
pub struct Pictures {
    /// The pictures.
    pub samples: Samples,
    /// The class of each, counted from 0.
    pub classes: Vec<usize>,
    /// How many pictures of the folder the list does not name; they are left out.
    pub unlabelled: usize,
}

/// How good a model and a compressed one are on the same pictures.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The float model.
    pub before: Accuracy,
    /// The compressed one, with agreement and noise against the float one.
    pub after: Accuracy,
    /// Files that could not be read, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Pictures that the labels do not name.
    pub unlabelled: usize,
}

impl Pictures {
    /// The pictures in the folder `images` that the list `labels` names, prepared as `config` says. What cannot be read is in
    /// [`Samples::skipped`].
    ///
    /// # Errors
    /// The folder or the list cannot be read or is empty, no picture is in the list, a class that the model's first output does not have.
    pub fn open(config: &Config, images: &Path, labels: &Path, graph: &Graph) -> Result<Pictures> {
        let list = Labels::read(labels)?;
        let config = Config { path: images.to_path_buf(), used_image_num: 0, ..config.clone() };
        let all = Samples::open(&config, graph)?;
        let (samples, classes) = all.labelled(&list)?;
        if classes.is_empty() {
            let message =
                format!("none of the {} pictures in {} is in the list of labels", all.len(), images.display());
            return Err(Diagnostic::bad_input(message)
                .remedy(format!("write FILE,CLASS a line, with names such as {}", all.name(0)))
                .file(labels.display())
                .into());
        }
        let outputs = graph.outputs().first().and_then(|&v| graph.ty(v).num_elements());
        if let Some(i) = outputs.and_then(|n| classes.iter().position(|&class| class >= n)) {
            let message = format!(
                "{} is of class {}, and the model tells {} classes apart",
                samples.name(i),
                classes[i],
                outputs.unwrap_or_default()
            );
            return Err(Diagnostic::bad_input(message).remedy("count classes from 0").file(labels.display()).into());
        }
        let unlabelled = all.len() - samples.len();
        Ok(Pictures { samples, classes, unlabelled })
    }

    /// Runs the float model and the compressed one on every picture; `progress` hears how many of how many are done.
    ///
    /// # Errors
    /// A picture that could be read cannot any more, or a model does not run.
    pub fn compare(
        &self,
        before: &mut Engine,
        after: &mut Engine,
        progress: &dyn Fn(usize, usize),
    ) -> Result<Compared> {
        let (mut float, mut compressed) = (Score::default(), Score::default());
        for (i, &class) in self.classes.iter().enumerate() {
            let inputs = self.samples.get(i)?;
            let (want, got) = (first(&before.run(&inputs)?), first(&after.run(&inputs)?));
            float.add(Some(class), None, &want);
            compressed.add(Some(class), Some(&want), &got);
            progress(i + 1, self.classes.len());
        }
        Ok(Compared {
            before: float.finish(),
            after: compressed.finish(),
            skipped: self.samples.skipped().to_vec(),
            unlabelled: self.unlabelled,
        })
    }
}
