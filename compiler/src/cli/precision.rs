//! Options of every verb that compresses a model.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mnnc::error::{self, Result};
use mnnc::{Compressed, Compression};
use mnnc_quant::weight::{Method, Options, Report, ScaleType};
use serde_json::json;

use crate::report::{Cell, Table};

/// Reduced precision.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Precision")]
pub struct PrecisionArgs {
    /// Store weights, and other large constants, as 16-bit floats.
    #[arg(long, conflicts_with_all = ["weight_bits", "policy"])]
    fp16: bool,
    /// Store weights in so many bits; depthwise and first convolutions get 8 where fewer are asked for.
    #[arg(long, value_name = "2..8", value_parser = clap::value_parser!(u8).range(2..=8))]
    weight_bits: Option<u8>,
    /// Input channels that share a scale [default: all of an output channel].
    #[arg(long, value_name = "N", requires = "weight_bits")]
    weight_block: Option<usize>,
    /// Give every scale a zero point, for weights that are not centred.
    #[arg(long, requires = "weight_bits")]
    weight_asymmetric: bool,
    /// How scales are stored [default: fp16 for blocks, else fp32].
    #[arg(long, value_enum, value_name = "TYPE", requires = "weight_bits")]
    weight_scale: Option<ScaleName>,
    /// How integers are chosen: by what they do to the results of the layer, by the range of the weights, by least squares, or so that outliers weigh less.
    #[arg(long, value_enum, value_name = "METHOD", requires = "weight_bits", default_value = "output")]
    weight_method: MethodName,
    /// Also store depthwise and first convolutions in fewer than 8 bits.
    #[arg(long, requires = "weight_bits")]
    weight_force: bool,
    /// Choose integers by what they do to the layers on samples: pictures, arrays or folders, as this quant.json describes them.
    #[arg(long, value_name = "FILE.json")]
    calibration: Option<PathBuf>,
    /// Compress each layer as this file says: a policy, or MNN's compression parameters as JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "weight_bits")]
    policy: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScaleName {
    Fp16,
    Fp32,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    Output,
    Minmax,
    Mse,
    Hqq,
}

impl PrecisionArgs {
    /// The configuration of the samples that integers are chosen on.
    pub fn calibration(&self) -> Option<&Path> {
        self.calibration.as_deref()
    }

    /// What is to become of the weights, if anything.
    ///
    /// # Errors
    /// A policy that cannot be read.
    pub fn compression(&self) -> Result<Option<Compression>> {
        let options = Options {
            symmetric: !self.weight_asymmetric,
            block: self.weight_block.unwrap_or(0),
            scales: self.weight_scale.map(|name| match name {
                ScaleName::Fp16 => ScaleType::Fp16,
                ScaleName::Fp32 => ScaleType::Fp32,
            }),
            method: match self.weight_method {
                MethodName::Output => Method::Output,
                MethodName::Minmax => Method::MinMax,
                MethodName::Mse => Method::Mse,
                MethodName::Hqq => Method::Hqq,
            },
            force: self.weight_force,
            ..Options::bits(if self.fp16 { 16 } else { self.weight_bits.unwrap_or(8) })
        };
        if let Some(path) = &self.policy {
            let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
            let policy = Some(text);
            return Ok(Some(Compression {
                policy,
                halve_constants: false,
                options,
                calibration: self.calibration.clone(),
            }));
        }
        if self.calibration.is_some() && self.weight_bits.is_none() {
            return Err(error::usage(
                "--calibration is for --weight-bits and --policy; mnnc quantize quantises activations, too",
            ));
        }
        let compression = Compression { calibration: self.calibration.clone(), ..Compression::new(options) };
        Ok((self.fp16 || self.weight_bits.is_some()).then_some(compression))
    }
}

/// What compression did to the outputs, a row each.
pub fn table(compressed: &Compressed) -> Table {
    let columns = [
        ("output", "output"),
        ("sqnr_db", "SQNR, dB"),
        ("max_error", "max error"),
        ("largest", "largest value"),
        ("weights_before", "weights before"),
        ("weights_after", "after"),
    ];
    let mut table = Table::new(&columns);
    let (before, after) = compressed.report.bytes();
    for loss in &compressed.losses {
        table.row([
            loss.output.as_str().into(),
            match loss.deviation.rms {
                0.0 => "exact".into(),
                _ => Cell::Number(loss.deviation.decibels(), 1),
            },
            Cell::Error(loss.deviation.absolute),
            Cell::Number(loss.largest, 3),
            Cell::Bytes(before),
            Cell::Bytes(after),
        ]);
    }
    table
}

/// What the user should know of single layers, one line each.
pub fn notes(report: &Report) -> impl Iterator<Item = String> {
    report.layers.iter().filter_map(|layer| Some(format!("{}: {}", layer.name, layer.note.as_ref()?)))
}

/// All of it, for programs.
pub fn as_json(compressed: &Compressed) -> serde_json::Value {
    let (before, after) = compressed.report.bytes();
    json!({
        "weight_bytes_before": before,
        "weight_bytes_after": after,
        "layers": compressed.report.layers,
        "outputs": compressed.losses.iter().map(|loss| json!({
            "output": loss.output,
            "sqnr_db": (loss.deviation.rms > 0.0).then(|| loss.deviation.decibels()),
            "max_error": loss.deviation.absolute,
            "largest": loss.largest,
        })).collect::<Vec<_>>(),
    })
}
