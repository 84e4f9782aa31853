//! `mnnc roofline`: what a core of this machine can do.

use mnnc::error::Result;
use mnnc::roofline::Roofline;
use serde_json::{Value, json};

use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Measure what a core of this machine can do: arithmetic, and reading from each level of memory.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let roofline = {
        let _step = Step::begin("measuring");
        Roofline::measure()
    };
    if args.json {
        print_json(&json(&roofline));
    } else {
        let [peaks, memory] = tables(&roofline);
        print(&format!("{}\n{}", peaks.text(), memory.text()));
    }
    Ok(())
}

/// The figures as data.
pub fn json(roofline: &Roofline) -> Value {
    let [peaks, memory] = tables(roofline);
    json!({"peaks": peaks.json(), "memory": memory.json()})
}

fn tables(roofline: &Roofline) -> [Table; 2] {
    let mut peaks = Table::new(&[("isa", "instructions"), ("type", "type"), ("gflops", "GFLOP/s")]);
    for peak in &roofline.peaks {
        peaks.row([peak.isa.into(), peak.unit.element().into(), Cell::Number(peak.gflops, 1)]);
    }
    let columns = [("level", "memory"), ("holds", "up to"), ("gbytes_per_s", "GB/s"), ("block", "measured over")];
    let mut memory = Table::new(&columns);
    for level in &roofline.memory {
        let holds = level.holds.map_or(Cell::Empty, Cell::Bytes);
        memory.row([level.name.into(), holds, Cell::Number(level.gbytes, 1), Cell::Bytes(level.block)]);
    }
    [peaks, memory]
}
