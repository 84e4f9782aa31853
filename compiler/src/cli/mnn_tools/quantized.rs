//! `quantized.out`: MNN's post-training quantiser.

use std::path::PathBuf;

use mnnc::error::Result;
use mnnc_ir::Diagnostic;

/// Quantise a float model to int8 with calibration data, as MNN's quantized.out does.
#[derive(clap::Args)]
pub struct Args {
    /// The float model.
    source: PathBuf,
    /// The quantised model to write.
    destination: PathBuf,
    /// MNN's quant.json.
    config: PathBuf,
}

pub fn run(args: Args) -> Result<()> {
    let Args { source, destination, config } = args;
    Err(Diagnostic::unsupported(format!(
        "quantising {} to {} by {} is not implemented yet",
        source.display(),
        destination.display(),
        config.display()
    ))
    .remedy("compress the weights alone: mnnc compile --weight-bits 8")
    .into())
}
