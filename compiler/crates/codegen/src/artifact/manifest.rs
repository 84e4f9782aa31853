//! The manifest of a model: what the header says and what is inside, for programs.

use crate::CodegenError;
use crate::model::{Model, Port};
use mnnc_kernel::KernelCode;
use serde::Serialize;

#[derive(Serialize)]
struct Manifest<'a> {
    name: &'a str,
    abi_version: u32,
    compiler: &'a str,
    source_hash: &'a str,
    target: &'a str,
    workspace_bytes: usize,
    weights_bytes: usize,
    inputs: Vec<Tensor<'a>>,
    outputs: Vec<Tensor<'a>>,
    levels: Vec<Level<'a>>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: &'static str,
    dims: &'a [usize],
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    quant: Option<Quant<'a>>,
}

#[derive(Serialize)]
struct Quant<'a> {
    scales: &'a [f32],
    zero_points: &'a [i32],
    axis: Option<usize>,
}

#[derive(Serialize)]
struct Level<'a> {
    cpu: String,
    workspace_bytes: usize,
    workspace_lower_bound: usize,
    weights_bytes: usize,
    flops: u64,
    kernels: Vec<Kernel<'a>>,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    name: &'a str,
    /// Bytes of finished machine code; absent for code that Cranelift compiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    code_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    kernel: &'a str,
    units: usize,
    flops: u64,
}

fn tensor(p: &Port) -> Tensor<'_> {
    let quant = p.quant.as_deref().map(|q| Quant { scales: &q.scales, zero_points: &q.zero_points, axis: q.axis });
    Tensor { name: &p.name, dtype: p.dtype.name(), dims: &p.dims, bytes: p.bytes, quant }
}

/// The text of `NAME.json`.
///
/// # Errors
/// None in practice: everything in it can be written as JSON.
pub fn manifest(model: &Model) -> Result<String, CodegenError> {
    let i = &model.interface;
    let levels = model.variants.iter().map(|v| Level {
        cpu: v.cpu.to_string(),
        workspace_bytes: v.plan.workspace,
        workspace_lower_bound: v.plan.lower_bound,
        weights_bytes: v.weights.len(),
        flops: v.schedule.steps.iter().map(|s| s.flops).sum(),
        kernels: v
            .schedule
            .kernels
            .iter()
            .map(|(_, k)| Kernel {
                name: &k.name,
                code_bytes: match &k.code {
                    KernelCode::Machine(c) => Some(c.code.len()),
                    _ => None,
                },
            })
            .collect(),
        steps: v
            .schedule
            .steps
            .iter()
            .map(|s| Step { name: &s.name, kernel: &v.schedule.kernels[s.kernel].name, units: s.units, flops: s.flops })
            .collect(),
    });
    let all = Manifest {
        name: &i.name,
        abi_version: crate::ABI_VERSION,
        compiler: concat!("mnnc ", env!("CARGO_PKG_VERSION")),
        source_hash: &i.source_hash,
        target: model.target.triple_name(),
        workspace_bytes: model.workspace(),
        weights_bytes: model.weights(),
        inputs: i.inputs.iter().map(tensor).collect(),
        outputs: i.outputs.iter().map(tensor).collect(),
        levels: levels.collect(),
    };
    let text = serde_json::to_string_pretty(&all);
    text.map(|t| t + "\n").map_err(|e| CodegenError::Internal(format!("manifest: {e}")))
}
