//! `mnnc inspect`: what is in a model or artefact.

use mnnc::error::{self, Result};
use mnnc::quantised::{self, Quantised};
use mnnc::summary::{Port, Summary};
use mnnc::{Compiler, Format};
use mnnc_ir::{SymTable, TensorType};
use serde_json::json;
use std::collections::BTreeSet;

use super::model::ModelArgs;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table, grouped, size};

/// Show a model's inputs, outputs, ops, weights and operations.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print the graph in text form instead.
    #[arg(long)]
    text: bool,
    /// List every quantised tensor with its bits, scales and zero points.
    #[arg(long, conflicts_with = "text")]
    quant: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "text")]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let compiler = Compiler::new(args.model.options(None));
    if compiler.options().from.is_none_or(|f| f == Format::Mnn)
        && let Some(bytes) = mnn_file(&args)?
    {
        return show_mnn(&args, &bytes);
    }
    let model = args.model.load(&compiler)?;
    if args.text {
        print(&model.graph().to_text());
        return Ok(());
    }
    let summary = Summary::of(model.graph());
    let imported = model.imported();
    let quantised = quantised::of(model.graph());
    let ports = |ports: &[Port]| -> Vec<_> { ports.iter().map(|p| json!({"name": p.name, "type": p.ty})).collect() };
    if args.json {
        print_json(&json!({
            "format": imported.format.name(),
            "opset": imported.opset,
            "producer": imported.producer,
            "bytes": imported.source_bytes,
            "inputs": ports(&summary.inputs),
            "outputs": ports(&summary.outputs),
            "nodes": summary.nodes(),
            "ops": summary.ops,
            "parameters": summary.parameters,
            "parameter_bytes": summary.parameter_bytes,
            "flops": summary.flops,
            "quantised": quantised.iter().map(Quantised::json).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let opset = imported.opset.map_or_else(String::new, |n| format!(", opset {n}"));
    let producer = if imported.producer.is_empty() { "" } else { ", by " };
    let mut text = format!(
        "format      {}{opset}{producer}{}, {}\n",
        imported.format.name(),
        imported.producer,
        size(imported.source_bytes)
    );
    for (label, ports) in [("input", &summary.inputs), ("output", &summary.outputs)] {
        for port in ports {
            text += &format!("{label:<11} {} {}\n", port.name, port.ty);
        }
    }
    text += &format!("nodes       {}\n", grouped(summary.nodes() as u64));
    text += &format!("parameters  {} ({})\n", grouped(summary.parameters), size(summary.parameter_bytes));
    text += &match summary.flops {
        Some(flops) => format!("operations  {:.3} GFLOP a run\n", flops as f64 / 1e9),
        None => "operations  unknown: a shape is open\n".to_owned(),
    };
    if !quantised.is_empty() {
        text += &format!("quantised   {}\n", overview(&quantised));
    }
    if args.quant {
        print(&(text + "\n" + &quantised_table(&quantised, &model.graph().syms)));
        return Ok(());
    }
    print(&(text + "\n" + &histogram(summary.ops.iter().map(|(op, &n)| ((*op).to_owned(), n)))));
    Ok(())
}

/// Such as `53 weights (8 bits), 98 activations (8 bits)`.
fn overview(quantised: &[Quantised]) -> String {
    let kind = |weight: bool, name: &str| {
        let bits: BTreeSet<u32> = quantised.iter().filter(|q| q.weight == weight).map(|q| q.bits).collect();
        let bits: Vec<String> = bits.iter().map(u32::to_string).collect();
        let n = quantised.iter().filter(|q| q.weight == weight).count();
        (n > 0).then(|| format!("{n} {name} ({} bits)", bits.join(", ")))
    };
    [kind(true, "constants"), kind(false, "activations")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn quantised_table(quantised: &[Quantised], syms: &SymTable) -> String {
    let columns = ["tensor", "stored", "bits", "scales of", "scale", "zero point"];
    let mut table = Table::new(&columns.map(|c| (c, c)));
    for q in quantised {
        let stored = TensorType { quant: None, ..q.ty.clone() }.show(syms);
        table.row([
            q.name.clone().into(),
            stored.into(),
            Cell::Count(u64::from(q.bits)),
            q.granularity().into(),
            q.scales().into(),
            q.zero_points().into(),
        ]);
    }
    table.text()
}

/// Ops by number, the most frequent first.
fn histogram(ops: impl Iterator<Item = (String, usize)>) -> String {
    let mut ops: Vec<_> = ops.collect();
    ops.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::new(&[("op", "op"), ("nodes", "nodes")]);
    for (op, n) in ops {
        table.row([op.into(), Cell::Count(n as u64)]);
    }
    table.text()
}

/// The file's bytes if it is a `.mnn` file.
fn mnn_file(args: &Args) -> Result<Option<Vec<u8>>> {
    let path = &args.model.model;
    if path.extension().is_none_or(|e| e != "mnn") {
        return Ok(None);
    }
    std::fs::read(path).map(Some).map_err(|e| error::file("read", path, &e))
}

fn show_mnn(args: &Args, bytes: &[u8]) -> Result<()> {
    let path = args.model.model.display();
    let found = mnnc_mnn::summary(bytes).map_err(|e| mnnc_ir::Diagnostic::bad_input(e.to_string()).file(&path))?;
    let port = |p: &mnnc_mnn::Port| {
        let dims: Vec<String> = p.dims.iter().map(i32::to_string).collect();
        (p.name.clone(), p.dtype.clone().unwrap_or_default(), dims.join("x"))
    };
    if args.json {
        let ports = |ports: &[mnnc_mnn::Port]| -> Vec<_> {
            let ports = ports.iter().map(port);
            ports.map(|(name, dtype, dims)| json!({"name": name, "dtype": dtype, "dims": dims})).collect()
        };
        print_json(&json!({
            "format": "mnn",
            "version": found.version,
            "bytes": found.file_bytes,
            "inputs": ports(&found.inputs),
            "outputs": ports(&found.outputs),
            "nodes": found.ops.values().sum::<usize>(),
            "ops": found.ops,
            "parameter_bytes": found.weight_bytes,
        }));
        return Ok(());
    }
    let version = found.version.clone().unwrap_or_else(|| "?".into());
    let mut text = format!("format      mnn, version {version}, {}\n", size(found.file_bytes));
    for (label, ports) in [("input", &found.inputs), ("output", &found.outputs)] {
        for (name, dtype, dims) in ports.iter().map(port) {
            text += format!("{label:<11} {name} {dtype} {dims}").trim_end();
            text += "\n";
        }
    }
    text += &format!("nodes       {}\n", grouped(found.ops.values().sum::<usize>() as u64));
    text += &format!("parameters  {}\n\n", size(found.weight_bytes));
    print(&(text + &histogram(found.ops.iter().map(|(op, &n)| (op.clone(), n)))));
    Ok(())
}
