//! Times single layers through mnnc's JIT against the roofline of this core.
//!
//! *Warm*: run after run, as the layers before left the caches. *Cold*: before every run other data are touched, four times
//! as many bytes as the second-level cache holds, so that weights and inputs come from further away; what a step that
//! prepares the input (a copy into channel blocks, a zero border) then touches is near again, as it is in a network.
//! Those preparing steps are not part of the layer's own time, for in a network the layer before writes what they write.

use std::process::ExitCode;

use clap::Parser;
use mnnc::profile::{Part, Runs, profile};
use mnnc::roofline::Roofline;
use mnnc::{CompileOptions, Compiler, Result, Target, inputs};
use mnnc_benches::{Layer, catalogue};
use serde_json::{Value, json};

/// Times single layers against the roofline of this core.
#[derive(Parser)]
#[command(name = "kernels")]
struct Args {
    /// Only layers whose name contains one of these words.
    words: Vec<String>,
    /// Runs that are timed, warm and cold each.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Processor to compile for [default: this one].
    #[arg(long, value_name = "CPU")]
    cpu: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let target = args.cpu.as_deref().map(|cpu| Target::parse(None, Some(cpu)));
    let target = target.transpose().map_err(|e| mnnc::error::usage(e.to_string()))?;
    let compiler = Compiler::new(CompileOptions { target, ..CompileOptions::default() });
    let roofline = Roofline::measure();
    let mut rows = Vec::new();
    if !args.json {
        println!(
            "{:<38} {:>9} {:>8} {:>8} {:>8}  {:<8} {:>9} {:>8} {:>8}",
            "layer", "warm ms", "GFLOP/s", "of peak", "of bound", "bound by", "cold ms", "GFLOP/s", "of bound"
        );
    }
    let chosen =
        |layer: &Layer| args.words.is_empty() || args.words.iter().any(|word| layer.name.contains(word.as_str()));
    for layer in catalogue().into_iter().filter(chosen) {
        let name = layer.name.clone();
        match time(&compiler, layer, args.runs, &roofline) {
            Ok([warm, cold]) => {
                if !args.json {
                    println!("{}", line(&name, &warm, &cold));
                }
                rows.push(json!({"layer": name, "warm": warm.json(), "cold": cold.json()}));
            }
            // One layer that a processor has no kernel for does not stop the others.
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    if args.json {
        println!("{:#}", Value::from(rows));
    }
    Ok(())
}

/// The layer's own steps, and those that prepare its input.
struct Timed {
    own: Part,
    preparing: f64,
}

impl Timed {
    fn gflops(&self) -> f64 {
        self.own.flops as f64 / self.own.seconds.max(1e-12) / 1e9
    }

    fn of_bound(&self) -> f64 {
        self.own.bound / self.own.seconds.max(1e-12)
    }

    fn json(&self) -> Value {
        json!({
            "ms": self.own.seconds * 1e3,
            "preparing_ms": self.preparing * 1e3,
            "kernel": self.own.kernel,
            "steps": self.own.steps,
            "flops": self.own.flops,
            "gflops": self.gflops(),
            "peak_fraction": self.gflops() / self.own.peak,
            "bytes": self.own.bytes,
            "bound_ms": self.own.bound * 1e3,
            "bound_by": self.own.limit.name(),
            "bound_fraction": self.of_bound(),
        })
    }
}

/// Warm and cold.
fn time(compiler: &Compiler, layer: Layer, runs: u32, roofline: &Roofline) -> Result<[Timed; 2]> {
    let model = compiler.load_onnx("layer.onnx", layer.model)?;
    let jit = compiler.jit(&model)?;
    let inputs = inputs::all(model.graph(), 0)?;
    // The second level is the last that a core has to itself.
    let held = roofline.memory.iter().filter(|level| level.name == "L2").filter_map(|level| level.holds).max();
    let cold = 4 * held.unwrap_or(1 << 20) as usize;
    let timed = |between| {
        let runs = Runs { warm_up: 3, counted: runs as usize, between };
        profile(&jit, &inputs, runs, roofline).map(timed)
    };
    Ok([timed(0)?, timed(cold)?])
}

/// Puts the steps together: the layer's own are those of nodes, the others have names that end in what they do.
fn timed(parts: Vec<Part>) -> Timed {
    let prepares = |part: &Part| part.node.ends_with(".border") || part.node.ends_with(".repack");
    let (preparing, own): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(prepares);
    let preparing = preparing.iter().map(|part| part.seconds).sum();
    let longest = own.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).cloned();
    let Some(mut whole) = longest else { unreachable!("a layer has a step of its own") };
    whole.steps = own.iter().map(|part| part.steps).sum();
    whole.seconds = own.iter().map(|part| part.seconds).sum();
    whole.flops = own.iter().map(|part| part.flops).sum();
    whole.bytes = own.iter().map(|part| part.bytes).sum();
    whole.bound = own.iter().map(|part| part.bound).sum();
    Timed { own: whole, preparing }
}

fn line(name: &str, warm: &Timed, cold: &Timed) -> String {
    format!(
        "{name:<38} {:>9.4} {:>8.1} {:>7.1}% {:>7.1}%  {:<8} {:>9.4} {:>8.1} {:>7.1}%",
        warm.own.seconds * 1e3,
        warm.gflops(),
        100.0 * warm.gflops() / warm.own.peak,
        100.0 * warm.of_bound(),
        warm.own.limit.name(),
        cold.own.seconds * 1e3,
        cold.gflops(),
        100.0 * cold.of_bound(),
    )
}
