//! What a float model's activations are like on a calibration set.

use std::collections::HashMap;

use mnnc_ir::{Graph, ValueId};
use mnnc_quant::calibrate::{Channels, Class, Extent, Group, Histogram, Observed};

use crate::calibrate::{Progress, Samples};
use crate::compiler::{Compiler, Model};
use crate::error::Result;

impl Compiler {
    /// What every group of values is like: a run for the extents, and one for the histograms.
    pub(super) fn observe_ranges(
        &self,
        model: &Model,
        graph: &Graph,
        groups: &[Group],
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<Vec<Observed>> {
        let values: Vec<ValueId> = groups.iter().flat_map(|g| g.values.iter().copied()).collect();
        let group_of: Vec<usize> =
            groups.iter().enumerate().flat_map(|(i, g)| g.values.iter().map(move |_| i)).collect();
        let runner = self.watch(model, graph, &values)?;
        let by_value = runner.map(samples, progress, |_, _, tensor| Extent::of(&tensor.view::<f32>()))?;
        let mut extents = vec![vec![Extent::EMPTY; samples.len()]; groups.len()];
        for (value, found) in by_value.into_iter().enumerate() {
            for (all, one) in extents[group_of[value]].iter_mut().zip(found) {
                *all = all.join(one);
            }
        }
        let empty = || -> Vec<Histogram> {
            let limit = |e: &Vec<Extent>| e.iter().fold(Extent::EMPTY, |a, &b| a.join(b)).magnitude();
            extents.iter().map(|e| Histogram::new(limit(e))).collect()
        };
        let histograms = runner.fold(
            samples,
            progress,
            empty,
            |all, _, value, tensor| all[group_of[value]].add(&tensor.view::<f32>()),
            |a, b| a.into_iter().zip(&b).map(|(a, b)| a.join(b)).collect(),
        )?;
        let pixels = |g: &Group| {
            let dims = graph.ty(g.values[0]).static_dims()?;
            (dims.len() == 4).then(|| dims[2] * dims[3])
        };
        let all = extents.into_iter().zip(histograms).zip(groups);
        Ok(all.map(|((extents, histogram), g)| Observed { extents, histogram, pixels: pixels(g) }).collect())
    }

    /// What the channels of every value of the classes are like.
    pub(super) fn observe_channels(
        &self,
        model: &Model,
        graph: &Graph,
        classes: &[Class],
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<HashMap<ValueId, Channels>> {
        let values: Vec<ValueId> = classes.iter().flat_map(|c| c.values.iter().copied()).collect();
        let runner = self.watch(model, graph, &values)?;
        let seen = runner.map(samples, progress, |_, _, tensor| Channels::of(tensor))?;
        Ok(values.into_iter().zip(seen).map(|(v, all)| (v, Channels::join(&all))).collect())
    }
}
