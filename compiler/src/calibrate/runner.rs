//! Runs a graph on all samples and shows chosen values to observers, without ever holding more than a sample a thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use mnnc_codegen::Jit;
use mnnc_ir::{Def, Graph, Tensor, ValueId};
use mnnc_kernel::weights::AlignedBytes;
use rayon::prelude::*;

use super::samples::Samples;
use crate::compiler::{Compiler, Model};
use crate::error::Result;
use crate::native::diagnostics;
use crate::weights;

/// Values of one run that are held at the same time, in bytes; what exceeds it is watched in further runs.
const MAX_WATCHED: usize = 192 << 20;

/// Is told how many of how many samples are done; called from any thread.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Native code that yields chosen values of a graph.
pub struct Runner {
    /// One program for each group of values that fit into memory together.
    groups: Vec<Group>,
    watched: usize,
}

struct Group {
    jit: Jit,
    /// For each watched value of the group: its number among all watched values, and where it comes from.
    shown: Vec<(usize, Origin)>,
}

/// Where a watched value is found after a run.
#[derive(Copy, Clone)]
enum Origin {
    Input(usize),
    Output(usize),
}

impl Compiler {
    /// Compiles `graph` for this machine so that it shows `values`. The graph is a clean one or a simulation of a quantised one; `model` lends its
    /// name.
    ///
    /// # Errors
    /// A node cannot be compiled.
    pub fn watch(&self, model: &Model, graph: &Graph, values: &[ValueId]) -> Result<Runner> {
        let mut groups = Vec::new();
        let mut group: Vec<usize> = Vec::new();
        let mut bytes = 0;
        for (i, &v) in values.iter().enumerate() {
            let size = graph.ty(v).num_bytes().unwrap_or(0);
            if bytes + size > MAX_WATCHED && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += size;
            group.push(i);
        }
        groups.push(group);
        let groups = groups.into_iter().map(|g| self.group(model, graph, values, &g)).collect::<Result<_>>()?;
        Ok(Runner { groups, watched: values.len() })
    }

    fn group(&self, model: &Model, graph: &Graph, values: &[ValueId], group: &[usize]) -> Result<Group> {
        let mut watching = graph.clone();
        let mut results: Vec<ValueId> = Vec::new();
        let mut shown = Vec::new();
        for &i in group {
            let v = values[i];
            let origin = match graph.value(v).def {
                Def::Input(n) => Origin::Input(n),
                _ => Origin::Output(results.iter().position(|&r| r == v).unwrap_or_else(|| {
                    results.push(v);
                    results.len() - 1
                })),
            };
            shown.push((i, origin));
        }
        if results.is_empty() {
            results.push(graph.outputs()[0]);
        }
        watching.set_results(watching.main(), results);
        let lowered = self.lower(&model.with_graph(watching))?;
        Ok(Group { jit: Jit::new(lowered).map_err(|e| diagnostics(e, ""))?, shown })
    }
}

impl Runner {
    /// Number of values that are watched.
    pub fn watched(&self) -> usize {
        self.watched
    }

    /// Shows every watched value of every sample to `see(sample, value, tensor)`, for each value in order of the samples: on one thread.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn each(&self, samples: &dyn weights::Samples, see: &mut dyn FnMut(usize, usize, &Tensor)) -> Result<()> {
        for group in &self.groups {
            let mut workspace = group.jit.workspace();
            for i in 0..samples.len() {
                group.run(&mut workspace, &samples.get(i)?, |value, tensor| see(i, value, tensor))?;
            }
        }
        Ok(())
    }

    /// Shows every watched value of every sample to `see(accumulator, sample, value, tensor)`. Samples are spread over threads; each thread adds to
    /// accumulators of its own, which `merge` joins in an order that is not settled: use sums of integers, or [`map`](Self::map).
    ///
    /// # Errors
    /// A sample cannot be read, or a run fails.
    pub fn fold<A: Send>(
        &self,
        samples: &Samples,
        progress: Progress<'_>,
        init: impl Fn() -> A + Sync + Send,
        see: impl Fn(&mut A, usize, usize, &Tensor) + Sync + Send,
        merge: impl Fn(A, A) -> A + Sync + Send,
    ) -> Result<A> {
        let done = AtomicUsize::new(0);
        let total = samples.len() * self.groups.len();
        let mut all = init();
        for group in &self.groups {
            let of_group = split(samples.len())
                .into_par_iter()
                .map(|range| -> Result<A> {
                    let mut workspace = group.jit.workspace();
                    let mut sum = init();
                    for i in range {
                        group.run(&mut workspace, &samples.get(i)?, |value, tensor| see(&mut sum, i, value, tensor))?;
                        progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                    }
                    Ok(sum)
                })
                .try_reduce_with(|a: A, b: A| Ok(merge(a, b)));
            if let Some(of_group) = of_group {
                all = merge(all, of_group?);
            }
        }
        Ok(all)
    }

    /// What `see(sample, value, tensor)` gives for every watched value of every sample: a list of samples for each value, in order whatever the
    /// threads do.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn map<R: Send>(
        &self,
        samples: &Samples,
        progress: Progress<'_>,
        see: impl Fn(usize, usize, &Tensor) -> R + Sync + Send,
    ) -> Result<Vec<Vec<R>>> {
        let collect = |list: &mut Vec<(usize, usize, R)>, sample: usize, value: usize, tensor: &Tensor| {
            list.push((value, sample, see(sample, value, tensor)));
        };
        let merge = |mut a: Vec<_>, mut b: Vec<_>| {
            a.append(&mut b);
            a
        };
        let mut found = self.fold(samples, progress, Vec::new, collect, merge)?;
        found.sort_by_key(|&(value, sample, _)| (value, sample));
        let mut by_value: Vec<Vec<R>> = (0..self.watched).map(|_| Vec::with_capacity(samples.len())).collect();
        for (value, _, seen) in found {
            by_value[value].push(seen);
        }
        Ok(by_value)
    }

    /// As [`map`](Self::map), with what `other`, which watches as many values, shows for the same samples: `see(value, own, others)`.
    ///
    /// # Errors
    /// As [`fold`](Self::fold).
    pub fn map_beside<R: Send>(
        &self,
        other: &Runner,
        samples: &Samples,
        progress: Progress<'_>,
        see: impl Fn(usize, &Tensor, &Tensor) -> R + Sync + Send,
    ) -> Result<Vec<Vec<R>>> {
        let done = AtomicUsize::new(0);
        let mut by_value: Vec<Vec<R>> = (0..self.watched).map(|_| Vec::with_capacity(samples.len())).collect();
        // Both were made for values of the same sizes, so they are grouped alike.
        for (mine, theirs) in self.groups.iter().zip(&other.groups) {
            let runs = split(samples.len()).into_par_iter().map(|range| -> Result<Vec<(usize, R)>> {
                let (mut a, mut b) = (mine.jit.workspace(), theirs.jit.workspace());
                let mut seen = Vec::new();
                for i in range {
                    let inputs = samples.get(i)?;
                    let mut own = Vec::new();
                    mine.run(&mut a, &inputs, |value, tensor| own.push((value, tensor.clone())))?;
                    let mut own = own.into_iter();
                    theirs.run(&mut b, &inputs, |_, tensor| {
                        if let Some((value, own)) = own.next() {
                            seen.push((value, see(value, &own, tensor)));
                        }
                    })?;
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, samples.len() * self.groups.len());
                }
                Ok(seen)
            });
            for (value, seen) in runs.collect::<Result<Vec<_>>>()?.into_iter().flatten() {
                by_value[value].push(seen);
            }
        }
        Ok(by_value)
    }
}

/// Samples in as many runs as there are threads to take them.
fn split(samples: usize) -> Vec<std::ops::Range<usize>> {
    let parts = rayon::current_num_threads().clamp(1, samples.max(1));
    (0..parts).map(|p| p * samples / parts..(p + 1) * samples / parts).collect()
}

impl Group {
    fn run(&self, workspace: &mut AlignedBytes, inputs: &[Tensor], mut show: impl FnMut(usize, &Tensor)) -> Result<()> {
        let outputs = self.jit.run_in(workspace, inputs).map_err(|e| diagnostics(e, ""))?;
        for &(value, origin) in &self.shown {
            let tensor = match origin {
                Origin::Input(i) => &inputs[i],
                Origin::Output(i) => &outputs[i],
            };
            show(value, tensor);
        }
        Ok(())
    }
}
