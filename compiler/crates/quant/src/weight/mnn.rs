//! MNN's compression parameter file: the protobuf-JSON form of its message `Pipeline`, as `MNNConvert --compressionParamsFile X.json` reads
//! and writes it. What it says of weights is a [`Policy`]; the rest (pruning, activations, Winograd) is refused by name.

use mnnc_ir::{Diagnostic, Graph};
use serde::{Deserialize, Serialize};

use super::defaults::Options;
use super::policy::{Entry, Policy, Scheme};

/// Both spellings that protobuf's JSON mapping allows are read; unknown fields are errors there, too.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Pipeline {
    algo: Vec<Algorithm>,
    version: String,
    #[serde(alias = "for_guide")]
    for_guide: bool,
    #[serde(alias = "mnn_uuid", skip_serializing_if = "Option::is_none")]
    mnn_uuid: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Algorithm {
    r#type: Name,
    #[serde(alias = "quant_params")]
    quant_params: Option<QuantParams>,
    #[serde(alias = "prune_params", skip_serializing_if = "Option::is_none")]
    prune_params: Option<serde_json::Value>,
}

/// An enum value: its name or its number.
#[derive(Serialize, Deserialize, Clone, PartialEq)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

impl Default for Name {
    fn default() -> Name {
        Name::Number(0)
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct QuantParams {
    #[serde(alias = "round_mode", skip_serializing_if = "Option::is_none")]
    round_mode: Option<Name>,
    layer: Vec<LayerParams>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct LayerParams {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input: Vec<serde_json::Value>,
    weight: Vec<WeightParams>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Name>,
    #[serde(alias = "wino_params", skip_serializing_if = "Option::is_none")]
    wino_params: Option<serde_json::Value>,
    #[serde(alias = "op_name")]
    op_name: String,
    #[serde(alias = "subgraph_name", skip_serializing_if = "String::is_empty")]
    subgraph_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    conv: Option<ConvInfo>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ConvInfo {
    #[serde(alias = "input_channel")]
    input_channel: i64,
    #[serde(alias = "output_channel")]
    output_channel: i64,
    #[serde(alias = "kernel_size")]
    kernel_size: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WeightParams {
    name: String,
    bits: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scales: Vec<f32>,
    #[serde(alias = "clamp_min", skip_serializing_if = "Option::is_none")]
    clamp_min: Option<i64>,
    #[serde(alias = "clamp_max", skip_serializing_if = "Option::is_none")]
    clamp_max: Option<i64>,
    asymmetric: bool,
    #[serde(alias = "block_size")]
    block_size: i64,
}

impl Default for WeightParams {
    /// The message's own defaults.
    fn default() -> WeightParams {
        WeightParams {
            name: String::new(),
            bits: 8,
            scales: Vec::new(),
            clamp_min: None,
            clamp_max: None,
            asymmetric: false,
            block_size: 0,
        }
    }
}

/// Whether a JSON text looks like this file rather than a [`Policy`].
pub fn is_one(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|v| v.get("algo").is_some())
}

/// Reads a guide for weights. `base` says what the file does not: how integers are chosen, how scales are stored.
///
/// # Errors
/// It is not such a file, says something that cannot be, or is no guide for weights.
pub fn read(text: &str, base: &Options) -> Result<Policy, Diagnostic> {
    let pipeline: Pipeline = serde_json::from_str(text)
        .map_err(|e| Diagnostic::bad_input(format!("this is no compression parameter file: {e}")))?;
    let unsupported = |what: &str| Diagnostic::unsupported(format!("{what} in a compression parameter file"));
    let mut policy = Policy::default();
    for algorithm in pipeline.algo {
        if algorithm.prune_params.is_some()
            || ![Name::Number(0), Name::Text("QUANTIZE".into())].contains(&algorithm.r#type)
        {
            return Err(unsupported("pruning").remedy("take it out; only weights of layers are read"));
        }
        for layer in algorithm.quant_params.into_iter().flat_map(|p| p.layer) {
            let name = if layer.op_name.is_empty() { "(no opName)".into() } else { layer.op_name.clone() };
            if !layer.input.is_empty() || !layer.output.is_empty() || layer.wino_params.is_some() {
                return Err(unsupported("quantised activations").node(name).remedy("use `mnnc quantize` for these"));
            }
            let Some(weight) = layer.weight.first() else { continue };
            policy.ops.push(entry(&layer, weight, base).map_err(|d| d.node(name))?);
        }
    }
    Ok(policy)
}

fn entry(layer: &LayerParams, weight: &WeightParams, base: &Options) -> Result<Entry, Diagnostic> {
    let bits = match weight.bits {
        0 => 0,
        b @ 2..=8 => b as u8,
        b => return Err(Diagnostic::bad_input(format!("{b} bits; 0 or 2 to 8 are possible"))),
    };
    let block = usize::try_from(weight.block_size)
        .map_err(|_| Diagnostic::bad_input(format!("a block of {}", weight.block_size)))?;
    let by_use = if block > 0 { super::ScaleType::Fp16 } else { super::ScaleType::Fp32 };
    let scheme = Scheme {
        bits,
        symmetric: !weight.asymmetric,
        block,
        scales: base.scales.unwrap_or(by_use),
        method: base.method,
    };
    Ok(Entry { name: layer.op_name.clone(), shape: None, weights: scheme })
}

/// Writes the policy for `g` as a guide for MNN.
///
/// # Errors
/// A policy that is not for this graph, or half precision for single ops, which MNN has for whole models only.
pub fn write(policy: &Policy, g: &Graph) -> Result<String, Diagnostic> {
    let mut layers = Vec::new();
    for (site, scheme) in policy.resolve(g)? {
        if scheme.bits == 16 {
            return Err(Diagnostic::unsupported("half precision for one op")
                .node(&site.name)
                .remedy("MNN has it for whole models only: give the op 8 bits or 0"));
        }
        // MNN lists the window's width first.
        let kernel_size = site.kernel.iter().rev().map(|&k| k as i64).collect();
        let conv = ConvInfo { input_channel: site.inputs as i64, output_channel: site.outputs as i64, kernel_size };
        let weight = WeightParams {
            name: g.value(site.weight).name.clone(),
            bits: i64::from(scheme.bits),
            asymmetric: !scheme.symmetric,
            block_size: scheme.block as i64,
            ..WeightParams::default()
        };
        layers.push(LayerParams {
            weight: vec![weight],
            op_name: site.name,
            conv: Some(conv),
            ..LayerParams::default()
        });
    }
    let params = QuantParams { round_mode: None, layer: layers };
    let algorithm = Algorithm { r#type: Name::Text("QUANTIZE".into()), quant_params: Some(params), prune_params: None };
    let pipeline = Pipeline { algo: vec![algorithm], version: "0.0.0".into(), for_guide: true, mnn_uuid: None };
    Ok(serde_json::to_string_pretty(&pipeline).unwrap_or_default() + "\n")
}
