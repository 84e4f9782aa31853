//! When a result is right: within the tolerance of ONNX Runtime's, or, where a network amplifies rounding, no further from
//! the model computed in double precision than ONNX Runtime's is.

use mnnc::compare::{Deviation, Tolerance, compare};
use mnnc_ir::{Graph, Tensor};
use mnnc_ops::{Evaluator, promote, promote_tensor};

/// Judges results of `graph` on `inputs` against ONNX Runtime's.
pub struct Judge<'a> {
    graph: &'a Graph,
    inputs: &'a [Tensor],
    authority: &'a [Tensor],
    exact: Option<Vec<Tensor>>,
}

impl<'a> Judge<'a> {
    /// `authority` is what ONNX Runtime gives; `graph` is the model as it was imported.
    pub fn new(graph: &'a Graph, inputs: &'a [Tensor], authority: &'a [Tensor]) -> Self {
        Judge { graph, inputs, authority, exact: None }
    }

    /// The largest excess over all outputs, in tolerances.
    ///
    /// # Errors
    /// What is wrong, with the place.
    pub fn check(&mut self, outputs: &[Tensor]) -> Result<f64, String> {
        if outputs.len() != self.authority.len() {
            return Err(format!("{} outputs, ONNX Runtime gives {}", outputs.len(), self.authority.len()));
        }
        let mut worst = 0.0f64;
        for (i, (got, want)) in outputs.iter().zip(self.authority).enumerate() {
            let off = compare(want, got, Tolerance::F32)?;
            worst = worst.max(off.excess);
            if off.is_within() {
                continue;
            }
            let exact = &self.exact()?[i];
            let (ours, theirs) = (distance(exact, got)?, distance(exact, want)?);
            if ours.excess.is_nan() || ours.excess > theirs.excess {
                return Err(format!(
                    "output {i}: element {} is {}, in ONNX Runtime {} ({:.1} tolerances); from double precision \
                     {:.2} tolerances, ONNX Runtime {:.2}",
                    off.index, off.got, off.want, off.excess, ours.excess, theirs.excess
                ));
            }
        }
        Ok(worst)
    }

    fn exact(&mut self) -> Result<&[Tensor], String> {
        if self.exact.is_none() {
            let graph = promote(self.graph).map_err(|e| e.to_string())?;
            let inputs: Vec<Tensor> = self.inputs.iter().map(promote_tensor).collect();
            self.exact = Some(Evaluator::new(&graph).run(&inputs).map_err(|e| e.to_string())?);
        }
        Ok(self.exact.as_deref().unwrap_or_default())
    }
}

fn distance(exact: &Tensor, got: &Tensor) -> Result<Deviation, String> {
    compare(exact, &promote_tensor(got), Tolerance::F32)
}

/// Whether an output says anything: not constant, not all zero, finite.
pub fn is_telling(t: &Tensor) -> bool {
    let values = t.to_f64s();
    values.iter().all(|v| v.is_finite()) && (values.len() == 1 || values.iter().any(|v| *v != values[0]))
}
