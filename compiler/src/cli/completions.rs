//! `mnnc completions`: a completion script for a shell, on stdout.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::failure::Failure;

/// Print the completion script for a shell.
///
/// For bash: mnnc completions bash > ~/.local/share/bash-completion/completions/mnnc
#[derive(clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "mnnc", &mut script);
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(&script);
    Ok(())
}
