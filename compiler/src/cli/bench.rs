//! `mnnc bench`: how fast a model runs.

use mnnc::error::{self, Result};
use mnnc::summary::Summary;
use mnnc::timing::Timings;
use mnnc::{CompileOptions, Compiler, Jit, inputs, peak};
use mnnc_codegen::StepTime;
use mnnc_ir::Tensor;
use serde_json::json;

use super::model::{ModelArgs, OptArgs, TargetArgs, TuneArgs};
use super::progress::Step;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Time a model's native code on this machine.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Threads that share one run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Runs that are timed.
    #[arg(long, value_name = "N", default_value_t = 30)]
    runs: usize,
    /// Runs before those.
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up: usize,
    /// Time every step too.
    #[arg(long)]
    per_op: bool,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tune: TuneArgs,
    #[command(flatten)]
    opt: OptArgs,
}

impl Args {
    fn options(&self) -> Result<CompileOptions> {
        Ok(CompileOptions {
            target: self.target.target()?,
            tune: self.tune.file()?,
            ..self.model.options(Some(&self.opt))
        })
    }
}

pub fn run(args: Args) -> Result<()> {
    if args.runs == 0 || args.threads == 0 {
        return Err(error::usage("--runs and --threads must be at least 1"));
    }
    let compiler = Compiler::new(args.options()?);
    let model = args.model.load(&compiler)?;
    let inputs = inputs::all(model.graph(), args.seed)?;
    let jit = {
        let _step = Step::begin("compiling");
        compiler.jit(&model)?
    };
    let timings = {
        let _step = Step::begin("timing");
        time(&jit, &inputs, &args)?
    };
    let flops = Summary::of(model.graph()).flops.unwrap_or(0) as f64;
    let peak = peak::gflops() * args.threads as f64;
    let gflops = flops / timings.min_ms() / 1e6;
    let steps = if args.per_op { per_op(&jit, &inputs, &args, peak)? } else { None };
    let name = model_name(&args.model.model);
    if args.json {
        let mut result = json!({
            "model": name,
            "threads": args.threads,
            "runs": args.runs,
            "min_ms": timings.min_ms(),
            "median_ms": timings.median_ms(),
            "p90_ms": timings.quantile_ms(0.9),
            "gflops": gflops,
            "peak_fraction": gflops / peak,
        });
        if let Some(steps) = steps {
            result["per_op"] = steps.json();
        }
        print_json(&result);
        return Ok(());
    }
    let columns = [
        ("model", "model"),
        ("threads", "threads"),
        ("min_ms", "min ms"),
        ("median_ms", "median ms"),
        ("p90_ms", "p90 ms"),
        ("gflops", "GFLOP/s"),
        ("peak", "of peak"),
    ];
    let mut table = Table::new(&columns);
    table.row([
        name.into(),
        Cell::Count(args.threads as u64),
        Cell::Number(timings.min_ms(), 3),
        Cell::Number(timings.median_ms(), 3),
        Cell::Number(timings.quantile_ms(0.9), 3),
        Cell::Number(gflops, 1),
        Cell::Share(gflops / peak),
    ]);
    print(&table.text());
    if let Some(steps) = steps {
        print(&format!("\n{}", steps.text()));
    }
    Ok(())
}

fn model_name(path: &std::path::Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

fn time(jit: &Jit, inputs: &[Tensor], args: &Args) -> Result<Timings> {
    let mut workspace = jit.workspace();
    let mut pool = match args.threads {
        1 => None,
        n => Some(mnnc_codegen::Pool::new(n).ok_or_else(|| error::usage(format!("cannot start {n} threads")))?),
    };
    Timings::measure(args.warm_up, args.runs, || {
        let outputs = match &mut pool {
            None => jit.run_in(&mut workspace, inputs),
            Some(pool) => jit.run_parallel(&mut workspace, inputs, pool),
        };
        outputs.map(drop).map_err(|e| error::internal(e.to_string()))
    })
}

/// The median time of every step. `None` if there is nothing to show.
fn per_op(jit: &Jit, inputs: &[Tensor], args: &Args, peak: f64) -> Result<Option<Table>> {
    let mut workspace = jit.workspace();
    let mut runs: Vec<Vec<StepTime>> = Vec::new();
    for _ in 0..args.warm_up + args.runs {
        let (_, times) = jit.run_timed(&mut workspace, inputs).map_err(|e| error::internal(e.to_string()))?;
        runs.push(times);
    }
    let runs = &runs[args.warm_up..];
    let Some(first) = runs.first() else { return Ok(None) };
    let median = |step: usize| {
        let mut times: Vec<f64> = runs.iter().map(|run| run[step].time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let medians: Vec<f64> = (0..first.len()).map(median).collect();
    let total: f64 = medians.iter().sum();
    let columns = [
        ("node", "node"),
        ("kernel", "kernel"),
        ("ms", "ms"),
        ("share", "share"),
        ("gflops", "GFLOP/s"),
        ("peak_fraction", "of peak"),
    ];
    let mut table = Table::new(&columns);
    for (step, &ms) in first.iter().zip(&medians) {
        let gflops = step.flops as f64 / ms.max(1e-9) / 1e6;
        table.row([
            step.name.as_str().into(),
            step.kernel.as_str().into(),
            Cell::Number(ms, 4),
            Cell::Share(ms / total.max(1e-9)),
            Cell::Number(gflops, 1),
            Cell::Share(gflops / peak),
        ]);
    }
    Ok(Some(table))
}
