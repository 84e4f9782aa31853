//! Reduced precision: what is allowed of it, and which layers are left out of it.
//!
//! bf16 keeps 8 bits: a layer whose operands and result are rounded to it is off by some 0.3 % in the mean square. Errors of layers
//! add up like noise, so they are judged as a whole and not element by element ([`Deviation::rms`](crate::compare::Deviation::rms)).

use half::bf16;
use mnnc_ir::{DType, Def, Graph, NodeId, Tensor, ValueId};
use mnnc_vector::Features;
use std::collections::HashMap;

use crate::compiler::{CompileOptions, Compiler, Model, Precision};
use crate::error::Result;
use crate::verify::{Layer, Verification, is_watched};

/// What a layer may add to the error of its inputs, as a share of its result: ten times what rounding does to a well-behaved one.
const LAYER: f64 = 0.03;
/// How far a network's output may be off as a share of it (20 dB); beyond, all of it is computed in `f32`.
pub(crate) const OUTPUT: f64 = 0.1;

/// What a layer or output may be off more than the rounding of inputs and weights alone makes it: results in between are rounded,
/// too, which adds about as much.
const BEYOND_FLOOR: f64 = 2.0;

/// How far a result may be off as a share of it, when rounding alone moves it by `floor`.
pub(crate) fn bound(floor: f64) -> f64 {
    if floor.is_finite() { OUTPUT.max(BEYOND_FLOOR * floor) } else { OUTPUT }
}

impl Compiler {
    /// What `f32` code computes for every result of the main region when inputs and weights are rounded to bf16.
    pub(crate) fn rounded_layers(
        &self,
        model: &Model,
        optimised: &Graph,
        inputs: &[Tensor],
    ) -> Result<Vec<(ValueId, Tensor)>> {
        let mut graph = optimised.clone();
        let is_weight = |g: &Graph, v: ValueId| matches!(g.value(v).def, Def::Const(_)) && g.ty(v).rank() >= 2;
        let weights: Vec<ValueId> = graph.values().map(|(v, _)| v).filter(|&v| is_weight(&graph, v)).collect();
        for v in weights {
            let Some(tensor) = graph.constant(v).filter(|t| t.dtype() == DType::F32).map(rounded) else { continue };
            let name = graph.value(v).name.clone();
            let new = graph.add_const(&name, tensor);
            graph.replace_uses(v, new);
        }
        let inputs: Vec<Tensor> = inputs.iter().map(rounded).collect();
        let options = CompileOptions { precision: Precision::High, ..self.options.clone() };
        Compiler::new(options).native_layers(model, &graph, &inputs)
    }

    /// Whether any code of the target computes in bf16.
    pub(crate) fn reduces(&self) -> bool {
        self.options.precision == Precision::Low
            && self.target().cpus.iter().any(|cpu| cpu.features.contains(Features::BF16))
    }

    /// Why `--precision low` changes nothing, where it does not.
    pub(crate) fn reduction_note(&self) -> Option<String> {
        (self.options.precision == Precision::Low && !self.reduces()).then(|| {
            "computed in f32: the processor does not multiply bf16, and 16-bit floats that are converted at every use would save \
             memory but no time"
                .into()
        })
    }
}

/// Nodes that add more than [`LAYER`] to the error of their inputs. `layers` are the results of all nodes in order.
pub(crate) fn inexact(graph: &Graph, layers: &[Layer]) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut error = HashMap::new();
    let mut layers = layers.iter();
    for &n in graph.schedule().iter().filter(|&&n| is_watched(graph, n)) {
        let node = graph.node(n);
        let before = node.inputs().iter().flatten().filter_map(|v| error.get(v).copied()).fold(0.0, f64::max);
        for (&y, layer) in node.outputs().iter().zip(&mut layers) {
            let after = layer.deviation.rms;
            error.insert(y, after);
            // NaN and infinity count, too.
            let allowed = (before + LAYER).max(BEYOND_FLOOR * layer.floor);
            if !(after <= allowed) && before.is_finite() && !found.contains(&n) {
                found.push(n);
            }
        }
    }
    found
}

/// The tensor, if of `f32`, with every element rounded to the nearest bf16.
fn rounded(t: &Tensor) -> Tensor {
    if t.dtype() != DType::F32 {
        return t.clone();
    }
    Tensor::new(t.dims(), t.view::<f32>().iter().map(|&x| bf16::from_f32(x).to_f32()).collect())
}

/// The measured error, for people.
pub(crate) fn measured(found: &Verification) -> String {
    let worst = found.outputs.iter().map(|o| o.deviation).max_by(|a, b| a.rms.total_cmp(&b.rms)).unwrap_or_default();
    let floor = found.outputs.iter().map(|o| o.floor).fold(0.0, f64::max);
    let largest = found.outputs.iter().map(|o| o.deviation.absolute).fold(0.0, f64::max);
    format!(
        "computed in bf16: outputs are off by at most {largest:.1e}, in the mean square by {:.2} % ({:.0} dB); rounding inputs and \
         weights alone moves them by {:.2} %",
        100.0 * worst.rms,
        worst.decibels(),
        100.0 * floor
    )
}
