//! `mnnc targets`: what code can be made for, and what this machine has.

use mnnc::error::Result;
use mnnc_codegen::{Cpu, Level, Target};
use serde_json::json;

use super::stdout::{print, print_json};
use crate::report::Table;

/// Show the targets and processors that code can be made for, and what this machine has.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let host = Cpu::host();
    let mut cpus =
        Table::new(&[("cpu", "--cpu"), ("stands_for", "stands for"), ("kernels", "kernels"), ("here", "runs here")]);
    for (name, cpu) in Target::cpu_names() {
        let runs =
            cpu.level.arch() == host.level.arch() && cpu.level <= host.level && host.features.contains(cpu.features);
        cpus.row([
            name.into(),
            cpu.to_string().into(),
            kernels(cpu.level).into(),
            if runs { "yes" } else { "" }.into(),
        ]);
    }
    if args.json {
        let triples: Vec<&str> = Target::triples().collect();
        print_json(&json!({"host": host.to_string(), "targets": triples, "cpus": cpus.json()}));
        return Ok(());
    }
    let triples: Vec<&str> = Target::triples().collect();
    print(&format!("this machine  {host}\n--target      {}\n\n{}", triples.join(", "), cpus.text()));
    Ok(())
}

/// How code for this level is made.
fn kernels(level: Level) -> &'static str {
    match level.isa() {
        Some(mnnc_vector::Isa::X64Avx512) => "AVX-512",
        Some(mnnc_vector::Isa::X64Avx2) => "AVX2, FMA",
        Some(mnnc_vector::Isa::A64Neon) => "NEON",
        None => "scalar",
    }
}
