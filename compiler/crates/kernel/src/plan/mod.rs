//! The memory plan: an offset in the workspace for every temporary buffer.
//!
//! Buffers whose lifetimes overlap must not share bytes. Finding the smallest workspace is NP-hard (it is two-dimensional
//! packing with one coordinate fixed); best fit in a good order comes within a few percent of the bound on real
//! networks, so several orders are tried and the best result is kept (see Pisarchyk and Lee, "Efficient Memory Management
//! for Deep Neural Net Inference", 2020, for a comparison of such orders).
//! What comes out is checked by [`check`], which knows nothing of how it was found.

pub mod check;
mod fit;
mod lifetime;

use crate::schedule::{BufferId, BufferKind, Schedule};
use lifetime::Lifetime;
use mnnc_ir::entity::SecondaryMap;

/// Alignment of the workspace and of every buffer in it.
pub const ALIGN: usize = 64;

/// Who provides the memory that an address lies in.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Base {
    /// Input `.0` of the model.
    Input(usize),
    /// Output `.0` of the model.
    Output(usize),
    /// The caller's workspace.
    Workspace,
    /// The packed weights.
    Weights,
}

/// A place in memory: constant but for the base.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    /// The base.
    pub base: Base,
    /// Bytes from there.
    pub offset: usize,
}

/// Where every buffer lies.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Offset in the workspace, for buffers of kind [`BufferKind::Temp`].
    pub offsets: SecondaryMap<BufferId, usize>,
    /// Size of the workspace in bytes, a multiple of [`ALIGN`].
    pub workspace: usize,
    /// The most bytes that are live at once: no plan can need fewer.
    pub lower_bound: usize,
}

impl Plan {
    /// Plans the workspace of a schedule.
    pub fn new(schedule: &Schedule) -> Plan {
        let lives = lifetime::lifetimes(schedule);
        let lower_bound = lifetime::most_live(&lives);
        let placed = fit::best(&lives, lower_bound);
        let mut offsets = SecondaryMap::new();
        for (life, at) in lives.iter().zip(&placed.offsets) {
            offsets[life.buffer] = *at;
        }
        Plan { offsets, workspace: placed.size, lower_bound }
    }

    /// Address of byte `offset` of a buffer.
    pub fn address(&self, schedule: &Schedule, buffer: BufferId, offset: usize) -> Address {
        match schedule.buffers[buffer].kind {
            BufferKind::Input(i) => Address { base: Base::Input(i), offset },
            BufferKind::Output(i) => Address { base: Base::Output(i), offset },
            BufferKind::Temp => Address { base: Base::Workspace, offset: self.offsets[buffer] + offset },
            BufferKind::Within(parent, at) => self.address(schedule, parent, at + offset),
            BufferKind::Weights(at) => Address { base: Base::Weights, offset: at + offset },
        }
    }
}

#[cfg(test)]
mod tests;
