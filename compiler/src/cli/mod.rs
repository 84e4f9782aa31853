//! Verbs, exit codes and the last line of defence.

mod auto_quant;
mod bench;
mod compile;
mod completions;
mod demo;
mod effect;
mod failure;
mod inspect;
mod mnn_tools;
mod model;
mod ops;
mod opt;
mod per_op;
mod precision;
mod progress;
mod quantize;
mod roofline;
mod run;
mod stdout;
mod targets;
mod tune;
mod verify;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::guarded;

/// Compiles neural networks to native code and to .mnn files.
#[derive(Parser)]
#[command(name = "mnnc", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 wrong use or bad input, 2 the model needs something \
    unsupported, 3 verification failed, 4 internal error.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Compile(compile::Args),
    #[command(aliases = ["auto_quant", "auto_quant.py"])]
    AutoQuant(auto_quant::Args),
    Run(run::Args),
    Bench(bench::Args),
    Roofline(roofline::Args),
    Quantize(quantize::Args),
    Tune(tune::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Opt(opt::Args),
    Demo(demo::Args),
    Zoo(zoo::Args),
    Ops(ops::Args),
    Targets(targets::Args),
    Completions(completions::Args),
    #[command(name = "MNNConvert", visible_alias = "mnnconvert")]
    MnnConvert(Box<mnn_tools::convert::Args>),
    #[command(name = "quantized.out", visible_alias = "mnnquant")]
    Quantized(mnn_tools::quantized::Args),
}

/// Runs the command line and turns the outcome into the process's exit code.
pub fn main() -> ExitCode {
    let args = mnn_tools::arguments(std::env::args_os());
    // MNN's own tools know success and failure only.
    let code_of = |code: u8| if mnn_tools::is_called(&args) { code.min(1) } else { code };
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors; clap prints them to stdout.
            let code = if error.use_stderr() { failure::WRONG_USE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = guarded(|| match cli.verb {
        Verb::Compile(args) => compile::run(args),
        Verb::AutoQuant(args) => auto_quant::run(args),
        Verb::Run(args) => run::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Roofline(args) => roofline::run(args),
        Verb::Quantize(args) => quantize::run(args),
        Verb::Tune(args) => tune::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Inspect(args) => inspect::run(args),
        Verb::Opt(args) => opt::run(args),
        Verb::Demo(args) => demo::run(args),
        Verb::Zoo(args) => zoo::run(args),
        Verb::Ops(args) => ops::run(args),
        Verb::Targets(args) => targets::run(args),
        Verb::Completions(args) => completions::run(args),
        Verb::MnnConvert(args) => mnn_tools::convert::run(*args),
        Verb::Quantized(args) => mnn_tools::quantized::run(args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(code_of(failure.exit_code()))
        }
    }
}
