//! When each temporary buffer is in use.

use crate::schedule::{BufferId, BufferKind, Schedule};
use mnnc_ir::entity::{EntityId, SecondaryMap};

/// A temporary buffer from the first to the last step that touches it or a part of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Lifetime {
    pub buffer: BufferId,
    /// Size, rounded up to the alignment.
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    pub fn overlaps(&self, o: &Lifetime) -> bool {
        self.first <= o.last && o.first <= self.last
    }
}

/// Lifetimes of all temporaries that any step touches, in order of birth.
pub(super) fn lifetimes(schedule: &Schedule) -> Vec<Lifetime> {
    let mut at: SecondaryMap<BufferId, Option<usize>> = SecondaryMap::new();
    let mut lives: Vec<Lifetime> = Vec::new();
    for (i, step) in schedule.steps.iter().enumerate() {
        for operand in &step.operands {
            let (b, _) = schedule.outermost(operand.buffer);
            let buffer = &schedule.buffers[b];
            if buffer.kind != BufferKind::Temp {
                continue;
            }
            match at[b] {
                Some(k) => lives[k].last = i,
                None => {
                    at[b] = Some(lives.len());
                    let bytes = buffer.bytes.next_multiple_of(super::ALIGN);
                    lives.push(Lifetime { buffer: b, bytes, first: i, last: i });
                }
            }
        }
    }
    lives.sort_by_key(|l| (l.first, l.buffer.index()));
    lives
}

/// The most bytes live at one step.
pub(super) fn most_live(lives: &[Lifetime]) -> usize {
    let mut changes: Vec<(usize, isize)> = Vec::new();
    for l in lives {
        changes.push((l.first, l.bytes as isize));
        changes.push((l.last + 1, -(l.bytes as isize)));
    }
    // Deaths before births of the same step.
    changes.sort_unstable();
    let mut now = 0isize;
    let mut most = 0;
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most as usize
}
