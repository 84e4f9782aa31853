//! `mnnc compile`: from a model to an artefact.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use mnnc::error::Result;
use mnnc::{CompileOptions, Compiled, Compiler, Emit};
use mnnc_ir::Diagnostic;
use serde_json::json;

use super::effect::{MeasureArgs, Subject};
use super::model::{ModelArgs, OptArgs, TargetArgs, TuneArgs};
use super::precision::{self, PrecisionArgs};
use super::progress::Step;
use super::stdout::print_json;
use crate::report::{self, Cell, Table};

/// Compile a model to a .mnn file or to native code, and check the result.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write; its extension says what: .mnn, .o, .a, .so, .mir.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// What to write, whatever the extension.
    #[arg(long, value_enum)]
    emit: Option<EmitName>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tune: TuneArgs,
    /// What the symbols of native code begin with [default: OUT's name].
    #[arg(long, value_name = "ID")]
    name: Option<String>,
    /// Skip the closing check against the reference evaluator.
    #[arg(long)]
    no_verify: bool,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    opt: OptArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// What to write.
#[derive(Clone, Copy, ValueEnum)]
enum EmitName {
    Mnn,
    Obj,
    Staticlib,
    Shared,
    Ir,
}

impl From<EmitName> for Emit {
    fn from(name: EmitName) -> Emit {
        match name {
            EmitName::Mnn => Emit::Mnn,
            EmitName::Obj => Emit::Object,
            EmitName::Staticlib => Emit::StaticLib,
            EmitName::Shared => Emit::Shared,
            EmitName::Ir => Emit::Ir,
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    let compression = args.precision.compression()?;
    let Some(emit) = args.emit.map(Emit::from).or_else(|| Emit::of(&args.output)) else {
        let known = Emit::ALL.map(|(_, _, extension)| format!(".{extension}")).join(", ");
        return Err(Diagnostic::usage(format!("{} says nothing about what to write", args.output.display()))
            .remedy(format!("give it one of the extensions {known}, or say --emit"))
            .into());
    };
    if emit == Emit::Mnn && args.opt.precision == mnnc::Precision::Low {
        return Err(Diagnostic::unsupported("--precision low is for native code; .mnn files are written in f32")
            .remedy("leave it out: MNN has a precision setting of its own when it loads the file")
            .into());
    }
    args.measure.check(compression.is_some() || args.opt.reduces())?;
    let options = CompileOptions {
        target: args.target.target()?,
        tune: args.tune.file()?,
        name: args.name.clone(),
        ..args.model.options(Some(&args.opt))
    };
    let compiler = Compiler::new(options);
    let start = Instant::now();
    let model = args.model.load(&compiler)?;
    let pictures = args.measure.pictures(args.precision.calibration(), model.graph())?;
    let compressed = match compression {
        None => None,
        Some(how) => {
            let _step = Step::begin(format!("compressing {}", args.model.model.display()));
            Some(compiler.compress_model(&model, &how, !args.no_verify || args.measure.wanted())?)
        }
    };
    let done = {
        let _step = Step::begin(format!("compiling {}", args.model.model.display()));
        let model = compressed.as_ref().map_or(&model, |compressed| &compressed.model);
        compiler.compile(model, emit, &args.output, !args.no_verify)?
    };
    let seconds = start.elapsed().as_secs_f64();
    let subject = Subject { compiler: &compiler, model: &model, compressed: compressed.as_ref() };
    let wanted = args.measure.wanted().then_some(args.measure.report.page.as_ref().map(|_| emit));
    let effect = wanted.map(|page| subject.effect(&done, pictures.as_ref(), page)).transpose()?;
    let mut json = as_json(&done, seconds);
    if let Some(compressed) = &compressed {
        json["compression"] = precision::as_json(compressed);
    }
    if let Some(effect) = &effect {
        json["effect"] = json!(effect);
        args.measure.report.write_json(&json)?;
        args.measure.report.write(effect, |_| ())?;
    }
    if args.json {
        print_json(&json);
    }
    eprint!("{}", table(&done, seconds).text());
    if let Some(compressed) = &compressed {
        eprint!("{}", precision::table(compressed).text());
        for note in precision::notes(&compressed.report) {
            eprintln!("note: {note}");
        }
    }
    let notes = match &effect {
        Some(effect) => effect.notes.clone(),
        None => compressed.iter().flat_map(|c| &c.report.notes).chain(&done.notes).cloned().collect(),
    };
    for note in notes {
        eprintln!("note: {note}");
    }
    if let Some(effect) = &effect {
        eprint!("\n{}\n{}", report::effect::layers(effect).text(), report::effect::summary(effect).text());
    }
    Ok(())
}

fn table(done: &Compiled, seconds: f64) -> Table {
    let columns = [
        ("file", "file"),
        ("nodes", "nodes"),
        ("size", "size"),
        ("workspace", "workspace"),
        ("error", "worst layer error"),
        ("worst", "at"),
        ("seconds", "seconds"),
    ];
    let mut table = Table::new(&columns);
    let worst = done.verification.as_ref().and_then(|v| v.worst());
    table.row([
        done.files.first().map_or(Cell::Empty, |f| f.display().to_string().into()),
        Cell::Count(done.nodes as u64),
        Cell::Bytes(done.bytes),
        done.workspace.map_or(Cell::Empty, Cell::Bytes),
        match (&done.verification, worst) {
            (None, _) => "not checked".into(),
            (Some(_), worst) => Cell::Error(worst.map_or(0.0, |w| w.deviation.absolute)),
        },
        worst.map_or(Cell::Empty, |w| w.value.as_str().into()),
        Cell::Number(seconds, 2),
    ]);
    table
}

fn as_json(done: &Compiled, seconds: f64) -> serde_json::Value {
    let worst = done.verification.as_ref().and_then(|v| v.worst());
    json!({
        "files": done.files,
        "nodes": done.nodes,
        "bytes": done.bytes,
        "workspace_bytes": done.workspace,
        "verified": done.verification.is_some(),
        "worst_layer": worst.map(|w| json!({
            "value": w.value,
            "node": w.node,
            "op": w.op,
            "error": w.deviation.absolute,
            "of_tolerance": w.deviation.excess,
            "rms": w.deviation.rms,
        })),
        "outputs": done.verification.iter().flat_map(|v| &v.outputs).map(|o| json!({
            "value": o.value,
            "error": o.deviation.absolute,
            "rms": o.deviation.rms,
        })).collect::<Vec<_>>(),
        "notes": done.notes,
        "seconds": seconds,
    })
}
