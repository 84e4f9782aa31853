//! Integers chosen in view of data: [`Calibrated`] knows what every layer reads on a calibration set.

mod moments;
mod patches;
mod simd;
mod solve;

use std::collections::HashMap;
use std::ops::Range;

use mnnc_ir::{Diagnostic, Diagnostics, Graph, NodeId, Tensor, ValueId};
use rayon::prelude::*;

pub use moments::Moments;
pub use patches::Patches;

use super::compress::Quantiser;
use super::methods::{self, Grid, Row};
use super::policy::{Method, Policy, Scheme};
use super::rows::{Quantised, Rows};
use super::site::Site;
use moments::{MOST_COLUMNS, parts};
use simd::LANES;
use solve::{Lanes, Problem};

/// Runs a graph on a set of samples and shows intermediate values.
pub trait Watch {
    /// How many samples there are.
    fn samples(&self) -> usize;
    /// Calls `see(sample, i, tensor)` with `values[i]` for every sample in order. The values are of `g`, whose inputs are those of the samples.
    ///
    /// # Errors
    /// The graph does not compile, or a sample cannot be read or run.
    fn watch(
        &mut self,
        g: &Graph,
        values: &[ValueId],
        see: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<(), Diagnostics>;
}

/// Patches of a layer that are looked at, over all samples, if it has as many.
const LEAST_PATCHES: usize = 4096;

/// How much effort calibration takes.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Patches of a layer that are looked at, over all samples, for each element of a patch; a few thousand at least.
    pub patches: usize,
    /// Bytes of moments and watched values that are held at a time; the samples run again for the layers that did not fit.
    pub memory: usize,
    /// What is added to the diagonal of moments, in units of its mean.
    pub damping: f64,
    /// Rounds of fitting scales to codes and choosing codes again.
    pub rounds: usize,
    /// Whether the mean error of a layer's result is taken out of its bias.
    pub bias: bool,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { patches: 8, memory: 384 << 20, damping: 0.01, rounds: 2, bias: true }
    }
}

/// Chooses integers so that layers' results change least on a set of samples.
pub struct Calibrated {
    moments: HashMap<NodeId, Moments>,
    effort: Effort,
}

impl Calibrated {
    /// Looks at what those layers of `g` read that `policy` makes integers by [`Method::Output`].
    ///
    /// # Errors
    /// A policy that is not for this graph, or as [`Watch::watch`].
    pub fn observe(
        g: &Graph,
        policy: &Policy,
        watch: &mut dyn Watch,
        effort: Effort,
    ) -> Result<Calibrated, Diagnostics> {
        let wanted =
            policy.resolve(g)?.into_iter().filter(|(_, scheme)| scheme.is_integer() && scheme.method == Method::Output);
        let mut wanted: Vec<(NodeId, Patches)> =
            wanted.filter_map(|(site, _)| Some((site.node, Patches::of(g, &site)?))).collect();
        // Values of bodies cannot be watched from outside.
        wanted.retain(|(_, p)| g.home(p.value) == Some(g.main()));
        let mut found = HashMap::new();
        while !wanted.is_empty() {
            let mut bytes = 0;
            let fits = |(_, p): &&(NodeId, Patches)| {
                let first = bytes == 0;
                bytes += Moments::bytes(p.groups, p.size) + g.ty(p.value).num_bytes().unwrap_or(0);
                first || bytes <= effort.memory
            };
            let now = wanted.iter().take_while(fits).count();
            let now: Vec<(NodeId, Patches)> = wanted.drain(..now).collect();
            let mut sums: Vec<Moments> = now.iter().map(|(_, p)| Moments::new(p.groups, p.size)).collect();
            let mut values: Vec<ValueId> = now.iter().map(|(_, p)| p.value).collect();
            values.sort();
            values.dedup();
            let readers: Vec<Vec<usize>> =
                values.iter().map(|v| (0..now.len()).filter(|&i| now[i].1.value == *v).collect()).collect();
            let samples = watch.samples().max(1);
            let most = |p: &Patches| (effort.patches * p.size.min(MOST_COLUMNS)).max(LEAST_PATCHES).div_ceil(samples);
            watch.watch(g, &values, &mut |sample, value, tensor| {
                for &i in &readers[value] {
                    let patches = &now[i].1;
                    sums[i].add(patches, tensor, most(patches), sample);
                }
            })?;
            found.extend(now.into_iter().zip(sums).map(|((node, _), sums)| (node, sums)));
        }
        Ok(Calibrated { moments: found, effort })
    }
}

impl Quantiser for Calibrated {
    fn quantise(&mut self, _: &Graph, site: &Site, rows: &Rows, scheme: &Scheme) -> Result<Quantised, Diagnostic> {
        let start = methods::by_rows(rows, scheme);
        let Some(moments) = self.moments.remove(&site.node).filter(|m| m.count > 0) else { return Ok(start) };
        let centred = self.effort.bias && site.takes_bias;
        let mut found = Search { moments: &moments, site, rows, scheme, effort: &self.effort, centred }.run(start);
        if centred {
            found.shift = Some(shift(&moments, site, rows, &found)).filter(|s| s.iter().all(|x| x.is_finite()));
        }
        Ok(found)
    }
}

/// What the errors of the weights take from each output channel in the mean.
fn shift(moments: &Moments, site: &Site, rows: &Rows, q: &Quantised) -> Vec<f32> {
    let values = q.values();
    let size = moments.size;
    let channels = site.outputs / moments.groups;
    let means: Vec<Vec<f64>> = (0..moments.groups).map(|g| moments.mean(g)).collect();
    let channel = |o: usize| {
        let at = o * size..(o + 1) * size;
        let errors = rows.values[at.clone()].iter().zip(&values[at]).map(|(&a, &b)| f64::from(a) - f64::from(b));
        errors.zip(&means[o / channels]).map(|(e, m)| e * m).sum::<f64>() as f32
    };
    (0..site.outputs).map(channel).collect()
}

struct Search<'a> {
    moments: &'a Moments,
    site: &'a Site,
    rows: &'a Rows,
    scheme: &'a Scheme,
    effort: &'a Effort,
    centred: bool,
}

impl Search<'_> {
    fn run(&self, start: Quantised) -> Quantised {
        let mut out = start;
        let channels = self.site.outputs / self.moments.groups;
        for group in 0..self.moments.groups {
            for (part, (from, columns)) in parts(self.moments.size).enumerate() {
                let matrix = self.moments.matrix(group, part, self.centred);
                let Some(problem) = Problem::new(&matrix, columns, self.effort.damping) else { continue };
                let first = group * channels;
                self.solve(&problem, first..first + channels, from, columns, &mut out);
            }
        }
        out
    }

    /// Chooses the codes of some output channels in some columns.
    fn solve(&self, problem: &Problem, channels: Range<usize>, from: usize, columns: usize, out: &mut Quantised) {
        let (size, length) = (self.moments.size, self.rows.length);
        // The rows of blocks that the columns of output channel `o` touch.
        let rows_of = |o: usize| (o * size + from) / length..(o * size + from + columns).div_ceil(length);
        // Scales of rows that reach beyond the columns stay as they are.
        let whole = from.is_multiple_of(length) && columns.is_multiple_of(length);
        let all: Vec<usize> = channels.collect();
        let chosen: Vec<(Vec<i8>, Vec<Row>)> = all
            .par_chunks(LANES)
            .flat_map_iter(|batch| {
                let weights: Vec<&[f32]> =
                    batch.iter().map(|o| &self.rows.values[o * size + from..][..columns]).collect();
                let row = |r: usize| Row { scale: out.scales[r], zero: out.zeros.as_ref().map_or(0, |z| z[r]) };
                let blocks: Vec<Vec<Row>> = batch.iter().map(|&o| rows_of(o).map(row).collect()).collect();
                let block_of = |column: usize| (from + column) / length - from / length;
                let mut lanes = Lanes::new(problem, Grid::of(self.scheme), &weights, &blocks, block_of);
                lanes.nearest_plane();
                lanes.descend();
                for _ in 0..if whole { self.effort.rounds } else { 0 } {
                    lanes.fit_scales();
                    lanes.descend();
                }
                (0..batch.len()).map(|lane| lanes.lane(lane)).collect::<Vec<_>>()
            })
            .collect();
        for (&o, (codes, rows)) in all.iter().zip(chosen) {
            out.codes[o * size + from..][..columns].copy_from_slice(&codes);
            for (r, row) in rows_of(o).zip(rows) {
                out.scales[r] = row.scale;
            }
        }
    }
}
