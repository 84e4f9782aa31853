//! `mnnc inspect`: what is in a model or artefact.

use mnnc::Compiler;
use mnnc::error::Result;
use mnnc::summary::{Port, Summary};
use serde_json::json;

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
    /// Print JSON.
    #[arg(long, conflicts_with = "text")]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let compiler = Compiler::new(args.model.options(None));
    let model = args.model.load(&compiler)?;
    if args.text {
        print(&model.graph().to_text());
        return Ok(());
    }
    let summary = Summary::of(model.graph());
    let imported = model.imported();
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
    print(&(text + "\n" + &histogram(summary.ops.iter().map(|(op, &n)| ((*op).to_owned(), n)))));
    Ok(())
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
