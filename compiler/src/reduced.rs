//! Reduced precision: what is allowed of it, and which layers are left out of it.
//!
//! bf16 keeps 8 bits: a layer whose operands and result are rounded to it is off by some 0.3 % in the mean square. Errors of layers
//! add up like noise, so they are judged as a whole and not element by element ([`Deviation::rms`](crate::compare::Deviation::rms)).

use mnnc_ir::{Graph, NodeId};
use mnnc_vector::Features;
use std::collections::HashMap;

use crate::compiler::{Compiler, Precision};
use crate::verify::{Layer, Verification};

/// What a layer may add to the error of its inputs, as a share of its result: ten times what rounding does to a well-behaved one.
const LAYER: f64 = 0.03;
/// How far a network's output may be off as a share of it (20 dB); beyond, all of it is computed in `f32`.
pub(crate) const OUTPUT: f64 = 0.1;

impl Compiler {
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
    for &n in graph.schedule() {
        let node = graph.node(n);
        let before = node.inputs().iter().flatten().filter_map(|v| error.get(v).copied()).fold(0.0, f64::max);
        for (&y, layer) in node.outputs().iter().zip(&mut layers) {
            let after = layer.deviation.rms;
            error.insert(y, after);
            // NaN and infinity count, too.
            if !(after <= before + LAYER) && before.is_finite() && !found.contains(&n) {
                found.push(n);
            }
        }
    }
    found
}

/// The measured error, for people.
pub(crate) fn measured(found: &Verification) -> String {
    let worst = found.outputs.iter().map(|o| o.deviation).max_by(|a, b| a.rms.total_cmp(&b.rms)).unwrap_or_default();
    let largest = found.outputs.iter().map(|o| o.deviation.absolute).fold(0.0, f64::max);
    format!(
        "computed in bf16: outputs are off by at most {largest:.1e}, in the mean square by {:.2} % ({:.0} dB)",
        100.0 * worst.rms,
        worst.decibels()
    )
}
