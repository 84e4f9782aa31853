//! `mnnc auto-quant`: bits and blocks of weights, chosen op by op.

mod report;

use std::path::PathBuf;

use mnnc::accuracy::{Labels, Pictures};
use mnnc::auto_quant::{Metric, Request, Stage};
use mnnc::calibrate::{Config, Samples};
use mnnc::error::{self, Result};
use mnnc::{Compiler, Emit, Model, output};
use mnnc_quant::auto::{Axes, Goal};
use mnnc_quant::weight::{Method, Policy};
use serde_json::json;

use super::effect::{self, ReportArgs};
use super::model::{ModelArgs, OptArgs, TargetArgs};
use super::progress::Step;
use super::stdout::print_json;
use crate::report::effect::{layers, summary};
use report::Found;

/// Choose bits and blocks for the weights of each op, so that the file is as small as a bound on the error allows, or as good as a budget
/// allows.
///
/// Without a goal, the relative error of outputs on the test directory stays below --rate. The choice is also written as a policy, which can be edited and
/// applied again with --policy.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("goal").args(["rate", "loss", "size", "latency"])))]
pub struct Args {
    /// The float model: .onnx or .mnn.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The file to write; its extension says what: .mnn, .o, .a, .so, .mir.
    #[arg(long, alias = "quant-model", alias = "quant_model", value_name = "OUT")]
    quant_model: PathBuf,
    /// A sample in MNN's form for tests: a folder with input.json and NAME.txt (or NAME.npy) for each input.
    #[arg(long, alias = "test_dir", value_name = "DIR", required_unless_present = "config")]
    test_dir: Option<PathBuf>,
    /// Samples as quant.json describes them: pictures with their preparation, .npy files, or folders.
    #[arg(long, value_name = "FILE.json", conflicts_with = "test_dir")]
    config: Option<PathBuf>,
    /// Classes of the pictures: a line FILE,CLASS each. Top-1 and top-5 are then told, before and after.
    #[arg(long, value_name = "FILE", requires = "config")]
    labels: Option<PathBuf>,
    /// Other pictures to measure accuracy on, such as the search has not seen [default: those of --config].
    #[arg(long, value_name = "DIR", requires = "labels")]
    images: Option<PathBuf>,
    /// Goal: the largest error of an output, relative to its largest element [default: 0.05].
    #[arg(long, value_name = "SHARE", value_parser = positive)]
    rate: Option<f64>,
    /// Goal: percentage points of top-1 accuracy that may be lost.
    #[arg(long, value_name = "POINTS", requires = "labels", value_parser = not_negative)]
    loss: Option<f64>,
    /// Goal: bytes that the weights may take, such as 2000000, 900K or 3.5M.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    size: Option<u64>,
    /// Goal: milliseconds of an inference in native code on this machine.
    #[arg(long, value_name = "MS", value_parser = positive)]
    latency: Option<f64>,
    /// 1: fewer than 8 bits may be chosen; 0: every op gets 8.
    #[arg(long, alias = "select_bits", value_name = "0|1", default_value = "1", value_parser = switch, action = clap::ArgAction::Set)]
    select_bits: bool,
    /// 1: weights may share scales in blocks; 0: one scale an output channel.
    #[arg(long, alias = "select_block", value_name = "0|1", default_value = "1", value_parser = switch, action = clap::ArgAction::Set)]
    select_block: bool,
    /// 1: integers by half-quadratic quantisation; 0: by least squared error.
    #[arg(long, value_name = "0|1", default_value = "1", value_parser = switch, action = clap::ArgAction::Set)]
    hqq: bool,
    /// Apply this policy instead of searching.
    #[arg(long, value_name = "FILE.json")]
    policy: Option<PathBuf>,
    /// Where the policy goes [default: OUT with .json behind it].
    #[arg(long, value_name = "FILE.json")]
    policy_out: Option<PathBuf>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    opt: OptArgs,
    #[command(flatten)]
    report: ReportArgs,
}

impl Args {
    fn request(&self) -> Request {
        let method = if self.hqq { Method::Hqq } else { Method::Mse };
        let axes = Axes { bits: self.select_bits, blocks: self.select_block, method };
        let (goal, metric) = match (self.loss, self.size, self.latency) {
            (Some(points), ..) => (Goal::Error(points), Metric::Top1Loss),
            (_, Some(bytes), _) => (Goal::Bytes(bytes), Metric::Noise),
            (_, _, Some(ms)) => (Goal::Milliseconds(ms), Metric::Noise),
            _ => (Goal::Error(self.rate.unwrap_or(0.05)), Metric::Relative),
        };
        Request { goal, metric, axes }
    }

    /// The samples, what they show if that is needed, and the pictures that accuracy is measured on.
    fn samples(&self, model: &Model) -> Result<(Samples, Option<Vec<usize>>, Option<Pictures>)> {
        let config = self.config.as_deref().map(Config::read).transpose()?;
        let samples = match (&config, &self.test_dir) {
            (Some(config), _) => Samples::open(config, model.graph())?,
            (None, Some(folder)) => Samples::folder(model.graph(), folder)?,
            (None, None) => return Err(error::usage("no samples are given; --test_dir or --config names them")),
        };
        effect::warn_of_skipped(&samples);
        let (Some(config), Some(labels)) = (&config, &self.labels) else { return Ok((samples, None, None)) };
        let own = self.loss.is_some() || self.images.is_none();
        let classes = if own { Some(samples.classes(&Labels::read(labels)?)?) } else { None };
        let pictures = match (&self.images, &classes) {
            (Some(images), _) => Some(effect::open(config, images, labels, model.graph())?),
            (None, Some(classes)) => {
                Some(Pictures { samples: samples.clone(), classes: classes.clone(), unlabelled: 0 })
            }
            (None, None) => None,
        };
        Ok((samples, classes, pictures))
    }

    fn policy_path(&self) -> PathBuf {
        self.policy_out.clone().unwrap_or_else(|| {
            let mut name = self.quant_model.clone().into_os_string();
            name.push(".json");
            name.into()
        })
    }
}

pub fn run(args: Args) -> Result<()> {
    let Some(emit) = Emit::of(&args.quant_model) else {
        let known = Emit::ALL.map(|(_, _, extension)| format!(".{extension}")).join(", ");
        return Err(error::usage(format!("{} has none of the extensions {known}", args.quant_model.display())));
    };
    args.report.check()?;
    let read = ModelArgs::of(args.model.clone());
    let options = mnnc::CompileOptions { target: args.target.target()?, ..read.options(Some(&args.opt)) };
    let compiler = Compiler::new(options);
    let source = read.load(&compiler)?;
    let model = source.with_graph(compiler.clean(&source)?.graph);
    let (samples, classes, pictures) = args.samples(&model)?;
    let request = args.request();
    if args.latency.is_some() && !compiler.target().runs_here() {
        return Err(error::usage("--latency is measured on this machine, which does not run code for that target"));
    }
    // Errors are those of the weights, whatever runs them.
    let host = effect::here(&compiler);
    let chosen = match &args.policy {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
            let policy = Policy::from_json(&text).map_err(|d| d.file(path.display()))?;
            let _step = Step::begin("measuring the policy");
            host.try_policy(&model, request, &policy, &samples, classes.as_deref())?
        }
        None => {
            let mut step = None;
            let mut watch = |stage: Stage| {
                // The line of the step before goes first.
                step = None;
                step = Some(Step::begin(stage.to_string()));
            };
            host.auto_quant(&model, request, &samples, classes.as_deref(), &mut watch)?
        }
    };
    let done = {
        let _step = Step::begin(format!("writing {}", args.quant_model.display()));
        compiler.compile(&chosen.model, emit, &args.quant_model, true)?
    };
    if args.policy.is_none() {
        output::write(&args.policy_path(), chosen.point.policy.to_json().as_bytes())?;
    }
    let found = Found { request, source: &source, float: &model, chosen: &chosen, done: &done };
    let effect = found.effect(&compiler, &samples, pictures.as_ref(), args.report.page.is_some().then_some(emit))?;
    let mut json = found.json();
    json["effect"] = json!(effect);
    args.report.write_json(&json)?;
    args.report.write(&effect, |page| found.more(page))?;
    if args.json {
        print_json(&json);
    }
    eprint!("{}", layers(&effect).text());
    eprint!("\nwhat was tried and nothing beats:\n{}", found.frontier().text());
    eprint!("\n{}", summary(&effect).text());
    eprintln!("\n{}", found.line());
    for note in &effect.notes {
        eprintln!("note: {note}");
    }
    Ok(())
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| *x > 0.0 && x.is_finite())
        .ok_or_else(|| format!("`{text}` is no positive number"))
}

fn not_negative(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| *x >= 0.0 && x.is_finite())
        .ok_or_else(|| format!("`{text}` is no number from 0 on"))
}

fn switch(text: &str) -> std::result::Result<bool, String> {
    match text {
        "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err(format!("`{text}` is neither 0 nor 1")),
    }
}

/// `2000000`, `900K`, `3.5M`, with units of 1000.
fn bytes(text: &str) -> std::result::Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        None => (text, 1e0),
        Some(number) if text.ends_with('K') => (number, 1e3),
        Some(number) if text.ends_with('M') => (number, 1e6),
        Some(number) => (number, 1e9),
    };
    positive(number).map(|n| (n * unit) as u64).map_err(|_| format!("`{text}` is no size; write 2000000, 900K or 3.5M"))
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units() {
        assert_eq!([bytes("12"), bytes("900K"), bytes("3.5M")], [Ok(12), Ok(900_000), Ok(3_500_000)]);
        assert!(bytes("M").is_err() && bytes("-1").is_err() && bytes("1T").is_err());
    }
}
