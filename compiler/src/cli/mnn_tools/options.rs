//! MNNConvert's options: those that work, and those that are refused.

use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::PossibleValue;
use mnnc::Format;
use mnnc::error::{self, Result};
use mnnc_ir::Diagnostic;

use super::super::effect::MeasureArgs;

/// Formats by the names that MNN gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framework {
    Onnx,
    Mnn,
    TensorFlow,
    TfLite,
    Caffe,
    Torch,
    Json,
}

impl clap::ValueEnum for Framework {
    fn value_variants<'a>() -> &'a [Self] {
        use Framework::*;
        &[Onnx, Mnn, TensorFlow, TfLite, Caffe, Torch, Json]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Framework::Onnx => "ONNX",
            Framework::Mnn => "MNN",
            Framework::TensorFlow => "TF",
            Framework::TfLite => "TFLITE",
            Framework::Caffe => "CAFFE",
            Framework::Torch => "TORCH",
            Framework::Json => "JSON",
        }))
    }
}

impl Framework {
    /// The importer's name for it.
    ///
    /// # Errors
    /// MNN's JSON form, which is not read.
    pub fn format(self) -> Result<Format> {
        Ok(match self {
            Framework::Onnx => Format::Onnx,
            Framework::Mnn => Format::Mnn,
            Framework::TensorFlow => Format::TensorFlow,
            Framework::TfLite => Format::TfLite,
            Framework::Caffe => Format::Caffe,
            Framework::Torch => Format::Torch,
            Framework::Json => {
                return Err(Diagnostic::unsupported("-f JSON: a .mnn file cannot be made from its dump")
                    .remedy("convert the model that the dump was made of; MNN's dumps have lost digits of the weights anyway")
                    .into());
            }
        })
    }
}

/// Convert a model to a .mnn file, as MNN's MNNConvert does.
///
/// Options are spelt as MNN spells them. One that needs no value is on by being there; unlike in MNN, `=0` turns it off. What MNN has and this
/// tool has not is refused by name with the reason. Options under Report are of this program's own.
#[derive(clap::Args)]
#[command(rename_all = "camelCase", disable_version_flag = true, max_term_width = 100)]
pub struct Args {
    /// Format of the model.
    #[arg(short = 'f', long, value_enum, value_name = "FORMAT")]
    pub framework: Option<Framework>,
    /// The model.
    #[arg(long, value_name = "FILE")]
    pub model_file: Option<PathBuf>,
    /// The .mnn file to write.
    #[arg(long = "MNNModel", value_name = "FILE")]
    pub mnn_model: Option<PathBuf>,
    /// What the file says that it is for.
    #[arg(long, value_name = "TEXT", default_value = "MNNTest")]
    pub biz_code: String,
    /// What the file says of who may use it.
    #[arg(long, value_name = "TEXT")]
    pub auth_code: Option<String>,
    /// Size of the first dimension of inputs that leave it open.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub batch: u64,
    /// Whether inputs keep their layout.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value = "true", default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub keep_input_format: bool,
    /// 0: only what conversion needs; 1: what is right for every input; 2: everything.
    #[arg(long, value_name = "0..2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub optimize_level: u8,
    /// 0: normal, 1: smallest, 2: fastest.
    #[arg(long, value_name = "0..2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub optimize_prefer: u8,
    /// Version of MNN that is to load the file.
    #[arg(long, value_name = "MAJOR.MINOR", value_parser = version)]
    pub target_version: Option<(u32, u32)>,
    /// Store weights, and other large constants, as 16-bit floats.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub fp16: Option<bool>,
    /// Store weights in so many bits: those of every layer, as MNN does; `mnnc compile --weight-bits` spares layers that suffer most.
    #[arg(long, value_name = "2..8", value_parser = clap::value_parser!(u8).range(2..=8))]
    pub weight_quant_bits: Option<u8>,
    /// Whether scales have a zero point.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value = "true", default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub weight_quant_asymmetric: bool,
    /// Input channels that share a scale; -1 for all.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub weight_quant_block: i64,
    /// Bits of a scale.
    #[arg(long, value_name = "16|32", default_value = "32", value_parser = ["16", "32"])]
    pub weight_quant_scale_bit: String,
    /// Choose integers so that outliers weigh less.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub hqq: Option<bool>,
    /// Bits and blocks of every layer, as JSON; written if it is not there.
    #[arg(long, value_name = "FILE")]
    pub compression_params_file: Option<PathBuf>,
    /// Write the weights to a file of their own, FILE.mnn.weight.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub save_external_data: Option<bool>,
    /// Whether weights that are no normal numbers become 0.
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub align_denormalized_value: u8,
    /// Whether GELU may be approximated; it is exact here.
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub use_gelu_approximation: u8,
    /// Whether products with constant weights become convolutions.
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub convert_matmul_to_conv: u8,
    /// Do not split grouped convolutions; integer weights of one are split all the same, for the engine needs that.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub group_conv_native: Option<bool>,
    /// Print what each pass did.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub dump_pass: Option<bool>,
    /// Compare with the expected outputs in this folder.
    #[arg(long, value_name = "DIR")]
    pub testdir: Option<PathBuf>,
    /// How to run for that, as JSON.
    #[arg(long, value_name = "FILE", requires = "testdir")]
    pub testconfig: Option<PathBuf>,
    /// Largest error of an output, as a share of its largest element.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub thredhold: f64,
    /// List the ops that are read in the format of -f.
    #[arg(long = "OP", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub op: Option<bool>,
    /// Show inputs, outputs and version of a .mnn file.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = boolean)]
    pub info: Option<bool>,
    /// Write the content of a .mnn file as JSON.
    #[arg(long = "JsonFile", value_name = "FILE")]
    pub json_file: Option<PathBuf>,
    /// Print the version of MNN that files are written for.
    #[arg(short = 'v', long)]
    pub version: bool,
    #[command(flatten)]
    refused: Refused,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// What MNN has and this tool has not.
#[derive(clap::Args)]
#[command(rename_all = "camelCase")]
struct Refused {
    #[arg(long, hide = true)]
    prototxt: Option<PathBuf>,
    #[arg(long, hide = true)]
    detect_sparse_speed_up: bool,
    #[arg(long, hide = true)]
    save_static_model: bool,
    #[arg(long, hide = true)]
    input_config_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    for_training: bool,
    #[arg(long, hide = true)]
    transformer_fuse: bool,
    #[arg(long = "transformerFuseC4", hide = true, value_parser = clap::value_parser!(u8).range(0..=1))]
    transformer_fuse_c4: Option<u8>,
    #[arg(long, hide = true, value_parser = clap::value_parser!(u8).range(0..=1))]
    transformer_fuse_qkv_proj: Option<u8>,
    #[arg(long, hide = true, value_parser = clap::value_parser!(u8).range(0..=1))]
    transformer_fuse_gate_up_proj: Option<u8>,
    #[arg(long, hide = true, value_parser = clap::value_parser!(u8).range(0..=1))]
    transformer_fuse_ln_proj: Option<u8>,
    #[arg(long = "useOriginRNNImpl", hide = true)]
    use_origin_rnn_impl: bool,
    #[arg(long, hide = true)]
    split_block_quant: bool,
    #[arg(long, hide = true)]
    allow_custom_op: bool,
    #[arg(long, hide = true)]
    custom_op_libs: Option<String>,
    #[arg(long, hide = true)]
    benchmark_model: bool,
    #[arg(long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    rknn: bool,
}

impl Args {
    /// Refuses what would otherwise be ignored in silence.
    pub fn check(&self) -> Result<()> {
        let r = &self.refused;
        let fuse = [
            (r.transformer_fuse_c4, "--transformerFuseC4=1"),
            (r.transformer_fuse_qkv_proj, "--transformerFuseQkvProj=1"),
            (r.transformer_fuse_gate_up_proj, "--transformerFuseGateUpProj=1"),
            (r.transformer_fuse_ln_proj, "--transformerFuseLnProj=1"),
        ];
        let fused = fuse.iter().find(|(value, _)| *value == Some(1)).map(|(_, name)| *name);
        let refused = [
            (r.prototxt.is_some(), "--prototxt", "Caffe models are not read"),
            (r.detect_sparse_speed_up, "--detectSparseSpeedUp", "weights are stored densely"),
            (r.save_static_model, "--saveStaticModel", "files for MNN's static mini runtime are not written"),
            (r.input_config_file.is_some(), "--inputConfigFile", "it goes with --saveStaticModel, which is refused"),
            (r.for_training, "--forTraining", "models are written for inference: batch normalisation is folded"),
            (
                r.transformer_fuse,
                "--transformerFuse",
                "attention is written as products and softmax, which every back end of MNN has",
            ),
            (fused.is_some(), fused.unwrap_or_default(), "products of language models are written one by one"),
            (r.use_origin_rnn_impl, "--useOriginRNNImpl", "recurrent ops are not written to .mnn"),
            (r.split_block_quant, "--splitBlockQuant", "MNN's CPU computes on blocks within one convolution"),
            (r.allow_custom_op, "--allowCustomOp", "every op that is written is one that the engine has"),
            (r.custom_op_libs.is_some(), "--customOpLibs", "no code of others is loaded"),
            (r.benchmark_model, "--benchmarkModel", "MNN declares it and reads it nowhere"),
            (r.debug, "--debug", "MNN declares it and reads it nowhere"),
            (r.rknn, "--rknn", "code for that device is not made"),
            (
                !self.keep_input_format,
                "--keepInputFormat=false",
                "inputs stay as the model has them; packed ones would need MNN's old interface",
            ),
            (
                self.target_version.is_some_and(|v| v < (3, 6)),
                "--targetVersion",
                "files are written and tested for MNN 3.6",
            ),
        ];
        match refused.iter().find(|(asked, ..)| *asked) {
            None => Ok(()),
            Some((_, name, reason)) => {
                Err(Diagnostic::unsupported(format!("{name}: {reason}")).remedy("leave it out").into())
            }
        }
    }

    /// The file of an option that this use of the tool needs.
    pub fn needed<'a>(option: &'a Option<PathBuf>, name: &str) -> Result<&'a PathBuf> {
        option.as_ref().ok_or_else(|| error::usage(format!("{name} is missing; see --help")))
    }
}

/// `true`, `1`, `false`, `0` and their kin.
fn boolean(text: &str) -> std::result::Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "yes" => Ok(true),
        "0" | "f" | "false" | "off" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// `3.6` or `3.6.1`: numbers, so that 3.10 is later than 3.6.
fn version(text: &str) -> std::result::Result<(u32, u32), String> {
    let mut parts = text.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), None) => Ok((major, 0)),
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("`{text}` is no version such as 3.6")),
    }
}
