//! `mnnc bench`: how fast a model runs.

use mnnc::error::{self, Result};
use mnnc::profile::{Runs, profile};
use mnnc::roofline::{Peak, Roofline, Unit, best, peaks};
use mnnc::summary::Summary;
use mnnc::timing::Timings;
use mnnc::{CompileOptions, Compiler, Jit, inputs};
use mnnc_ir::Tensor;
use serde_json::json;

use super::model::{ModelArgs, OptArgs, TargetArgs, TuneArgs};
use super::per_op;
use super::progress::Step;
use super::roofline;
use super::stdout::{print, print_json};
use crate::report::{Cell, Table};

/// Most threads: beyond any machine that shares its memory among them evenly.
const MAX_THREADS: i64 = 256;
/// Most runs: a day of the smallest network.
const MAX_RUNS: i64 = 1_000_000;

/// Time a model's native code on this machine.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Threads that share one run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_THREADS))]
    threads: u32,
    /// Runs that are timed.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=MAX_RUNS))]
    runs: u32,
    /// Runs before those.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=MAX_RUNS))]
    warm_up: u32,
    /// Time every step too, on one thread, and compare it with the roofline: the least time that its operations and the
    /// bytes of its operands allow, each byte at the speed of the memory that it must come from.
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
    fn profile_runs(&self) -> Runs {
        Runs { warm_up: self.warm_up as usize, counted: self.runs as usize, between: 0 }
    }

    fn options(&self) -> Result<CompileOptions> {
        Ok(CompileOptions {
            target: self.target.target()?,
            tune: self.tune.file()?,
            ..self.model.options(Some(&self.opt))
        })
    }
}

pub fn run(args: Args) -> Result<()> {
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
    let measured = Measured::of(args.per_op);
    let peak = measured.gflops(&jit) * f64::from(args.threads);
    let gflops = flops / timings.min_ms() / 1e6;
    let parts = match &measured {
        Measured::All(roofline) => Some(profile(&jit, &inputs, args.profile_runs(), roofline)?),
        Measured::Peaks(_) => None,
    };
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
        if let (Some(parts), Measured::All(roofline)) = (&parts, &measured) {
            result["per_op"] = per_op::table(parts).json();
            result["roofline"] = roofline::json(roofline);
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
        ("peak", "of f32 peak"),
    ];
    let mut table = Table::new(&columns);
    table.row([
        name.into(),
        Cell::Count(u64::from(args.threads)),
        Cell::Number(timings.min_ms(), 3),
        Cell::Number(timings.median_ms(), 3),
        Cell::Number(timings.quantile_ms(0.9), 3),
        Cell::Number(gflops, 1),
        Cell::Share(gflops / peak),
    ]);
    print(&table.text());
    if let Some(parts) = &parts {
        print(&format!("\n{}{}", per_op::table(parts).text(), per_op::sum(parts)));
    }
    Ok(())
}

/// What is known of the machine: all of it only where the steps are compared with it.
enum Measured {
    All(Roofline),
    Peaks(Vec<Peak>),
}

impl Measured {
    fn of(all: bool) -> Self {
        let _step = Step::begin("measuring this core");
        if all { Measured::All(Roofline::measure()) } else { Measured::Peaks(peaks()) }
    }

    /// Peak of one core for the strongest unit that any of the model's kernels uses.
    fn gflops(&self, jit: &Jit) -> f64 {
        let variant = &jit.model().variants[0];
        let units = variant.schedule.kernels.iter().map(|(_, kernel)| Unit::of_kernel(&kernel.name));
        let peaks = match self {
            Measured::All(roofline) => &roofline.peaks,
            Measured::Peaks(peaks) => peaks,
        };
        best(peaks, variant.cpu.level, units.max().unwrap_or(Unit::F32))
    }
}

fn model_name(path: &std::path::Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

fn time(jit: &Jit, inputs: &[Tensor], args: &Args) -> Result<Timings> {
    let mut workspace = jit.workspace();
    let mut pool = match args.threads as usize {
        1 => None,
        n => Some(mnnc_codegen::Pool::new(n).ok_or_else(|| error::usage(format!("cannot start {n} threads")))?),
    };
    Timings::measure(args.warm_up as usize, args.runs as usize, || {
        let outputs = match &mut pool {
            None => jit.run_in(&mut workspace, inputs),
            Some(pool) => jit.run_parallel(&mut workspace, inputs, pool),
        };
        outputs.map(drop).map_err(|e| error::internal(e.to_string()))
    })
}
