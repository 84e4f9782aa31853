//! Schedules and what they cost: which of the codes that compute a product is chosen for a machine.
//!
//! A [`Problem`] is a product; a [`Choice`] is a way to compute it: the implicit GEMM cut in some way ([`Direct`]), or transformed tiles
//! ([`Winograd`]). The [`Planner`] knows the machine, estimates the cycles of every candidate, and takes the cheapest, unless
//! choices were tuned on the machine itself.
//!
//! The model counts, for one core that runs alone: multiply-adds, loads and latency of each step of a register tile; what surrounds a
//! tile; weights that come from memory or the last-level cache once and, where units are many, again from wherever they stay; and
//! input and buffers that leave L1 or L2. What was measured to be best on most products ([`Planner::direct`]) is left only for a
//! gain of 3 %, which is what the model can tell apart.
//!
//! Against measurement (`mnnc tune --check`, a shared Sapphire Rapids core, resnet18 and resnet50 at 224 and 160 pixels and in a batch of 4): rank
//! correlation of expected and measured times 0.84 to 0.98, median error 12 to 27 %, too low where other programs use the same memory.

mod choice;
mod direct;
mod panels;
mod problem;
mod search;
mod stream;
mod tiling;
mod winograd;

pub use choice::{Choice, Direct, Winograd};
pub use panels::Class;
pub use problem::Problem;
pub use tiling::Tiling;

use crate::machine::{Core, Machine};
use mnnc_ir::NodeId;
use mnnc_vector::{Features, Target};
use std::collections::HashMap;

/// Largest error by rounding, estimated, that one convolution may have, in units of its largest result. Plain single precision
/// has some 1e-6; the contract of a whole network is 1e-4 and a thousandth of each result.
pub const ERROR_BUDGET: f64 = 1e-5;

/// Decides how products are computed.
#[derive(Clone, PartialEq, Debug)]
pub struct Planner {
    target: Target,
    machine: Machine,
    /// Bytes of weights that a run of the whole model reads.
    resident: usize,
    /// See [`ERROR_BUDGET`].
    error_budget: f64,
    tuned: HashMap<Problem, Choice>,
    /// Nodes that are computed in `f32`, whatever the target allows.
    exact: Vec<NodeId>,
    /// See [`Planner::with_expansion`].
    expands: bool,
}

/// How a node's product is computed.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Decision {
    /// The node.
    pub node: NodeId,
    /// What is computed.
    pub problem: Problem,
    /// How.
    pub choice: Choice,
    /// Cycles by the model.
    pub cycles: f64,
}

impl Planner {
    /// Bytes of L2.
    pub fn l2(&self) -> usize {
        self.machine.l2
    }

    /// For any core that has the target's instructions.
    pub fn new(target: Target) -> Planner {
        Planner::for_core(target, Core::any(target.isa))
    }

    /// For a kind of core.
    pub fn for_core(target: Target, core: Core) -> Planner {
        let machine = Machine::of(core, &target);
        Planner {
            target,
            machine,
            resident: usize::MAX,
            error_budget: ERROR_BUDGET,
            tuned: HashMap::new(),
            exact: Vec::new(),
            expands: false,
        }
    }

    /// Has these nodes computed in `f32`, whatever the target allows.
    pub fn with_exact(self, exact: Vec<NodeId>) -> Planner {
        Planner { exact, ..self }
    }

    /// Has compressed weights stored as numbers where that is faster.
    pub fn with_expansion(self, expands: bool) -> Planner {
        Planner { expands, ..self }
    }

    /// Whether compressed weights may be stored as numbers.
    pub fn may_expand(&self) -> bool {
        self.expands
    }

    /// What a node is compiled for.
    pub fn target_of(&self, node: NodeId) -> Target {
        let exact = self.exact.contains(&node);
        if exact { self.target.without(Features::BF16 | Features::AMX_BF16) } else { self.target }
    }

    /// For a model with so many bytes of weights: they come from the cache that holds them all, or from memory.
    pub fn with_weights(mut self, bytes: usize) -> Planner {
        self.resident = bytes;
        self
    }

    /// With choices that go before the model's. Those that do not [fit](Choice::fits) are dropped.
    pub fn with_tuned(mut self, tuned: &HashMap<Problem, Choice>) -> Planner {
        let fitting = tuned.iter().filter(|(p, choice)| choice.fits(p, &self.target));
        self.tuned = fitting.map(|(&p, &choice)| (p, choice)).collect();
        self
    }

    /// What is compiled for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The core that the code should be fast on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The panels of a product by the implicit GEMM, and for each the tiles and units.
    pub fn panels(&self, p: &Problem, d: &Direct) -> Vec<Class> {
        self.classes(p, d).into_iter().map(|c| panels::shared(c, p)).collect()
    }

    /// Panels of `blocks` vectors of output channels for AMX tiles.
    pub fn pairs(&self, blocks: usize) -> Vec<Class> {
        panels::pairs(blocks)
    }

    /// The usual cut of a product whose panels are `blocks` vectors wide.
    pub fn tiling(&self, p: &Problem, blocks: usize) -> Tiling {
        self.usual_of_width(p, blocks).tiling()
    }

    /// The best cut of such a product.
    pub fn best_tiling(&self, p: &Problem, blocks: usize) -> Tiling {
        self.direct_of_width(p, blocks).tiling()
    }
}

#[cfg(test)]
mod tests;
