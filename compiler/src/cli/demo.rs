//! `mnnc demo`: the first run. MobileNetV2 from the zoo to a .mnn file, to an object and to running code, all checked.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mnnc::error::{self, Result};
use mnnc::summary::Summary;
use mnnc::timing::Timings;
use mnnc::verify::Verification;
use mnnc::{CompileOptions, Compiler, Emit, Model, inputs, output, roofline, zoo};
use mnnc_ir::diag::Kind;
use serde_json::json;

use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Build MobileNetV2, compile it to .mnn, .o and running code, check all three, and time it.
#[derive(clap::Args)]
pub struct Args {
    /// Where the files go [default: target/demo if there is a folder `target`, else a new temporary folder].
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Another network of the zoo.
    #[arg(long, value_name = "NAME", default_value = "mobilenet_v2")]
    network: String,
    /// Runs that are timed.
    #[arg(long, value_name = "N", default_value_t = 50)]
    runs: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One line of the result.
struct Row {
    what: &'static str,
    bytes: Option<u64>,
    workspace: Option<u64>,
    found: Option<Verification>,
    checked: String,
    seconds: f64,
}

pub fn run(args: Args) -> Result<()> {
    let dir = folder(&args)?;
    let name = &args.network;
    let onnx = dir.join(format!("{name}.onnx"));
    let built = {
        let _step = Step::begin(format!("building {name}"));
        zoo::build(name, &zoo::Options::default()).map_err(|e| error::usage(e.to_string()))?
    };
    output::write_whole(&onnx, |out| zoo::write(&built, out)).map_err(|e| error::file("write", &onnx, &e))?;
    drop(built);

    let compiler = Compiler::new(CompileOptions::default());
    let model = compiler.load(&onnx)?;
    let summary = Summary::of(model.graph());
    let rows = [
        written(&compiler, &model, Emit::Mnn, &dir.join(format!("{name}.mnn")), ".mnn file")?,
        written(&compiler, &model, Emit::Object, &dir.join(format!("{name}.o")), "object")?,
        in_memory(&compiler, &model)?,
    ];
    let (timings, gflops, fraction) = time(&compiler, &model, summary.flops.unwrap_or(0), args.runs)?;

    let mut table = Table::new(&[
        ("what", "what"),
        ("bytes", "size"),
        ("workspace_bytes", "workspace"),
        ("error", "worst error"),
        ("checked", "checked against the reference"),
        ("seconds", "compile s"),
    ]);
    for row in &rows {
        let worst = row.found.as_ref().and_then(Verification::worst);
        table.row([
            row.what.into(),
            row.bytes.map_or(Cell::Empty, Cell::Bytes),
            row.workspace.map_or(Cell::Empty, Cell::Bytes),
            worst.map_or(Cell::Empty, |w| Cell::Error(w.deviation.absolute)),
            row.checked.as_str().into(),
            Cell::Number(row.seconds, 2),
        ]);
    }
    if args.json {
        print_json(&json!({
            "model": name,
            "nodes": summary.nodes(),
            "parameters": summary.parameters,
            "folder": dir,
            "artefacts": table.json(),
            "min_ms": timings.min_ms(),
            "median_ms": timings.median_ms(),
            "gflops": gflops,
            "peak_fraction": fraction,
        }));
        return Ok(());
    }
    print(&format!(
        "{name}: {} nodes, {:.2} million parameters, {:.2} GFLOP a run\n\n{}\nruns in {:.2} ms on one thread (best of {}; median {:.2} ms): {gflops:.0} GFLOP/s, {:.0} % of this core's peak\nfiles are in {}\n",
        summary.nodes(),
        summary.parameters as f64 / 1e6,
        summary.flops.unwrap_or(0) as f64 / 1e9,
        table.text(),
        timings.min_ms(),
        args.runs,
        timings.median_ms(),
        100.0 * fraction,
        dir.display(),
    ));
    Ok(())
}

/// Where the files go; the folder exists afterwards.
fn folder(args: &Args) -> Result<PathBuf> {
    let dir = match &args.output_dir {
        Some(dir) => dir.clone(),
        None if Path::new("target").is_dir() => Path::new("target").join("demo"),
        None => {
            let made = tempfile::Builder::new().prefix("mnnc-demo-").tempdir();
            return made.map(tempfile::TempDir::keep).map_err(|e| error::file("create", &std::env::temp_dir(), &e));
        }
    };
    std::fs::create_dir_all(&dir).map_err(|e| error::file("create", &dir, &e))?;
    Ok(dir)
}

fn written(compiler: &Compiler, model: &Model, emit: Emit, path: &Path, what: &'static str) -> Result<Row> {
    let _step = Step::begin(format!("compiling to {}", path.display()));
    let start = Instant::now();
    let done = compiler.compile(model, emit, path, true)?;
    let seconds = start.elapsed().as_secs_f64();
    let checked = match emit {
        Emit::Mnn => "graph; file read back".to_owned(),
        _ => linked(compiler, model, path)?,
    };
    Ok(Row { what, bytes: Some(done.bytes), workspace: done.workspace, found: done.verification, checked, seconds })
}

/// Links the object into a shared library and runs that, where there is a C compiler.
fn linked(compiler: &Compiler, model: &Model, object: &Path) -> Result<String> {
    let name = object.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let inputs = inputs::all(model.graph(), 0)?;
    match compiler.verify_artefact(model, object, &mnnc_codegen::identifier(&name), &inputs) {
        Ok(found) => found.judge().map(|()| "layers and outputs; linked and run".to_owned()),
        Err(e) if e.iter().all(|d| d.kind == Kind::Usage) => {
            Ok("layers and outputs (not linked: no C compiler)".to_owned())
        }
        Err(e) => Err(e),
    }
}

fn in_memory(compiler: &Compiler, model: &Model) -> Result<Row> {
    let _step = Step::begin("compiling into memory");
    let start = Instant::now();
    let jit = compiler.jit(model)?;
    let seconds = start.elapsed().as_secs_f64();
    let inputs = inputs::all(model.graph(), 0)?;
    let found = compiler.verify_native(model, &inputs)?;
    found.judge()?;
    Ok(Row {
        what: "in memory",
        bytes: None,
        workspace: Some(jit.model().workspace() as u64),
        found: Some(found),
        checked: "layers and outputs".into(),
        seconds,
    })
}

/// Timings, GFLOP/s of the best run, and that as a share of the core's peak.
fn time(compiler: &Compiler, model: &Model, flops: u64, runs: usize) -> Result<(Timings, f64, f64)> {
    let _step = Step::begin("timing");
    let jit = compiler.jit(model)?;
    let inputs = inputs::all(model.graph(), 0)?;
    let mut workspace = jit.workspace();
    let timings = Timings::measure(5, runs, || {
        jit.run_in(&mut workspace, &inputs).map(drop).map_err(|e| error::internal(e.to_string()))
    })?;
    let gflops = flops as f64 / timings.min_ms() / 1e6;
    Ok((timings, gflops, gflops / roofline::gflops(jit.model().variants[0].cpu.level)))
}
