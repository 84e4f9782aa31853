//! Schedules and what they cost: which of the codes that compute a product is chosen for a machine.

mod direct;
mod panels;
mod problem;
mod tiling;

pub use panels::Class;
pub use problem::Problem;
pub use tiling::Tiling;

use crate::machine::{Core, Machine};
use mnnc_vector::Target;

/// Decides how products are computed.
#[derive(Clone, PartialEq, Debug)]
pub struct Planner {
    target: Target,
    machine: Machine,
}

impl Planner {
    /// For any core that has the target's instructions.
    pub fn new(target: Target) -> Planner {
        Planner::for_core(target, Core::any(target.isa))
    }

    /// For a kind of core.
    pub fn for_core(target: Target, core: Core) -> Planner {
        Planner { target, machine: Machine::of(core, &target) }
    }

    /// What is compiled for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The core that the code should be fast on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How a product is cut: panels of output channels, and for each the tiles and units.
    pub fn direct(&self, p: &Problem) -> Vec<Class> {
        panels::panels(&self.target, p)
    }

    /// The cut of a product whose panels are `blocks` vectors wide.
    pub fn tiling(&self, p: &Problem, blocks: usize) -> Tiling {
        direct::tiling(&self.target, p, blocks)
    }
}
