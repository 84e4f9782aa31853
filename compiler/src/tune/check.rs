//! How well the cost model knows this machine: what it expects of the products of a model, and what is measured.

use std::time::Duration;

use mnnc_kernel::cost::{Choice, Problem};

use crate::compiler::{Compiler, Model};
use crate::error::Result;
use crate::{inputs, roofline};

/// One product of a model.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is computed.
    pub problem: Problem,
    /// How.
    pub choice: Choice,
    /// Nodes that compute it.
    pub nodes: usize,
    /// Milliseconds for all of them: by the cost model, and measured at the fastest.
    pub ms: [f64; 2],
}

/// The cost model against the machine.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// Every product, in order of its measured time, longest first.
    pub rows: Vec<Row>,
}

impl Agreement {
    /// Spearman's rank correlation of expected and measured times; 1 if both order the products alike.
    pub fn correlation(&self) -> f64 {
        let n = self.rows.len();
        if n < 2 {
            return 1.0;
        }
        let [a, b] = [0, 1].map(|k| ranks(self.rows.iter().map(|r| r.ms[k])));
        let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
        let n = n as f64;
        1.0 - 6.0 * squares / (n * (n * n - 1.0))
    }

    /// The factor by which half of the products are off at most, either way, less one.
    pub fn median_error(&self) -> f64 {
        let mut errors: Vec<f64> = self.rows.iter().map(|r| (r.ms[0] / r.ms[1]).ln().abs()).collect();
        errors.sort_by(f64::total_cmp);
        errors.get(errors.len() / 2).map_or(0.0, |e| e.exp() - 1.0)
    }
}

/// Positions in ascending order.
fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, i) in order.into_iter().enumerate() {
        ranks[i] = rank as f64;
    }
    ranks
}

impl Compiler {
    /// Compares the cost model's times with those of the model's products on this machine, timed for about `time`.
    ///
    /// # Errors
    /// The model cannot be compiled, or not for this machine.
    pub fn check_costs(&self, model: &Model, time: Duration) -> Result<Agreement> {
        let cpu = self.tuned_cpu()?;
        let graph = self.optimise(model, mnnc_transform::Target::Native)?.graph;
        let version = self.time_version(model, &graph, None, &inputs::all(model.graph(), 0)?, time)?;
        let Some(planner) = cpu.planner() else { return Ok(Agreement::default()) };
        // The clock of the core, as far as its multiply-adds show it.
        let widest = mnnc_codegen::Cpu::host().planner().map_or(0.0, |p| p.machine().peak(p.target().lanes()));
        let cycles_per_ms =
            roofline::gflops(mnnc_codegen::Cpu::host().level) * 1e6 / widest.max(planner.machine().peak(1));
        let mut rows: Vec<Row> = version
            .products
            .iter()
            .map(|(&problem, t)| Row {
                problem,
                choice: t.choice,
                nodes: t.nodes,
                ms: [t.cycles / cycles_per_ms, t.ms],
            })
            .collect();
        rows.sort_by(|a, b| b.ms[1].total_cmp(&a.ms[1]));
        Ok(Agreement { rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_kernel::cost::Direct;

    #[test]
    fn agreement_is_judged_by_rank_and_by_factor() {
        let row = |ms| Row {
            problem: Problem::matrices(1, 1, 1, 1),
            choice: Choice::Direct(Direct { blocks: 1, tile: [1, 1], group_rows: 1, panels_outside: false }),
            nodes: 1,
            ms,
        };
        let same = Agreement { rows: vec![row([1.0, 2.0]), row([2.0, 4.0]), row([3.0, 6.0])] };
        assert_eq!(same.correlation(), 1.0);
        assert!((same.median_error() - 1.0).abs() < 1e-9);
        let reversed = Agreement { rows: vec![row([3.0, 1.0]), row([2.0, 2.0]), row([1.0, 3.0])] };
        assert_eq!(reversed.correlation(), -1.0);
    }
}
