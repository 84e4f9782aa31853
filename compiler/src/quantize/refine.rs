//! The range of each activation by what it does to the network's results.
//!
//! The error of a tensor says little about what it costs: outliers of one layer are cut off by the next activation anyway, those of another decide the
//! result. So the ranges of several methods are tried, each tensor alone, and the one that disturbs the results least is kept.

use mnnc_ir::{Graph, Tensor};
use mnnc_quant::calibrate::{Chosen, Method, Spec, simulate};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Plan, Recipe};
use crate::calibrate::{Progress, Samples};
use crate::compiler::{Compiler, Model};
use crate::engine::Engine;
use crate::error::Result;

/// Methods that compete.
const METHODS: [Method; 5] =
    [Method::Power(2.0), Method::Power(3.0), Method::Power(4.0), Method::Percentile(0.9999), Method::MinMax];
/// Ranges whose ends differ by less than this share are one.
const ALIKE: f64 = 0.02;

impl Compiler {
    /// Replaces the parameters of `plan` by the best of several methods.
    pub(super) fn refine(
        &self,
        model: &Model,
        float: &Graph,
        recipe: &Recipe,
        plan: &mut Plan,
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<()> {
        let inputs = (0..samples.len()).map(|i| samples.get(i)).collect::<Result<Vec<_>>>()?;
        let reference = self.results(model, float, &inputs)?;
        let done = AtomicUsize::new(0);
        let total = plan.groups.len();
        let best = |i: usize| -> Result<Option<(Method, Chosen)>> {
            let mut tried: Vec<(Method, Chosen, f64)> = Vec::new();
            for method in METHODS {
                let chosen = plan.observed[i].choose(&Spec { method, ..recipe.activations });
                let alike = |(_, c, _): &(Method, Chosen, f64)| {
                    let ((a, b), (c, d)) = (c.params.range(), chosen.params.range());
                    (a - c).abs() + (b - d).abs() <= ALIKE * (b - a)
                };
                // What has no range has nothing to choose from.
                if chosen.note.is_some() || tried.iter().any(alike) {
                    continue;
                }
                let mut rounded = float.clone();
                let params: Vec<_> = plan.groups[i].values.iter().map(|&v| (v, chosen.params)).collect();
                simulate(&mut rounded, &params)?;
                let noise = noise(&reference, &self.results(model, &rounded, &inputs)?);
                tried.push((method, chosen, noise));
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            Ok(tried.into_iter().min_by(|a, b| a.2.total_cmp(&b.2)).map(|(m, c, _)| (m, c)))
        };
        let found = (0..total).into_par_iter().map(best).collect::<Result<Vec<_>>>()?;
        for (i, found) in found.into_iter().enumerate() {
            if let Some((method, chosen)) = found {
                (plan.methods[i], plan.chosen[i]) = (method.name(), chosen);
            }
        }
        Ok(())
    }

    /// The graph's results for each of the samples.
    fn results(&self, model: &Model, graph: &Graph, inputs: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>> {
        let mut engine = Engine::jit(self.jit(&model.with_graph(graph.clone()))?);
        inputs.iter().map(|i| engine.run(i)).collect()
    }
}

/// Noise over signal, the sum over all results.
fn noise(want: &[Vec<Tensor>], got: &[Vec<Tensor>]) -> f64 {
    let mut sum = 0.0;
    let outputs = want.first().map_or(0, Vec::len);
    for o in 0..outputs {
        let (mut signal, mut noise) = (0.0, 0.0);
        for (want, got) in want.iter().zip(got) {
            // Indices and other integers have no noise to speak of.
            if want[o].dtype() != mnnc_ir::DType::F32 {
                continue;
            }
            for (&a, &b) in want[o].view::<f32>().iter().zip(got[o].view::<f32>().iter()) {
                signal += f64::from(a) * f64::from(a);
                noise += f64::from(a - b) * f64::from(a - b);
            }
        }
        if signal > 0.0 {
            sum += noise / signal;
        }
    }
    if sum.is_nan() { f64::INFINITY } else { sum }
}
