//! `mnnc verify`: native code against the reference or ONNX Runtime, layer by layer.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mnnc::error::{self, Result};
use mnnc::verify::Layer;
use mnnc::{CompileOptions, Compiler, Model, inputs, onnxruntime};
use mnnc_ir::Diagnostic;
use serde_json::json;

use super::model::{ModelArgs, OptArgs, TargetArgs};
use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Check compiled code against the reference evaluator or ONNX Runtime, layer by layer, and name the first bad node.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A compiled artefact of the model to check instead of code compiled now: .so, .o, .a, or .mnn.
    artefact: Option<PathBuf>,
    /// What the artefact's symbols begin with [default: its file's name].
    #[arg(long, value_name = "ID", requires = "artefact")]
    name: Option<String>,
    /// What is right.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "reference")]
    against: Authority,
    /// Python with onnx and onnxruntime [default: $MNNC_PYTHON, else python3].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print every layer, not only outputs and the worst layers.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    opt: OptArgs,
}

/// What code is checked against.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Authority {
    /// The reference evaluator.
    Reference,
    /// ONNX Runtime, in a Python that has it; ONNX models only.
    Onnxruntime,
}

/// Layers that are shown without `--all`.
const SHOWN: usize = 5;

impl Args {
    /// What the artefact's symbols begin with.
    fn prefix(&self, artefact: &Path) -> String {
        let stem = || artefact.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        mnnc_codegen::identifier(&self.name.clone().unwrap_or_else(stem))
    }

    fn options(&self) -> Result<CompileOptions> {
        Ok(CompileOptions { target: self.target.target()?, ..self.model.options(Some(&self.opt)) })
    }
}

pub fn run(args: Args) -> Result<()> {
    let with_onnxruntime = args.against == Authority::Onnxruntime;
    if with_onnxruntime && args.artefact.is_some() {
        return Err(error::usage("ONNX Runtime checks code compiled now; leave the artefact or --against out"));
    }
    let compiler = Compiler::new(args.options()?);
    let model = args.model.load(&compiler)?;
    let inputs = inputs::all(model.graph(), args.seed)?;
    let found = {
        let _step = Step::begin("checking");
        match &args.artefact {
            None if with_onnxruntime => {
                compiler.verify_against_onnxruntime(&model, &inputs, &onnxruntime::python(args.python))?
            }
            None => compiler.verify_native(&model, &inputs)?,
            Some(path) if path.extension().is_some_and(|e| e == "mnn") => return verify_mnn(&model, path),
            Some(path) => compiler.verify_artefact(&model, path, &args.prefix(path), &inputs)?,
        }
    };
    if args.json {
        let layers = table(found.layers.iter()).json();
        print_json(&json!({"layers": layers, "outputs": table(found.outputs.iter()).json()}));
    } else if args.all {
        print(&table(found.layers.iter().chain(&found.outputs)).text());
    } else {
        let mut worst: Vec<&Layer> = found.layers.iter().collect();
        worst.sort_by(|a, b| b.deviation.excess.total_cmp(&a.deviation.excess));
        print(&table(found.outputs.iter().chain(worst.into_iter().take(SHOWN))).text());
    }
    found.judge()
}

fn table<'a>(layers: impl Iterator<Item = &'a Layer>) -> Table {
    let columns = [
        ("value", "value"),
        ("op", "op"),
        ("error", "error"),
        ("of_tolerance", "of tolerance"),
        ("got", "got"),
        ("want", "want"),
    ];
    let mut table = Table::new(&columns);
    for layer in layers {
        let d = &layer.deviation;
        table.row([
            layer.value.as_str().into(),
            layer.op.as_str().into(),
            Cell::Error(d.absolute),
            Cell::Number(d.excess, 3),
            Cell::Number(d.got, 6),
            Cell::Number(d.want, 6),
        ]);
    }
    table
}

/// What can be said of a `.mnn` file without MNN: that it is whole and has the model's inputs and outputs.
fn verify_mnn(model: &Model, path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|e| error::file("read", path, &e))?;
    let bad = |message: String| -> error::Error { Diagnostic::verification(message).file(path.display()).into() };
    let found = mnnc_mnn::summary(&bytes).map_err(|e| bad(e.to_string()))?;
    let graph = model.graph();
    for (what, values, ports) in
        [("inputs", graph.inputs(), &found.inputs), ("outputs", graph.outputs(), &found.outputs)]
    {
        let wanted: Vec<&str> = values.iter().map(|&v| graph.value(v).name.as_str()).collect();
        let has: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        if wanted != has {
            return Err(bad(format!("its {what} are {has:?}, those of the model {wanted:?}")));
        }
    }
    eprintln!(
        "{}: whole, with the model's inputs and outputs; its results can be checked with MNN only",
        path.display()
    );
    Ok(())
}
