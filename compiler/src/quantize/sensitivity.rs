//! Which layers lose most by being quantised.

use mnnc_ir::{Graph, NodeId, ValueId};
use mnnc_quant::calibrate::{QParams, simulate};

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
            let (mut rounded, _) = self.round_weights_of(float, recipe, &[n])?;
            simulate(&mut rounded, &own)?;
            let noise = self.measure(model, (float, &rounded), &float.outputs().to_vec(), samples, &|_, _| ())?;
            let worst = noise.iter().filter_map(|n| n.decibels()).fold(f64::INFINITY, f64::min);
            losses.push((worst, n));
            progress(i + 1, plan.anchors.len());
        }
        losses.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(losses.into_iter().take(recipe.float_fallback).map(|(_, n)| n).collect())
    }

    /// A float graph in which the weights of these anchors are rounded to nearest.
    fn round_weights_of(&self, float: &Graph, recipe: &Recipe, anchors: &[NodeId]) -> Result<(Graph, ())> {
        use mnnc_quant::weight::{Entry, Policy, compress, sites};
        let entry = |site: mnnc_quant::weight::Site| {
            anchors.contains(&site.node).then(|| Entry { name: site.name, shape: None, weights: recipe.scheme() })
        };
        let policy = Policy { ops: sites(float).into_iter().filter_map(entry).collect() };
        let mut graph = float.clone();
        compress(&mut graph, &policy)?;
        mnnc_quant::calibrate::expand_constants(&mut graph)?;
        Ok((graph, ()))
    }
}
