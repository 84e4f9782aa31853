//! Options of every verb that reports what compression did, and the files that they name.

use std::path::{Path, PathBuf};

use mnnc::accuracy::Pictures;
use mnnc::calibrate::{Config, Samples};
use mnnc::effect::Effect;
use mnnc::error::Result;
use mnnc::output;
use mnnc_ir::{Diagnostic, Graph};

use crate::report;
use crate::report::page::Page;

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
