//! Dynamic quantisation: products with compressed weights in integers, activations quantised at run time.
//!
//! The evaluator computes the same integers, so layers are judged as those of any quantised graph; what the rounding of activations does to the
//! outputs is measured against the model as it was given, judged as a whole, and reported.

use mnnc_ir::Graph;

use crate::compiler::{Compiler, Memory};
use crate::verify::Verification;

impl Compiler {
    /// Whether products in integers are wanted, and every processor of the target multiplies bytes: elsewhere they are no faster than `f32`.
    pub(crate) fn multiplies_bytes(&self) -> bool {
        let multiplies = |cpu: &mnnc_codegen::Cpu| cpu.vector().is_some_and(|v| v.has_dot_u8s8());
        self.options.memory == Memory::Low && self.target().cpus.iter().all(multiplies)
    }

    /// Why `--memory low` changes nothing, where it does not.
    pub(crate) fn memory_note(&self, optimised: &Graph) -> Option<String> {
        let why = match (self.options.memory, self.multiplies_bytes()) {
            (Memory::Normal, _) => return None,
            (Memory::Low, false) => "a processor of the target does not multiply bytes",
            (Memory::Low, true) if !quantises(optimised) => {
                "no product has 8-bit weights with one scale for each output channel"
            }
            (Memory::Low, true) => return None,
        };
        Some(format!("--memory low: computed in f32, for {why}"))
    }
}

/// Whether activations are quantised at run time.
pub(crate) fn quantises(optimised: &Graph) -> bool {
    optimised.nodes().any(|(_, n)| n.op.name == "dynamic_quantize_rows")
}

/// The measured error, for people.
pub(crate) fn measured(found: &Verification) -> String {
    let worst = found.outputs.iter().map(|o| o.deviation).max_by(|a, b| a.rms.total_cmp(&b.rms)).unwrap_or_default();
    let largest = found.outputs.iter().map(|o| o.deviation.absolute).fold(0.0, f64::max);
    format!(
        "computed in int8, activations quantised at run time: outputs are off by at most {largest:.1e}, in the mean square by {:.2} % \
         ({:.0} dB)",
        100.0 * worst.rms,
        worst.decibels()
    )
}
