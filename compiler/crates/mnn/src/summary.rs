//! What a `.mnn` file holds, read without building a graph.

use mnnc_schema::mnn::{self, Blob, Convolution2D, DataType, IDSTQuan, Op, OpType};
use std::collections::BTreeMap;
use std::fmt;

/// A graph input or output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its tensor's name.
    pub name: String,
    /// Element type in the format's words (`DT_FLOAT`); inputs only.
    pub dtype: Option<String>,
    /// Dims, -1 for one that the user sets; inputs only.
    pub dims: Vec<i32>,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Version of the converter that wrote the file, if it says so.
    pub version: Option<String>,
    /// Graph inputs in order of the ops.
    pub inputs: Vec<Port>,
    /// Graph outputs in order.
    pub outputs: Vec<Port>,
    /// How many ops of each type there are, sub-graphs included.
    pub ops: BTreeMap<String, usize>,
    /// Tensors in the main graph's table.
    pub tensors: usize,
    /// Bytes of weights and constants inside the file.
    pub weight_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SummaryError(String);

impl fmt::Display for SummaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SummaryError {}

/// Reads what a `.mnn` file holds.
///
/// # Errors
/// If the bytes are not a valid FlatBuffer of the format, or lack what MNN's loader demands: ops, a tensor table, and
/// indices within it.
pub fn summary(bytes: &[u8]) -> Result<Summary, SummaryError> {
    let net = mnn::root(bytes).map_err(|error| SummaryError(format!("not a .mnn file: {error}")))?;
    let names = net.tensor_name().ok_or_else(|| SummaryError("the file has no tensor table".into()))?;
    let ops = net.oplists().ok_or_else(|| SummaryError("the file has no ops".into()))?;
    let mut found = Summary {
        version: net.extra_info().and_then(|info| info.version()).map(str::to_string),
        tensors: names.len(),
        file_bytes: bytes.len() as u64,
        ..Summary::default()
    };
    for op in ops {
        check_indices(&op, names.len())?;
        if op.type_() == OpType::Input {
            found.inputs.push(input_port(&op, |index| names.get(index).to_string()));
        }
        count(&mut found, &op);
    }
    for graph in net.subgraphs().into_iter().flatten() {
        let tensors = graph.tensors().map_or(0, |tensors| tensors.len());
        for op in graph.nodes().into_iter().flatten() {
            check_indices(&op, tensors)?;
            count(&mut found, &op);
        }
    }
    let outputs = net.output_name().into_iter().flatten();
    found.outputs = outputs.map(|name| Port { name: name.to_string(), dtype: None, dims: Vec::new() }).collect();
    Ok(found)
}

fn check_indices(op: &Op, tensors: usize) -> Result<(), SummaryError> {
    let name = op.name().unwrap_or("without a name");
    let outputs = op.output_indexes().ok_or_else(|| SummaryError(format!("op {name} has no outputs")))?;
    let mut indices = op.input_indexes().into_iter().flatten().chain(outputs);
    match indices.find(|&index| usize::try_from(index).map_or(true, |index| index >= tensors)) {
        Some(index) => Err(SummaryError(format!("op {name} refers to tensor {index} of {tensors}"))),
        None => Ok(()),
    }
}

fn input_port(op: &Op, name: impl Fn(usize) -> String) -> Port {
    let index = op.output_indexes().and_then(|outputs| outputs.iter().next()).and_then(|i| usize::try_from(i).ok());
    let input = op.main_as_input();
    let dtype = input.map_or(DataType::DT_FLOAT, |input| input.dtype());
    Port {
        name: index.map(name).unwrap_or_default(),
        dtype: dtype.variant_name().map(str::to_string),
        dims: input.and_then(|input| input.dims()).into_iter().flatten().collect(),
    }
}

fn count(found: &mut Summary, op: &Op) {
    let kind = op.type_();
    let name = kind.variant_name().map_or_else(|| format!("type {}", kind.0), str::to_string);
    *found.ops.entry(name).or_insert(0) += 1;
    found.weight_bytes += weight_bytes(op);
}

fn elements<T>(vector: Option<flatbuffers::Vector<'_, T>>) -> u64 {
    vector.map_or(0, |vector| vector.len() as u64)
}

fn blob_bytes(blob: Blob) -> u64 {
    elements(blob.uint8s())
        + elements(blob.int8s())
        + 4 * (elements(blob.int32s()) + elements(blob.float32s()))
        + 8 * elements(blob.int64s())
}

fn coded_bytes(quan: IDSTQuan) -> u64 {
    elements(quan.buffer()) + 4 * (elements(quan.alpha()) + elements(quan.index())) + 2 * elements(quan.alpha_fp16())
}

fn convolution_bytes(conv: Convolution2D) -> u64 {
    let int8 = conv.symmetric_quan().map_or(0, |quan| elements(quan.weight()) + 4 * elements(quan.bias()));
    4 * (elements(conv.weight()) + elements(conv.bias())) + conv.quan_parameter().map_or(0, coded_bytes) + int8
}

fn weight_bytes(op: &Op) -> u64 {
    op.main_as_blob().map_or(0, blob_bytes)
        + op.main_as_convolution2_d().map_or(0, convolution_bytes)
        + op.main_as_convolution3_d().map_or(0, |conv| 4 * (elements(conv.weight()) + elements(conv.bias())))
        + op.main_as_scale().map_or(0, |scale| 4 * (elements(scale.scale_data()) + elements(scale.bias_data())))
        + op.main_as_prelu().map_or(0, |prelu| 4 * elements(prelu.slope()))
        + op.main_as_layer_norm().map_or(0, |norm| 4 * (elements(norm.gamma()) + elements(norm.beta())))
}
