//! `mnnc quantize`: a float model and a calibration set to an int8 model.

use std::path::PathBuf;
use std::time::Instant;

use mnnc::calibrate::{Config, Samples};
use mnnc::effect::{Effect, OutputError, Rounded};
use mnnc::error::Result;
use mnnc::quantize::{Quantized, Recipe, Report, Watcher};
use mnnc::{CompileOptions, Compiled, Compiler, Emit, Model};
use mnnc_ir::Diagnostic;
use mnnc_quant::calibrate::Style;
use mnnc_quant::weight;
use serde_json::json;

use super::effect::{self, PictureArgs, ReportArgs, SAMPLES_ALONE, warn_of_skipped};
use super::model::{ModelArgs, OptArgs, TargetArgs};
use super::progress::Bar;
use super::stdout::print_json;
use crate::report::page::Page;
use crate::report::{self, Cell, Table, plot};

/// Quantise a float model to int8 with a calibration set (MNN's quant.json), and report layer by layer.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write; its extension says what: .mnn, .o, .a, .so, .mir. OUT.json tells what was done.
    output: PathBuf,
    /// MNN's quant.json, or our own keys in it.
    config: PathBuf,
    /// Skip the closing check against the reference evaluator.
    #[arg(long)]
    no_verify: bool,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    opt: OptArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pictures: PictureArgs,
}

impl Args {
    /// These files, all else as usual.
    pub fn of(model: PathBuf, output: PathBuf, config: PathBuf, report: ReportArgs, pictures: PictureArgs) -> Args {
        Args {
            model: ModelArgs::of(model),
            output,
            config,
            report,
            pictures,
            no_verify: false,
            json: false,
            target: TargetArgs::default(),
            opt: OptArgs::default(),
        }
    }
}

/// What is written where.
struct Outcome {
    done: Compiled,
    quantized: Quantized,
    effect: Effect,
    seconds: f64,
}

pub fn run(args: Args) -> Result<()> {
    let Some(emit) = Emit::of(&args.output) else {
        let known = Emit::ALL.map(|(_, _, extension)| format!(".{extension}")).join(", ");
        return Err(Diagnostic::usage(format!("{} says nothing about what to write", args.output.display()))
            .remedy(format!("give it one of the extensions {known}"))
            .into());
    };
    args.report.check()?;
    let start = Instant::now();
    let config = Config::read(&args.config)?;
    let mut options = CompileOptions { target: args.target.target()?, ..args.model.options(Some(&args.opt)) };
    for input in config.inputs.iter().filter(|i| !i.shape.is_empty()) {
        if !options.shapes.iter().any(|(name, _)| *name == input.name) {
            options.shapes.push((input.name.clone(), input.shape.clone()));
        }
    }
    let compiler = Compiler::new(options);
    let model = args.model.load(&compiler)?;
    let samples = Samples::open(&config, model.graph())?;
    warn_of_skipped(&samples);
    let pictures = args.pictures.open(&config, model.graph())?;
    let style = if emit == Emit::Mnn { Style::EveryOp } else { Style::Fused };
    let bar = Bar::default();
    // Ranges are gathered on this machine, whatever is compiled for.
    let quantized = effect::here(&compiler).quantize(&model, &Recipe::of(&config, style), &samples, &bar)?;
    let simulated = (&compiler, &quantized.simulated);
    let compared = pictures.map(|p| effect::accuracy(&p, (&compiler, &model), simulated, &bar)).transpose()?;
    bar.stage("writing");
    let done = compiler.compile(&quantized.model, emit, &args.output, !args.no_verify)?;
    let mut effect = effect_of(&model, &quantized, &done);
    effect.notes.extend(config.without_effect());
    effect.accuracy = compared;
    let plain = effect::plain(&compiler);
    bar.stage("measuring time");
    effect.time((&plain, &model), (&done.by, &quantized.model));
    if args.report.page.is_some() {
        effect.float_file(&plain, &model, emit);
        effect.layer_times(quantized.float.graph(), (&plain, &model), (&done.by, &quantized.model));
        bar.stage("one layer after the other");
        let rounded = Rounded { float: &quantized.float, graph: quantized.model.graph(), biases: false };
        effect.alone_on = "calibration samples".into();
        effect.alone(&effect::here(&plain), rounded, &samples.some(SAMPLES_ALONE), &|i, all| bar.progress(i, all));
    }
    drop(bar);
    let outcome = Outcome { done, quantized, effect, seconds: start.elapsed().as_secs_f64() };
    let json = as_json(&outcome, &config);
    effect::write_json(&effect::beside(&args.output), &json)?;
    args.report.write(&outcome.effect, |page| more(&outcome.quantized.report, page))?;
    if args.json {
        print_json(&json);
    }
    let report = &outcome.quantized.report;
    eprint!("{}", activations(report, config.debug).text());
    eprint!("\n{}", report::effect::layers(&outcome.effect).text());
    eprint!("\n{}", report::effect::summary(&outcome.effect).text());
    for note in &outcome.effect.notes {
        eprintln!("note: {note}");
    }
    let file = outcome.done.files.first().map_or_else(String::new, |f| f.display().to_string());
    eprintln!("{file}: calibrated on {} samples in {:.1} s", report.samples, outcome.seconds);
    Ok(())
}

fn effect_of(model: &Model, quantized: &Quantized, done: &Compiled) -> Effect {
    let report = &quantized.report;
    let weights = weight::Report { layers: report.weights.clone(), notes: report.notes() };
    let noise = |sqnr: Option<f64>| sqnr.map_or(0.0, |db| 10f64.powf(-db / 10.0));
    Effect {
        measured_on: "calibration samples".into(),
        outputs: report.outputs.iter().map(|o| OutputError::of_noise(&o.name, noise(o.sqnr))).collect(),
        ..Effect::new(model, &weights, done)
    }
}

fn activations(report: &Report, debug: bool) -> Table {
    let mut columns = vec![
        ("name", "activation"),
        ("op", "op"),
        ("method", "method"),
        ("low", "low"),
        ("high", "high"),
        ("scale", "scale"),
        ("zero", "zero"),
        ("sqnr", "SQNR, dB"),
        ("saturated", "saturated"),
    ];
    if debug {
        columns.push(("cosine_distance", "cosine distance"));
    }
    let mut table = Table::new(&columns);
    for a in &report.activations {
        let mut row = vec![
            a.name.as_str().into(),
            a.op.into(),
            a.method.into(),
            Cell::Number(a.low, 3),
            Cell::Number(a.high, 3),
            Cell::Number(f64::from(a.scale), 6),
            Cell::Text(a.zero.to_string()),
            a.sqnr.map_or(Cell::Empty, |db| Cell::Number(db, 1)),
            Cell::Share(a.saturated),
        ];
        if debug {
            row.push(Cell::Number(a.cosine_distance, 6));
        }
        table.row(row);
    }
    table
}

fn as_json(o: &Outcome, config: &Config) -> serde_json::Value {
    json!({
        "files": o.done.files,
        "bytes_before": o.effect.source_bytes,
        "bytes": o.done.bytes,
        "seconds": o.seconds,
        "calibration": config.path,
        "accuracy_before": o.effect.accuracy.as_ref().map(|a| a.before),
        "accuracy": o.effect.accuracy.as_ref().map(|a| a.after),
        "effect": o.effect,
        "report": o.quantized.report,
        "notes": o.done.notes,
    })
}

/// What the page says of activations.
fn more(report: &Report, page: &mut Page) {
    page.heading("Signal to noise of activations");
    let rows: Vec<_> = report.activations.iter().map(|a| (a.name.clone(), a.sqnr)).collect();
    page.plot(&plot::bars("signal to noise of activations", "dB", &rows, |db| db < 15.0));
    page.heading("Activations");
    page.table(&activations(report, true));
    for (name, why) in &report.skipped {
        page.paragraph(&format!("skipped: {name}: {why}"));
    }
    for a in &report.activations {
        let extent = (a.histogram.low, a.histogram.high);
        page.plot(&plot::histogram(&a.name, extent, &a.histogram.counts, (a.low, a.high)));
    }
}
