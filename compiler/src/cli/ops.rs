//! `mnnc ops`: which op compiles how.

use mnnc::coverage;
use mnnc::error::Result;
use mnnc_vector::Target;

use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Show every op and how it compiles for each target: by a tuned kernel, by a generic loop nest, or not yet
/// (reference: only the evaluator has it).
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let columns = [
        ("op", "op"),
        ("family", "family"),
        ("avx512", "avx512"),
        ("avx2", "avx2"),
        ("neon", "neon"),
        ("doc", "what it computes"),
    ];
    let mut table = Table::new(&columns);
    for &op in mnnc_ops::ALL {
        let level = |target: &Target| Cell::from(coverage::level(op, target).name());
        let doc = op.doc.lines().next().unwrap_or_default();
        let doc: String = if args.json { op.doc.into() } else { doc.chars().take(60).collect() };
        table.row([
            op.name.into(),
            op.family.into(),
            level(&Target::AVX512),
            level(&Target::AVX2),
            level(&Target::NEON),
            doc.into(),
        ]);
    }
    if args.json {
        print_json(&table.json());
    } else {
        print(&table.text());
    }
    Ok(())
}
