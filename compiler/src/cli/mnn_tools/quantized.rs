//! `quantized.out`: MNN's post-training quantiser.

use std::path::PathBuf;

use mnnc::error::Result;
use mnnc_ir::Diagnostic;

use super::super::effect::{PictureArgs, ReportArgs};
use super::super::quantize;

/// Quantise a float model to int8 with calibration data, as MNN's quantized.out does.
#[derive(clap::Args)]
pub struct Args {
    /// The float model.
    source: PathBuf,
    /// The quantised model to write.
    destination: PathBuf,
    /// MNN's quant.json.
    config: PathBuf,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    pictures: PictureArgs,
}

pub fn run(args: Args) -> Result<()> {
    let Args { source, destination, config, report, pictures } = args;
    if destination.extension().is_none_or(|e| e != "mnn") {
        return Err(Diagnostic::usage(format!(
            "quantized.out writes .mnn files, and {} is none",
            destination.display()
        ))
        .remedy("mnnc quantize writes native code, too")
        .into());
    }
    quantize::run(quantize::Args::of(source, destination, config, report, pictures))
}
