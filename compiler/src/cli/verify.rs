//! `mnnc verify`: native code against the reference, layer by layer.

use mnnc::error::Result;
use mnnc::verify::Layer;
use mnnc::{Compiler, inputs};
use serde_json::json;

use super::model::{ModelArgs, OptArgs};
use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Check compiled code against the reference evaluator, layer by layer, and name the first bad node.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
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
    opt: OptArgs,
}

/// Layers that are shown without `--all`.
const SHOWN: usize = 5;

pub fn run(args: Args) -> Result<()> {
    let compiler = Compiler::new(args.model.options(Some(&args.opt)));
    let model = args.model.load(&compiler)?;
    let inputs = inputs::all(model.graph(), args.seed)?;
    let found = {
        let _step = Step::begin("checking");
        compiler.verify_native(&model, &inputs)?
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
