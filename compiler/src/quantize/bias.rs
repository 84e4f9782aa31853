//! Bias correction: rounding shifts the mean of a layer's channels; the bias takes the shift back.
//!
//! Layers are corrected in order of execution, each in view of those before it, for the shift of one layer moves the next. Only the part of the network
//! before a layer runs for it.

use mnnc_ir::{Graph, NodeId, Tensor, ValueId};

use super::simulation;
use crate::calibrate::{Progress, Samples};
use crate::compiler::{Compiler, Model};
use crate::error::Result;
use mnnc_quant::calibrate::QParams;

impl Compiler {
    /// Changes the biases of `anchors` in `quantised` so that the means of their channels are those of `float`.
    pub(super) fn correct_biases(
        &self,
        model: &Model,
        float: &Graph,
        quantised: &mut Graph,
        params: &[(ValueId, QParams)],
        anchors: &[NodeId],
        samples: &Samples,
        progress: Progress<'_>,
    ) -> Result<()> {
        let anchors: Vec<NodeId> = anchors.iter().copied().filter(|&n| takes_bias(float, n)).collect();
        let outputs: Vec<ValueId> = anchors.iter().map(|&n| float.node(n).outputs()[0]).collect();
        let wanted = means(&self.watch(model, float, &outputs)?.map(samples, &|_, _| (), |_, _, t| sums(t))?);
        for (i, &n) in anchors.iter().enumerate() {
            let graph = simulation(quantised, params)?;
            let got = means(&self.watch(model, &graph, &outputs[i..=i])?.map(samples, &|_, _| (), |_, _, t| sums(t))?);
            let shift: Vec<f64> = wanted[i].iter().zip(&got[0]).map(|(w, g)| w - g).collect();
            if shift.iter().all(|s| s.is_finite()) {
                add_to_bias(quantised, n, &shift);
            }
            progress(i + 1, anchors.len());
        }
        Ok(())
    }
}

/// Whether a constant can be added to each output channel: by operand 2.
fn takes_bias(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    let facts = g.facts(n);
    let factor = |name: &str| facts.of(node).float(name).unwrap_or(1.0);
    let plain = node.op.name == "conv" || (node.op.name == "gemm" && factor("alpha") == 1.0 && factor("beta") == 1.0);
    let channels = channels(g.ty(node.outputs()[0]).static_dims().as_deref());
    plain
        && node.inputs().len() <= 3
        && channels.is_some_and(|c| node.input(2).is_none_or(|b| g.constant(b).is_some_and(|b| b.dims() == [c])))
}

fn channels(dims: Option<&[usize]>) -> Option<usize> {
    dims?.get(1).copied()
}

/// Sum of each channel over everything else, and how many elements that is.
fn sums(t: &Tensor) -> (Vec<f64>, usize) {
    let (dims, data) = (t.dims(), t.view::<f32>());
    let (channels, area) = (dims[1], dims[2..].iter().product::<usize>().max(1));
    let mut out = vec![0.0; channels];
    for (i, plane) in data.chunks(area).enumerate() {
        out[i % channels] += plane.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
    (out, data.len() / channels.max(1))
}

/// Means of each channel of each value, from the sums of samples.
fn means(by_value: &[Vec<(Vec<f64>, usize)>]) -> Vec<Vec<f64>> {
    let mean = |samples: &Vec<(Vec<f64>, usize)>| {
        let count: usize = samples.iter().map(|s| s.1).sum();
        let channels = samples.first().map_or(0, |s| s.0.len());
        (0..channels).map(|c| samples.iter().map(|s| s.0[c]).sum::<f64>() / count.max(1) as f64).collect()
    };
    by_value.iter().map(mean).collect()
}

fn add_to_bias(g: &mut Graph, n: NodeId, shift: &[f64]) {
    let old = g.node(n).input(2);
    let (name, values) = match old.and_then(|v| Some((g.value(v).name.clone(), g.constant(v)?.to_f64s()))) {
        Some(found) => found,
        None => (format!("{}.bias", g.node(n).name), vec![0.0; shift.len()]),
    };
    let sum = values.iter().zip(shift).map(|(b, s)| (b + s) as f32).collect();
    let new = g.add_const(&name, Tensor::new(vec![shift.len()], sum));
    g.set_input(n, 2, Some(new));
}
