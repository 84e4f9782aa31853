//! Options of every verb that reports what compression did, and what these verbs do with them.

use std::path::{Path, PathBuf};

use mnnc::accuracy::{Compared, Pictures};
use mnnc::calibrate::{Config, Samples};
use mnnc::effect::{Effect, OutputError, Rounded};
use mnnc::error::Result;
use mnnc::quantize::Watcher;
use mnnc::{CompileOptions, Compiled, Compiler, Compressed, Emit, Engine, Loss, Memory, Model, Precision, output};
use mnnc_ir::{Diagnostic, Graph};

use super::progress::Bar;
use crate::report;
use crate::report::page::Page;

/// Samples that tell the error of one layer alone: a mean over all elements of all outputs, which few tell well enough.
pub const SAMPLES_ALONE: usize = 4;

/// Whether a page is written.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// Write a page with tables and plots of size, time and error before and after, layer by layer.
    #[arg(long = "report", value_name = "FILE.html")]
    pub page: Option<PathBuf>,
}

impl ReportArgs {
    /// Finds before the work begins that the page cannot be written after it.
    ///
    /// # Errors
    /// Its folder is not there, or it is a folder itself.
    pub fn check(&self) -> Result<()> {
        let Some(path) = &self.page else { return Ok(()) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
            let why = if path.is_dir() { "it is a folder" } else { "its folder is not there" };
            return Err(Diagnostic::usage(format!("the report cannot be written: {why}")).file(path.display()).into());
        }
        Ok(())
    }

    /// Writes the page, if one is wanted; `more` adds what only one verb knows.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, effect: &Effect, more: impl FnOnce(&mut Page)) -> Result<()> {
        let Some(path) = &self.page else { return Ok(()) };
        output::write(path, report::effect::page(effect, more).as_bytes())
    }

    /// Writes what `--json` prints to a file beside the page, for verbs that have no such file anyway.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write_json(&self, json: &serde_json::Value) -> Result<()> {
        let Some(path) = &self.page else { return Ok(()) };
        write_json(&beside(path), json)
    }
}

/// The name of the file with the JSON of another: `page.html.json`.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Writes JSON for people and programs.
///
/// # Errors
/// Of the file system.
pub fn write_json(path: &Path, json: &serde_json::Value) -> Result<()> {
    output::write(path, format!("{json:#}\n").as_bytes())
}

/// Labelled pictures to measure accuracy on.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Report")]
pub struct PictureArgs {
    /// Pictures to measure accuracy on, before and after; prepared as the configuration says.
    #[arg(long, value_name = "DIR", requires = "labels")]
    pub images: Option<PathBuf>,
    /// Classes of these pictures: FILE,CLASS a line.
    #[arg(long, value_name = "FILE", requires = "images")]
    pub labels: Option<PathBuf>,
}

impl PictureArgs {
    /// The pictures, if any are given, prepared as `config` says.
    ///
    /// # Errors
    /// Those of [`Pictures::open`].
    pub fn open(&self, config: &Config, graph: &Graph) -> Result<Option<Pictures>> {
        let (Some(images), Some(labels)) = (&self.images, &self.labels) else { return Ok(None) };
        open(config, images, labels, graph).map(Some)
    }
}

/// What is reported by a verb that may compress, and is told nothing about pictures otherwise.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Report")]
pub struct MeasureArgs {
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pictures: PictureArgs,
    /// How these pictures are prepared: format, mean, normal and crop of a quant.json, whose folder is not read.
    #[arg(long, value_name = "FILE.json", requires = "images")]
    config: Option<PathBuf>,
}

impl MeasureArgs {
    /// Whether anything is to be measured.
    pub fn wanted(&self) -> bool {
        self.report.page.is_some() || self.pictures.images.is_some()
    }

    /// Finds before the work begins that there is nothing to report, or nowhere to write it.
    ///
    /// # Errors
    /// A report is wanted and nothing is compressed, or those of [`ReportArgs::check`].
    pub fn check(&self, compresses: bool) -> Result<()> {
        if self.wanted() && !compresses {
            return Err(Diagnostic::usage("--report and --images say what compression does, and none is asked for")
                .remedy("ask for fewer bits; mnnc bench and verify measure a model as it is")
                .into());
        }
        self.report.check()
    }

    /// The pictures, if any are given; `otherwise` says how they are prepared where `--config` is not given.
    ///
    /// # Errors
    /// Nothing says how, or it cannot be read, and those of [`Pictures::open`].
    pub fn pictures(&self, otherwise: Option<&Path>, graph: &Graph) -> Result<Option<Pictures>> {
        if self.pictures.images.is_none() {
            return Ok(None);
        }
        let Some(config) = self.config.as_deref().or(otherwise) else {
            return Err(Diagnostic::usage("--images: how are the pictures prepared?")
                .remedy("say --config quant.json, with format, mean and normal in it")
                .into());
        };
        self.pictures.open(&Config::read(config)?, graph)
    }
}

/// Labelled pictures; says what is left out.
///
/// # Errors
/// Those of [`Pictures::open`].
pub fn open(config: &Config, images: &Path, labels: &Path, graph: &Graph) -> Result<Pictures> {
    let pictures = Pictures::open(config, images, labels, graph)?;
    warn_of_skipped(&pictures.samples);
    if pictures.unlabelled > 0 {
        eprintln!("warning: the labels do not name {} of the pictures, which are left out", pictures.unlabelled);
    }
    Ok(pictures)
}

/// Names the files that could not be read.
pub fn warn_of_skipped(samples: &Samples) {
    for (name, why) in samples.skipped() {
        eprintln!("warning: {name} is skipped: {why}");
    }
    if let n @ 2.. = samples.skipped().len() {
        eprintln!("warning: {n} files are skipped");
    }
}

/// The accuracy of two models, each in native code by its compiler.
///
/// # Errors
/// A model does not compile for this machine or does not run.
pub fn accuracy(
    pictures: &Pictures,
    before: (&Compiler, &Model),
    after: (&Compiler, &Model),
    bar: &Bar,
) -> Result<Compared> {
    bar.stage("measuring accuracy");
    let engine = |(compiler, model): (&Compiler, &Model)| here(compiler).jit(model).map(Engine::jit);
    pictures.compare(&mut engine(before)?, &mut engine(after)?, &|done, total| bar.progress(done, total))
}

/// The compiler of the float model that errors and times are measured against.
pub fn plain(compiler: &Compiler) -> Compiler {
    Compiler::new(CompileOptions { precision: Precision::Normal, memory: Memory::Normal, ..compiler.options().clone() })
}

/// The same compiler for a processor that can run what it makes: this one's, where the target is another.
pub fn here(compiler: &Compiler) -> Compiler {
    if compiler.target().runs_here() {
        return compiler.clone();
    }
    Compiler::new(CompileOptions { target: None, tune: None, ..compiler.options().clone() })
}

/// A model that was compressed on the way to an artefact.
pub struct Subject<'a> {
    /// The compiler with the options that were asked for.
    pub compiler: &'a Compiler,
    /// The float model.
    pub model: &'a Model,
    /// It with compressed weights; `None` where only arithmetic is reduced.
    pub compressed: Option<&'a Compressed>,
}

impl Subject<'_> {
    /// Measures what became of it in `done`; with `emit`, also how large the float model would be, and layer by layer.
    ///
    /// # Errors
    /// A picture that could be read cannot any more, or a model does not run on them.
    pub fn effect(&self, done: &Compiled, pictures: Option<&Pictures>, emit: Option<Emit>) -> Result<Effect> {
        let after = self.compressed.map_or(self.model, |compressed| &compressed.model);
        let weights = self.compressed.map(|compressed| compressed.report.clone()).unwrap_or_default();
        let mut effect = Effect::new(self.model, &weights, done);
        let plain = plain(self.compiler);
        let bar = Bar::default();
        bar.stage("measuring errors");
        self.errors(&mut effect, (&plain, &done.by))?;
        bar.stage("measuring time");
        effect.time((&plain, self.model), (&done.by, after));
        effect.accuracy = pictures.map(|p| accuracy(p, (&plain, self.model), (&done.by, after), &bar)).transpose()?;
        let Some(emit) = emit else { return Ok(effect) };
        effect.float_file(&plain, self.model, emit);
        let open = is_open(self.model.graph());
        if let Some(compressed) = self.compressed.filter(|_| !open) {
            effect.layer_times(compressed.float.graph(), (&plain, self.model), (&done.by, after));
            bar.stage("one layer after the other");
            let rounded = Rounded { float: &compressed.float, graph: compressed.model.graph(), biases: true };
            let samples = match pictures {
                Some(pictures) => pictures.samples.some(SAMPLES_ALONE),
                None => Samples::seeded(compressed.float.graph())?,
            };
            effect.alone_on = if pictures.is_some() { "pictures" } else { "seeded inputs" }.into();
            effect.alone(&here(&plain), rounded, &samples, &|done, total| bar.progress(done, total));
        }
        Ok(effect)
    }

    /// The errors of the outputs: of the weights alone, as they were measured already, or of all that native code does.
    fn errors(&self, effect: &mut Effect, (plain, by): (&Compiler, &Compiler)) -> Result<()> {
        let reduces = by.options().precision == Precision::Low || by.options().memory == Memory::Low;
        let after = self.compressed.map_or(self.model, |compressed| &compressed.model);
        if reduces && by.target().runs_here() && !is_open(self.model.graph()) {
            let engine = |compiler: &Compiler, model: &Model| compiler.jit(model).map(Engine::jit);
            let (mut float, mut reduced) = (engine(plain, self.model)?, engine(by, after)?);
            let losses = Loss::measure(self.model.graph(), &mut float, &mut reduced)?;
            effect.outputs = losses.iter().map(OutputError::from).collect();
            effect.measured_on = "seeded inputs, in native code".into();
        } else {
            effect.outputs = self.compressed.iter().flat_map(|c| &c.losses).map(OutputError::from).collect();
            effect.measured_on = "seeded inputs".into();
        }
        Ok(())
    }
}

/// Whether an input's shape is not fixed.
fn is_open(graph: &Graph) -> bool {
    graph.inputs().iter().any(|&v| graph.ty(v).static_dims().is_none())
}
