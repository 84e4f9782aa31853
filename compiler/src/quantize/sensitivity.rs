//! Which layers lose most by being quantised.

use mnnc_ir::{Graph, NodeId, ValueId};
use mnnc_quant::calibrate::{QParams, expand_constants, simulate};
use mnnc_quant::weight::compress;

use super::{Plan, Recipe};
use crate::calibrate::{Progress, Samples};
use crate::compiler::{Compiler, Model};
use crate::error::Result;

impl Compiler {
    /// The anchors whose operand, rounded alone, disturbs the network's results most; as many as the recipe leaves in float.
    pub(super) fn most_sensitive(
        &self,
        model: &Model,
        float: &Graph,
        recipe: &Recipe,
        plan: &Plan,
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<Vec<NodeId>> {
        let params = plan.params();
        let mut losses: Vec<(f64, NodeId)> = Vec::new();
        for (i, &n) in plan.anchors.iter().enumerate() {
            let operand = float.node(n).input(0);
            let own: Vec<(ValueId, QParams)> = params.iter().copied().filter(|(v, _)| Some(*v) == operand).collect();
            let mut rounded = rounded(float, recipe, n)?;
            simulate(&mut rounded, &own)?;
            let noise =
                self.measure(model, (float, float.outputs()), (&rounded, float.outputs()), samples, &|_, _| ())?;
            let worst = noise.iter().filter_map(|n| n.decibels()).fold(f64::INFINITY, f64::min);
            losses.push((worst, n));
            progress(i + 1, plan.anchors.len());
        }
        losses.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(losses.into_iter().take(recipe.float_fallback).map(|(_, n)| n).collect())
    }
}

/// A float graph in which the weights of an anchor are rounded to nearest.
fn rounded(float: &Graph, recipe: &Recipe, anchor: NodeId) -> Result<Graph> {
    let mut graph = float.clone();
    compress(&mut graph, &recipe.policy(float, &[anchor]))?;
    expand_constants(&mut graph)?;
    Ok(graph)
}
