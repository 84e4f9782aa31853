//! The command line of mnnc.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
