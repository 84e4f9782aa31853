//! `mnnc completions`: a completion script for a shell, on stdout.

use clap::CommandFactory;
use clap_complete::Shell;
use mnnc::error::Result;

use super::stdout::print;

/// Print the completion script for a shell.
///
/// For bash: mnnc completions bash > ~/.local/share/bash-completion/completions/mnnc
#[derive(clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "mnnc", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
