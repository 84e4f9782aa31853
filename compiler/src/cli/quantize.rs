//! `mnnc quantize`: a float model and a calibration set to an int8 model.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use mnnc::accuracy::{Accuracy, Labels, Score};
use mnnc::calibrate::{Config, Samples};
use mnnc::error::{self, Result};
use mnnc::output;
use mnnc::quantize::{Quantized, Recipe, Report, Watcher};
use mnnc::{CompileOptions, Compiled, Compiler, Emit, Engine, Model};
use mnnc_ir::Diagnostic;
use mnnc_quant::calibrate::Style;
use serde_json::json;

use super::model::{ModelArgs, OptArgs, TargetArgs};
use super::stdout::print_json;
use crate::report::page::Page;
use crate::report::{Cell, Table};

/// Quantise a float model to int8 with a calibration set (MNN's quant.json), and report layer by layer.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write; its extension says what: .mnn, .o, .a, .so, .mir. OUT.json tells what was done.
    output: PathBuf,
    /// MNN's quant.json, or our own keys in it.
    config: PathBuf,
    /// Pictures to measure accuracy on, before and after; prepared as the configuration says.
    #[arg(long, value_name = "DIR", requires = "labels")]
    images: Option<PathBuf>,
    /// Classes of these pictures: FILE,CLASS a line.
    #[arg(long, value_name = "FILE", requires = "images")]
    labels: Option<PathBuf>,
    /// Write a page with tables and plots.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
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
}

impl Args {
    /// These files, all else as usual.
    pub fn of(model: PathBuf, output: PathBuf, config: PathBuf) -> Args {
        Args {
            model: ModelArgs::of(model),
            output,
            config,
            images: None,
            labels: None,
            report: None,
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
    before: Option<Accuracy>,
    after: Option<Accuracy>,
    seconds: f64,
    source_bytes: u64,
}

pub fn run(args: Args) -> Result<()> {
    let Some(emit) = Emit::of(&args.output) else {
        let known = Emit::ALL.map(|(_, _, extension)| format!(".{extension}")).join(", ");
        return Err(Diagnostic::usage(format!("{} says nothing about what to write", args.output.display()))
            .remedy(format!("give it one of the extensions {known}"))
            .into());
    };
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
    for (name, why) in samples.skipped() {
        eprintln!("warning: {name} is skipped: {why}");
    }
    let style = if emit == Emit::Mnn { Style::EveryOp } else { Style::Fused };
    let bar = Bar::default();
    let quantized = compiler.quantize(&model, &Recipe::of(&config, style), &samples, &bar)?;
    let (mut before, mut after) = (None, None);
    if let (Some(images), Some(labels)) = (&args.images, &args.labels) {
        bar.stage("measuring accuracy");
        let labels = Labels::read(labels)?;
        let config = Config { path: images.clone(), used_image_num: 0, ..config.clone() };
        let pictures = Samples::open(&config, model.graph())?;
        let (b, a) = accuracy(&compiler, (&model, &quantized.simulated), &pictures, &labels, &bar)?;
        (before, after) = (Some(b), Some(a));
    }
    bar.stage("writing");
    let done = compiler.compile(&quantized.model, emit, &args.output, !args.no_verify)?;
    drop(bar);
    let source_bytes = model.imported().source_bytes;
    let outcome = Outcome { done, quantized, before, after, seconds: start.elapsed().as_secs_f64(), source_bytes };
    let json = as_json(&outcome, &config);
    let beside = args.output.with_extension(format!("{}.json", extension(&args.output)));
    let text = serde_json::to_string_pretty(&json).unwrap_or_default() + "\n";
    output::write(&beside, text.as_bytes())?;
    if let Some(path) = &args.report {
        output::write(path, page(&outcome, &args.model.model).as_bytes())?;
    }
    if args.json {
        print_json(&json);
    }
    eprint!("{}", activations(&outcome.quantized.report, config.debug).text());
    eprint!("\n{}", summary(&outcome).text());
    for note in outcome.quantized.report.notes().iter().chain(&outcome.done.notes) {
        eprintln!("note: {note}");
    }
    Ok(())
}

fn extension(path: &Path) -> String {
    path.extension().map_or_else(String::new, |e| e.to_string_lossy().into_owned())
}

/// Top-1 and top-5 of the float and the quantised model on labelled pictures.
fn accuracy(
    compiler: &Compiler,
    (float, quantised): (&Model, &Model),
    pictures: &Samples,
    labels: &Labels,
    bar: &Bar,
) -> Result<(Accuracy, Accuracy)> {
    let (mut a, mut b) = (Engine::jit(compiler.jit(float)?), Engine::jit(compiler.jit(quantised)?));
    let (mut before, mut after) = (Score::default(), Score::default());
    for i in 0..pictures.len() {
        let name = pictures.name(i);
        let Some((_, class)) = labels.rows.iter().find(|(file, _)| *file == name) else { continue };
        let inputs = pictures.get(i)?;
        let (want, got) = (a.run(&inputs)?, b.run(&inputs)?);
        let want = want[0].view::<f32>();
        before.add(Some(*class), None, &want);
        after.add(Some(*class), Some(&want[..]), &got[0].view::<f32>());
        bar.progress(i + 1, pictures.len());
    }
    let (before, after) = (before.finish(), after.finish());
    if before.pictures == 0 {
        return Err(error::usage("none of the pictures is in the list of labels"));
    }
    Ok((before, after))
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

fn weights(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("name", "weights"),
        ("op", "op"),
        ("bits", "bits"),
        ("number", "number"),
        ("sqnr", "SQNR, dB"),
        ("error", "largest error"),
    ]);
    for w in &report.weights {
        table.row([
            w.name.as_str().into(),
            w.op.into(),
            Cell::Count(u64::from(w.bits)),
            Cell::Count(w.weights),
            w.sqnr.map_or(Cell::Empty, |db| Cell::Number(db, 1)),
            Cell::Error(w.max_error),
        ]);
    }
    table
}

fn summary(o: &Outcome) -> Table {
    let mut table = Table::new(&[
        ("file", "file"),
        ("before", "before"),
        ("after", "after"),
        ("sqnr", "SQNR of outputs, dB"),
        ("top1_before", "top-1 before"),
        ("top1", "after"),
        ("top5", "top-5 after"),
        ("agreement", "agreement"),
        ("samples", "samples"),
        ("seconds", "seconds"),
    ]);
    let share =
        |a: &Option<Accuracy>, f: fn(&Accuracy) -> Option<f64>| a.as_ref().and_then(f).map_or(Cell::Empty, Cell::Share);
    let report = &o.quantized.report;
    let sqnr = o.after.as_ref().and_then(|a| a.sqnr).or(report.sqnr());
    table.row([
        o.done.files.first().map_or(Cell::Empty, |f| f.display().to_string().into()),
        Cell::Bytes(o.source_bytes),
        Cell::Bytes(o.done.bytes),
        sqnr.map_or(Cell::Empty, |db| Cell::Number(db, 2)),
        share(&o.before, |a| a.top1),
        share(&o.after, |a| a.top1),
        share(&o.after, |a| a.top5),
        share(&o.after, |a| a.agreement),
        Cell::Count(report.samples as u64),
        Cell::Number(o.seconds, 1),
    ]);
    table
}

fn as_json(o: &Outcome, config: &Config) -> serde_json::Value {
    json!({
        "files": o.done.files,
        "bytes_before": o.source_bytes,
        "bytes": o.done.bytes,
        "seconds": o.seconds,
        "calibration": config.path,
        "accuracy_before": o.before,
        "accuracy": o.after,
        "report": o.quantized.report,
        "notes": o.done.notes,
    })
}

fn page(o: &Outcome, model: &Path) -> String {
    let report = &o.quantized.report;
    let mut page = Page::new(&format!("Quantisation of {}", model.display()));
    page.table(&summary(o));
    for note in report.notes().iter().chain(&o.done.notes) {
        page.paragraph(note);
    }
    for (name, why) in &report.skipped {
        page.paragraph(&format!("skipped: {name}: {why}"));
    }
    page.heading("Signal to noise of activations");
    let rows: Vec<_> = report.activations.iter().map(|a| (a.name.clone(), a.sqnr)).collect();
    page.bars("dB", &rows, |db| db < 15.0);
    page.heading("Activations");
    page.table(&activations(report, true));
    for a in &report.activations {
        page.histogram(&a.name, (a.histogram.low, a.histogram.high), &a.histogram.counts, (a.low, a.high));
    }
    page.heading("Weights");
    page.table(&weights(report));
    page.finish()
}

/// A bar for each stage, where stderr is a terminal.
#[derive(Default)]
struct Bar(Mutex<Option<ProgressBar>>);

impl Watcher for Bar {
    fn stage(&self, what: &str) {
        // Draws nothing where stderr is no terminal.
        let bar = ProgressBar::new(0).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:30} {pos}/{len} ({elapsed})") {
            bar.set_style(style);
        }
        if let Ok(mut slot) = self.0.lock()
            && let Some(old) = slot.replace(bar)
        {
            old.finish_and_clear();
        }
    }
    fn progress(&self, done: usize, total: usize) {
        if let Ok(slot) = self.0.lock()
            && let Some(bar) = &*slot
        {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Ok(mut slot) = self.0.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }
}
