//! `mnnc zoo`: standard networks with seeded weights, as ONNX files.

use std::path::PathBuf;

use mnnc::error::{self, Result};
use mnnc::zoo::{self, Options};

use super::stdout::print;

/// Write a standard network with seeded random weights as an ONNX file.
///
/// Without a name, lists the networks.
#[derive(clap::Args)]
pub struct Args {
    /// The network, such as mobilenet_v2.
    #[arg(requires = "output")]
    name: Option<String>,
    /// The ONNX file to write.
    #[arg(short, long, value_name = "FILE.onnx")]
    output: Option<PathBuf>,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures in a batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Leave the batch open, as a symbol; shapes are then computed in the graph.
    #[arg(long)]
    dynamic_batch: bool,
    /// Height and width of the pictures, in pixels.
    #[arg(long, value_name = "HxW", default_value = "224x224", value_parser = size)]
    size: (usize, usize),
    /// Keep batch norms and shape arithmetic, as an export without constant folding does.
    #[arg(long)]
    unfolded: bool,
}

/// `HxW`, or one number for both.
fn size(text: &str) -> std::result::Result<(usize, usize), String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let extent = |t: &str| t.parse().map_err(|_| format!("`{t}` is not a number of pixels"));
    Ok((extent(height)?, extent(width)?))
}

pub fn run(args: Args) -> Result<()> {
    let (Some(name), Some(output)) = (args.name, args.output) else {
        print(&format!("{}\n", zoo::names().join("\n")));
        return Ok(());
    };
    let options = Options {
        seed: args.seed,
        batch: args.batch,
        dynamic_batch: args.dynamic_batch,
        size: args.size,
        unfolded: args.unfolded,
    };
    let model = zoo::build(&name, &options).map_err(|e| error::usage(e.to_string()))?;
    mnnc::output::write_whole(&output, |out| zoo::write(&model, out)).map_err(|e| error::file("write", &output, &e))
}
