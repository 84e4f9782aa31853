//! `mnnc tune`: schedules found by measurement.

use std::path::PathBuf;
use std::time::Duration;

use mnnc::error::Result;
use mnnc::tune::{Agreement, Tuning};
use mnnc::{CompileOptions, Compiler, output};
use serde_json::json;

use super::model::{ModelArgs, OptArgs, TargetArgs};
use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Time candidate schedules of a model's convolutions and products on this machine, and keep the best in a file for
/// `compile --tune`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write.
    #[arg(short, long, value_name = "FILE", required_unless_present = "check")]
    output: Option<PathBuf>,
    /// About how long to search.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    budget: u64,
    /// Do not search: compare the times that the compiler expects with those of this machine.
    #[arg(long, conflicts_with = "output")]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    opt: OptArgs,
}

pub fn run(args: Args) -> Result<()> {
    let options = CompileOptions { target: args.target.target()?, ..args.model.options(Some(&args.opt)) };
    let compiler = Compiler::new(options);
    let model = args.model.load(&compiler)?;
    if args.check {
        let agreement = {
            let _step = Step::begin("timing");
            compiler.check_costs(&model, Duration::from_secs(args.budget.min(10)))?
        };
        show_agreement(&agreement, args.json);
        return Ok(());
    }
    let mut step = None;
    let tuning = compiler.tune(&model, Duration::from_secs(args.budget), &mut |version, of| {
        // The line of the step before goes first.
        step = None;
        step = Some(Step::begin(format!("timing version {version} of {of}")));
    });
    drop(step);
    let tuning = tuning?;
    if let Some(path) = &args.output {
        output::write(path, tuning.file.text().as_bytes())?;
    }
    show_tuning(&tuning, args.json);
    Ok(())
}

fn show_tuning(tuning: &Tuning, as_json: bool) {
    let columns = [
        ("product", "product"),
        ("nodes", "nodes"),
        ("untuned", "untuned"),
        ("tuned", "tuned"),
        ("untuned_ms", "ms"),
        ("tuned_ms", "tuned ms"),
        ("gain", "gain"),
        ("tried", "tried"),
    ];
    let mut table = Table::new(&columns);
    for gain in &tuning.gains {
        let changed = gain.choices[0] != gain.choices[1];
        table.row([
            gain.problem.to_string().into(),
            Cell::Count(gain.nodes as u64),
            gain.choices[0].to_string().into(),
            if changed { gain.choices[1].to_string().into() } else { Cell::Empty },
            Cell::Number(gain.ms[0], 4),
            Cell::Number(gain.ms[1], 4),
            Cell::Share(1.0 - gain.ms[1] / gain.ms[0]),
            Cell::Count(gain.tried as u64),
        ]);
    }
    let ([before, after], [timed, versions]) = (tuning.model_ms, tuning.versions);
    if as_json {
        print_json(&json!({
            "products": table.json(),
            "untuned_ms": before,
            "tuned_ms": after,
            "versions_timed": timed,
            "versions": versions,
        }));
        return;
    }
    print(&table.text());
    let kept = if after <= before { "" } else { "; not a gain, so the file has no choices" };
    print(&format!("\nmodel: {before:.3} ms untuned, {after:.3} ms tuned{kept}\n"));
    if timed < versions {
        eprintln!("note: time for {timed} of {versions} versions only; --budget gives more");
    }
}

fn show_agreement(agreement: &Agreement, as_json: bool) {
    let columns = [
        ("product", "product"),
        ("nodes", "nodes"),
        ("schedule", "schedule"),
        ("expected_ms", "expected ms"),
        ("measured_ms", "measured ms"),
        ("ratio", "ratio"),
    ];
    let mut table = Table::new(&columns);
    for row in &agreement.rows {
        table.row([
            row.problem.to_string().into(),
            Cell::Count(row.nodes as u64),
            row.choice.to_string().into(),
            Cell::Number(row.ms[0], 4),
            Cell::Number(row.ms[1], 4),
            Cell::Number(row.ms[0] / row.ms[1], 2),
        ]);
    }
    let (correlation, error) = (agreement.correlation(), agreement.median_error());
    if as_json {
        print_json(&json!({"products": table.json(), "rank_correlation": correlation, "median_error": error}));
        return;
    }
    print(&table.text());
    print(&format!("\nrank correlation {correlation:.3}, median error {:.0} %\n", 100.0 * error));
}
