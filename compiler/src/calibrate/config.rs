//! The configuration of a calibration: MNN's `quant.json`, every key of it, and keys of our own.

use std::path::{Path, PathBuf};

use mnnc_ir::diag::Diagnostic;
use serde::Deserialize;

use crate::error::{self, Result};

/// What `quant.json` says. Keys that MNN does not know are marked *own*.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Order of colours that the model reads.
    #[serde(default)]
    pub format: PixelFormat,
    /// Subtracted from each channel, in the order of `format`.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Multiplies each channel after the mean went.
    #[serde(default)]
    pub normal: Vec<f32>,
    /// Share of the picture's height that is kept, around its centre.
    #[serde(default = "one")]
    pub center_crop_h: f64,
    /// Share of the picture's width that is kept.
    #[serde(default = "one")]
    pub center_crop_w: f64,
    /// Width that the model reads; the model's own if absent.
    pub width: Option<u32>,
    /// Height that the model reads.
    pub height: Option<u32>,
    /// The folder of pictures or samples. Relative paths start at the folder of the configuration, or else the working directory.
    pub path: PathBuf,
    /// How many samples to use; 0 for all.
    #[serde(default, alias = "used_sample_num")]
    pub used_image_num: usize,
    /// How ranges of activations are found. Absent: the best of several for each, by what it does to the network's results.
    pub feature_quantize_method: Option<FeatureMethod>,
    /// How weights are quantised; adaptively if absent.
    pub weight_quantize_method: Option<WeightMethod>,
    /// The integer that the range's end is mapped to.
    pub feature_clamp_value: Option<f64>,
    /// The largest integer of a weight.
    pub weight_clamp_value: Option<f64>,
    /// Bits of a weight.
    #[serde(default = "eight")]
    pub quant_bits: u8,
    /// Whether MNN may search for a Winograd form in int8: [without effect](Config::without_effect), for the format's plan is optional.
    #[serde(rename = "winogradOpt")]
    pub winograd_opt: Option<bool>,
    /// Samples that share one step of the moving average (method EMA).
    pub batch_size: Option<usize>,
    /// Nodes that stay in float.
    #[serde(default)]
    pub skip_quant_op_names: Vec<String>,
    /// What a sample is.
    #[serde(default)]
    pub input_type: InputType,
    /// Inputs of a model that reads no single picture.
    #[serde(default)]
    pub inputs: Vec<InputSpec>,
    /// Whether every tensor's cosine distance and overflow are reported.
    #[serde(default)]
    pub debug: bool,
    /// Ignored by MNN, and here.
    pub model: Option<String>,
    /// *Own.* Share of the values that the method PERCENTILE keeps, in percent.
    #[serde(default = "percentile")]
    pub percentile: f64,
    /// *Own.* Whether activations have a zero point of their own. Absent: what the method has in MNN (EMA has one), else yes.
    pub asymmetric: Option<bool>,
    /// *Own.* Whether biases make up for the mean error of each channel.
    pub bias_correction: Option<bool>,
    /// *Own.* Whether channels of neighbouring layers are scaled to like ranges first.
    pub cross_layer_equalization: Option<bool>,
    /// *Own.* Whether weights are rounded so that each layer's output, not each weight, is nearest.
    pub adaptive_rounding: Option<bool>,
    /// *Own.* How many of the layers that lose most stay in float.
    #[serde(default)]
    pub float_fallback: usize,
}

fn one() -> f64 {
    1.0
}
fn eight() -> u8 {
    8
}
fn percentile() -> f64 {
    99.99
}

/// Order of the colours of a pixel.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PixelFormat {
    /// Red first.
    Rgb,
    /// Blue first.
    #[default]
    Bgr,
    /// Luminance.
    Gray,
    /// Red first, with opacity.
    Rgba,
    /// Blue first, with opacity.
    Bgra,
}

impl PixelFormat {
    /// Number of channels.
    pub fn channels(self) -> usize {
        match self {
            PixelFormat::Gray => 1,
            PixelFormat::Rgb | PixelFormat::Bgr => 3,
            PixelFormat::Rgba | PixelFormat::Bgra => 4,
        }
    }
}

/// How the range of an activation is found.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FeatureMethod {
    /// Least information lost, as MNN computes it.
    Kl,
    /// Alternating least squares.
    Admm,
    /// Moving averages of least and largest value.
    Ema,
    /// *Own.* Least and largest value.
    MinMax,
    /// *Own.* All but the outermost values.
    Percentile,
    /// *Own.* Least mean squared error.
    Mse,
}

/// How weights are quantised.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WeightMethod {
    /// The largest weight of an output channel is the largest integer.
    MaxAbs,
    /// Alternating least squares, for each output channel.
    Admm,
    /// *Own.* Least squares by search.
    Mse,
}

/// What a sample is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// A picture, or a tensor in a `.npy` file.
    #[default]
    Image,
    /// A folder with a file for each input.
    Sequence,
}

/// An input of a model, for samples that are folders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Its name in the model.
    pub name: String,
    /// Its shape, where the model leaves that open.
    #[serde(default)]
    pub shape: Vec<u64>,
    /// The value of every element, if no file gives the input.
    pub value: Option<f64>,
}

impl Config {
    /// Reads and checks the configuration at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, lacks `path`, or has an unknown key or a value that means nothing.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
        let mut config = Config::parse(&text).map_err(|d| d.file(path.display()))?;
        // MNN starts at the working directory; beside the configuration is where people put the folder.
        if let Some(beside) =
            path.parent().map(|p| p.join(&config.path)).filter(|p| config.path.is_relative() && p.is_dir())
        {
            config.path = beside;
        }
        Ok(config)
    }

    /// What is asked for and changes nothing, with the reason.
    pub fn without_effect(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.winograd_opt == Some(true) {
            all.push("winogradOpt has no effect: convolutions are int8 without a Winograd plan, which loses accuracy in int8".into());
        }
        if let Some(model) = &self.model {
            all.push(format!("model `{model}` has no effect: the model is the one of the command line, as with MNN"));
        }
        all
    }

    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// As [`read`](Self::read), without the file's name.
    pub fn parse(text: &str) -> std::result::Result<Config, Diagnostic> {
        let config: Config = serde_json::from_str(text).map_err(|e| diagnostic(&e))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), Diagnostic> {
        let bad = |message: String| Err(Diagnostic::bad_input(message));
        let channels = self.format.channels();
        for (key, values) in [("mean", &self.mean), ("normal", &self.normal)] {
            if !values.is_empty() && values.len() < channels && values.len() != 1 {
                return bad(format!("{key} has {} values for {channels} channels", values.len()));
            }
            if values.iter().any(|v| !v.is_finite()) {
                return bad(format!("{key} has a value that is not finite"));
            }
        }
        for (key, share) in [("center_crop_h", self.center_crop_h), ("center_crop_w", self.center_crop_w)] {
            if !(share > 0.0 && share <= 1.0) {
                return bad(format!("{key} is {share}; it is a share of the picture, above 0 and up to 1"));
            }
        }
        for (key, clamp) in
            [("feature_clamp_value", self.feature_clamp_value), ("weight_clamp_value", self.weight_clamp_value)]
        {
            if clamp.is_some_and(|c| !(1.0..128.0).contains(&c)) {
                return bad(format!("{key} is {}; it is an integer from 1 to 127", clamp.unwrap_or_default()));
            }
        }
        if !(2..=8).contains(&self.quant_bits) {
            return bad(format!("quant_bits is {}; weights have 2 to 8 bits", self.quant_bits));
        }
        if !(self.percentile > 50.0 && self.percentile <= 100.0) {
            return bad(format!("percentile is {}; it is above 50 and up to 100", self.percentile));
        }
        if self.width == Some(0) || self.height == Some(0) || self.batch_size == Some(0) {
            return bad("width, height and batch_size are at least 1".into());
        }
        Ok(())
    }

    /// The integer that the range's end is mapped to: 127, or what the configuration says, truncated as MNN does.
    pub fn feature_clamp(&self) -> i32 {
        self.feature_clamp_value.map_or(127, |c| c as i32)
    }

    /// The largest integer of a weight.
    pub fn weight_clamp(&self) -> i32 {
        let of_bits = (1 << (self.quant_bits - 1)) - 1;
        self.weight_clamp_value.map_or(of_bits, |c| of_bits.min(c as i32))
    }
}

/// What serde found, in the words of the tool.
fn diagnostic(e: &serde_json::Error) -> Diagnostic {
    let text = e.to_string();
    if e.is_syntax() || e.is_eof() {
        return Diagnostic::bad_input(format!("not JSON: {text}"))
            .remedy("a configuration is one JSON object, such as {\"path\": \"pictures\"}");
    }
    if text.starts_with("missing field `path`") {
        return Diagnostic::bad_input("the key path is missing")
            .remedy("add \"path\": the folder of calibration pictures");
    }
    let text = text.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
    Diagnostic::bad_input(text)
}

#[cfg(test)]
mod tests {
    use super::{Config, FeatureMethod, PixelFormat};

    fn error(text: &str) -> String {
        Config::parse(text).unwrap_err().message
    }

    #[test]
    fn a_configuration_of_mnn_is_read() {
        let config = Config::parse(
            r#"{"format":"RGB","mean":[127.5,127.5,127.5],"normal":[0.00784,0.00784,0.00784],"width":224,"height":224,
                "path":"images","used_image_num":100,"feature_quantize_method":"KL","weight_quantize_method":"MAX_ABS",
                "feature_clamp_value":127,"weight_clamp_value":127,"batch_size":32,"quant_bits":8,"winogradOpt":false,
                "skip_quant_op_names":["a"],"input_type":"image","debug":false,"model":"x.mnn"}"#,
        )
        .unwrap();
        assert_eq!((config.format, config.feature_quantize_method), (PixelFormat::Rgb, Some(FeatureMethod::Kl)));
        let least = Config::parse(r#"{"path":"x"}"#).unwrap();
        assert_eq!((least.format, least.feature_clamp(), least.weight_clamp()), (PixelFormat::Bgr, 127, 127));
        assert_eq!(Config::parse(r#"{"path":"x","quant_bits":4}"#).unwrap().weight_clamp(), 7);
        assert!(least.without_effect().is_empty());
        let asked = Config::parse(r#"{"path":"x","winogradOpt":true,"model":"m.mnn"}"#).unwrap().without_effect();
        assert!(
            asked[0].starts_with("winogradOpt has no effect: ")
                && asked[1].starts_with("model `m.mnn` has no effect: ")
        );
    }

    #[test]
    fn what_means_nothing_is_named() {
        assert!(error("{").starts_with("not JSON"));
        assert_eq!(error("{}"), "the key path is missing");
        let key = error(r#"{"path":"x","formt":"RGB"}"#);
        assert!(
            key.starts_with("unknown key `formt`") && key.contains("`format`") && key.contains("`skip_quant_op_names`"),
            "{key}"
        );
        let method = error(r#"{"path":"x","feature_quantize_method":"ENTROPY"}"#);
        assert!(method.starts_with("unknown value `ENTROPY`") && method.contains("`KL`"), "{method}");
        assert!(error(r#"{"path":"x","mean":[1,2]}"#).contains("2 values for 3 channels"));
        assert!(error(r#"{"path":"x","quant_bits":1}"#).contains("2 to 8"));
        assert!(error(r#"{"path":"x","center_crop_h":0}"#).contains("center_crop_h"));
        assert!(error(r#"{"path":"x","feature_clamp_value":200}"#).contains("1 to 127"));
    }
}
