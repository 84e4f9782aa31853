//! Calibration samples: what the configuration's folder holds, as tensors for the model's inputs.

use std::path::{Path, PathBuf};

use mnnc_ir::diag::Diagnostic;
use mnnc_ir::{DType, Graph, Tensor};
use rayon::prelude::*;

use super::config::{Config, InputType};
use super::picture::Preparation;
use super::sequence::{self, Port};
use crate::accuracy::Labels;
use crate::error::{self, Result};
use crate::inputs;
use crate::npy;

/// Seed of noise that stands for a sample.
const SEED: u64 = 0x7361_6d70;

const PICTURES: [&str; 4] = ["jpg", "jpeg", "jpe", "png"];

/// The samples of a calibration. They are read from their files whenever they are needed, for they may be many.
#[derive(Clone)]
pub struct Samples {
    ports: Vec<Port>,
    source: Source,
    skipped: Vec<(String, String)>,
}

#[derive(Clone)]
enum Source {
    /// Pictures, so many a sample as the model's batch has images.
    Pictures { preparation: Preparation, files: Vec<PathBuf>, batch: usize },
    /// A `.npy` file a sample.
    Arrays(Vec<PathBuf>),
    /// A folder a sample.
    Folders(Vec<PathBuf>, Vec<super::config::InputSpec>),
    /// In memory.
    Given(Vec<Vec<Tensor>>),
}

impl Samples {
    /// Finds the samples in the configuration's folder, in order of their names, and looks at each: what cannot be read is skipped and
    /// listed in [`skipped`](Self::skipped).
    ///
    /// # Errors
    /// The folder is missing, unreadable or holds nothing that can be used, or the model does not take what it holds.
    pub fn open(config: &Config, graph: &Graph) -> Result<Samples> {
        let ports = sequence::ports(graph)?;
        let mut entries = entries(&config.path)?;
        let mut samples = match config.input_type {
            InputType::Sequence => {
                entries.retain(|p| p.is_dir());
                Samples { ports, source: Source::Folders(entries, config.inputs.clone()), skipped: Vec::new() }
            }
            InputType::Image => {
                let has = |p: &PathBuf, extensions: &[&str]| {
                    let extension = p.extension().map(|e| e.to_string_lossy().to_lowercase());
                    p.is_file() && extension.is_some_and(|e| extensions.contains(&e.as_str()))
                };
                if entries.iter().any(|p| has(p, &["npy"])) {
                    entries.retain(|p| has(p, &["npy"]));
                    one_input(&ports)?;
                    Samples { ports, source: Source::Arrays(entries), skipped: Vec::new() }
                } else {
                    entries.retain(|p| has(p, &PICTURES));
                    let (preparation, batch) = pictures(config, one_input(&ports)?)?;
                    Samples {
                        ports,
                        source: Source::Pictures { preparation, files: entries, batch },
                        skipped: Vec::new(),
                    }
                }
            }
        };
        samples.look(config)?;
        Ok(samples)
    }

    /// One sample: a folder in MNN's form for tests, with `input.json` and a file for each input.
    ///
    /// # Errors
    /// The folder cannot be read, or does not hold what the model takes.
    pub fn folder(graph: &Graph, folder: &Path) -> Result<Samples> {
        let ports = sequence::ports(graph)?;
        entries(folder)?;
        let sample =
            sequence::read(folder, &ports, &[]).map_err(|why| Diagnostic::bad_input(why).file(folder.display()))?;
        Ok(Samples { ports, source: Source::Given(vec![sample]), skipped: Vec::new() })
    }

    /// Samples that are in memory already, in the order of the model's inputs.
    pub fn given(graph: &Graph, samples: Vec<Vec<Tensor>>) -> Result<Samples> {
        Ok(Samples { ports: sequence::ports(graph)?, source: Source::Given(samples), skipped: Vec::new() })
    }

    /// One sample of seeded noise.
    ///
    /// # Errors
    /// An input's shape is open.
    pub fn seeded(graph: &Graph) -> Result<Samples> {
        Samples::given(graph, vec![inputs::all(graph, SEED)?])
    }

    /// Drops what cannot be read, and what is more than the configuration asks for.
    fn look(&mut self, config: &Config) -> Result<()> {
        let found = self.files().len();
        let wanted = if config.used_image_num == 0 { found } else { config.used_image_num };
        let mut good = Vec::new();
        // In slices, so that not a million files are read where a hundred are wanted.
        for slice in self.files().to_vec().chunks(64) {
            if good.len() >= wanted {
                break;
            }
            let looked: Vec<_> = slice.par_iter().map(|file| (file, self.read(file).err())).collect();
            for (file, problem) in looked {
                match problem {
                    _ if good.len() >= wanted => {}
                    None => good.push(file.clone()),
                    Some(why) => {
                        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                        self.skipped.push((name, why));
                    }
                }
            }
        }
        if good.is_empty() {
            let what = match self.source {
                Source::Folders(..) => "no sample folders",
                _ => "no pictures (.jpg, .png) and no arrays (.npy)",
            };
            let message = match self.skipped.first() {
                None => format!("the folder of samples holds {what}"),
                Some((name, why)) => {
                    format!("none of the {} samples in the folder can be read; {name}: {why}", self.skipped.len())
                }
            };
            return Err(Diagnostic::bad_input(message).file(config.path.display()).into());
        }
        match &mut self.source {
            Source::Pictures { files, .. } | Source::Arrays(files) | Source::Folders(files, _) => *files = good,
            Source::Given(_) => {}
        }
        Ok(())
    }

    fn files(&self) -> &[PathBuf] {
        match &self.source {
            Source::Pictures { files, .. } | Source::Arrays(files) | Source::Folders(files, _) => files,
            Source::Given(_) => &[],
        }
    }

    /// What one file or folder holds, for all inputs; of a picture, one image of the batch.
    fn read(&self, file: &Path) -> std::result::Result<Vec<Tensor>, String> {
        match &self.source {
            Source::Pictures { preparation, .. } => {
                let values = preparation.read(file)?;
                Ok(vec![Tensor::new(vec![values.len()], values)])
            }
            Source::Arrays(_) => {
                let tensor = npy::read(file).map_err(|e| plain(&e))?;
                Ok(vec![sequence::fit(&self.ports[0], tensor)?])
            }
            Source::Folders(_, specs) => sequence::read(file, &self.ports, specs),
            Source::Given(_) => Err("samples in memory have no files".into()),
        }
    }

    /// Number of samples: runs of the model.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Pictures { files, batch, .. } => files.len().div_ceil(*batch),
            Source::Given(all) => all.len(),
            _ => self.files().len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` samples, or all if there are fewer, evenly spread over all.
    pub fn some(&self, count: usize) -> Samples {
        let (all, count) = (self.len(), count.min(self.len()));
        let spread: Vec<usize> = (0..count).map(|i| i * all / count).collect();
        self.only(&spread)
    }

    /// The samples with these numbers.
    fn only(&self, chosen: &[usize]) -> Samples {
        let mut few = self.clone();
        match &mut few.source {
            Source::Pictures { files, batch, .. } => {
                let of = |&i: &usize| files[i * *batch..((i + 1) * *batch).min(files.len())].to_vec();
                *files = chosen.iter().flat_map(of).collect();
            }
            Source::Arrays(files) | Source::Folders(files, _) => {
                *files = chosen.iter().map(|&i| files[i].clone()).collect();
            }
            Source::Given(all) => *all = chosen.iter().map(|&i| all[i].clone()).collect(),
        }
        few
    }

    /// Number of files that are used.
    pub fn files_used(&self) -> usize {
        self.files().len().max(if matches!(self.source, Source::Given(_)) { self.len() } else { 0 })
    }

    /// The class of each sample, by the name of its file.
    ///
    /// # Errors
    /// A sample is no single file, or the list does not say what it shows.
    pub fn classes(&self, labels: &Labels) -> Result<Vec<usize>> {
        self.single_files()?;
        let class = |i: usize| {
            let name = self.name(i);
            labels.class(&name).ok_or_else(|| error::usage(format!("the labels do not say what {name} shows")))
        };
        (0..self.len()).map(class).collect()
    }

    /// The samples whose files are in the list, with their classes.
    ///
    /// # Errors
    /// A sample is no single file.
    pub fn labelled(&self, labels: &Labels) -> Result<(Samples, Vec<usize>)> {
        self.single_files()?;
        let (named, classes): (Vec<usize>, Vec<usize>) =
            (0..self.len()).filter_map(|i| Some((i, labels.class(&self.name(i))?))).unzip();
        Ok((self.only(&named), classes))
    }

    fn single_files(&self) -> Result<()> {
        if self.files().len() == self.len() {
            return Ok(());
        }
        Err(error::usage("labels are for samples of one file each, with a batch of 1"))
    }

    /// Name of the file of sample `i`, without its folder; of a batch, that of its first picture.
    pub fn name(&self, i: usize) -> String {
        let batch = if let Source::Pictures { batch, .. } = &self.source { *batch } else { 1 };
        let name = self.files().get(i * batch).and_then(|f| f.file_name());
        name.map_or_else(|| i.to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// Files that were left out, each with the reason.
    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// Sample `i`: a tensor for each input of the model. The last batch of pictures begins again with the first pictures if it is not full.
    ///
    /// # Errors
    /// A file that was readable is not any more.
    pub fn get(&self, i: usize) -> Result<Vec<Tensor>> {
        let read = |file: &Path| {
            self.read(file).map_err(|why| error::Error::from(Diagnostic::bad_input(why).file(file.display())))
        };
        match &self.source {
            Source::Given(all) => Ok(all[i].clone()),
            Source::Pictures { files, batch, .. } => {
                let mut values: Vec<f32> = Vec::new();
                for k in i * batch..(i + 1) * batch {
                    values.extend(read(&files[k % files.len()])?[0].view::<f32>().iter());
                }
                Ok(vec![Tensor::new(self.ports[0].dims.clone(), values)])
            }
            _ => read(&self.files()[i]),
        }
    }
}

impl crate::weights::Samples for Samples {
    fn len(&self) -> usize {
        Samples::len(self)
    }
    fn get(&self, i: usize) -> Result<Vec<Tensor>> {
        Samples::get(self, i)
    }
}

/// The sole input, for samples that give one tensor.
fn one_input(ports: &[Port]) -> Result<&Port> {
    match ports {
        [port] => Ok(port),
        _ => {
            let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
            Err(Diagnostic::bad_input(format!(
                "the model has {} inputs ({}), a picture is one",
                ports.len(),
                names.join(", ")
            ))
            .remedy("say \"input_type\": \"sequence\", with a folder a sample and a file in it for each input")
            .into())
        }
    }
}

/// How pictures are prepared for this input, and how many go into a sample.
fn pictures(config: &Config, port: &Port) -> Result<(Preparation, usize)> {
    let channels = config.format.channels();
    let refused = |why: String| -> error::Error {
        Diagnostic::bad_input(format!("input {} is {}{:?}, {why}", port.name, port.dtype, port.dims)).into()
    };
    let [batch, a, b, c] = port.dims[..] else {
        return Err(refused("a picture needs four dimensions".into()));
    };
    if port.dtype != DType::F32 {
        return Err(refused("a picture needs f32".into()));
    }
    let (height, width, last) = match (a == channels, c == channels) {
        (true, _) => (b, c, false),
        (false, true) => (a, b, true),
        _ => return Err(refused(format!("which has nowhere the {channels} channels of format {:?}", config.format))),
    };
    for (key, given, want) in [("width", config.width, width), ("height", config.height, height)] {
        if given.is_some_and(|g| g as usize != want) {
            return Err(refused(format!("{key} in the configuration is {}", given.unwrap_or_default())));
        }
    }
    Ok((Preparation::new(config, (width as u32, height as u32), last), batch.max(1)))
}

/// What a folder holds, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read =
        std::fs::read_dir(folder).and_then(|all| all.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>());
    let mut all = read.map_err(|e| {
        error::Error::from(
            Diagnostic::bad_input(format!("cannot read the folder of samples: {e}")).file(folder.display()),
        )
    })?;
    all.sort();
    Ok(all)
}

/// A failure's own words.
fn plain(e: &error::Error) -> String {
    e.0.first().map_or_else(String::new, |d| d.message.clone())
}
