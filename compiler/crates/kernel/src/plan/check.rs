//! An independent check of a plan, after the checker of regalloc2: walk the steps and track, symbolically, whose
//! bytes each range of memory holds. It shares no code with the planner and does not know lifetimes.

use super::{ALIGN, Plan};
use crate::schedule::{Access, BufferId, BufferKind, KernelCode, Operand, Schedule};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// What is wrong with a plan or schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanError {
    /// Name of the step; empty if none is to blame.
    pub step: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "step {}: {}", self.step, self.message)
        }
    }
}

impl std::error::Error for PlanError {}

/// A separate piece of memory.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Space {
    Input(usize),
    Output(usize),
    Workspace,
    Weights,
}

/// Whose bytes a piece of memory holds: disjoint ranges, each `start -> (end, owner)`.
#[derive(Default)]
struct Owners(BTreeMap<usize, (usize, BufferId)>);

impl Owners {
    fn set(&mut self, r: Range<usize>, owner: BufferId) {
        let first = self.0.range(..=r.start).next_back().map_or(r.start, |(&s, _)| s);
        let hit: Vec<usize> = self.0.range(first..r.end).map(|(&s, _)| s).collect();
        for s in hit {
            let Some((e, o)) = self.0.remove(&s) else { continue };
            if s < r.start {
                self.0.insert(s, (e.min(r.start), o));
            }
            if e > r.end {
                self.0.insert(r.end, (e, o));
            }
        }
        self.0.insert(r.start, (r.end, owner));
    }

    /// The first byte of the range that does not hold `owner`'s, and whose it holds.
    fn mismatch(&self, r: Range<usize>, owner: BufferId) -> Option<(usize, Option<BufferId>)> {
        let mut at = r.start;
        while at < r.end {
            match self.0.range(..=at).next_back() {
                Some((_, &(e, o))) if e > at => {
                    if o != owner {
                        return Some((at, Some(o)));
                    }
                    at = e;
                }
                _ => return Some((at, None)),
            }
        }
        None
    }
}

/// Checks that no step reads a byte that was never written or that another buffer has overwritten, that operands stay
/// within their buffers and buffers within the workspace, that all are aligned, and that every output is written.
///
/// # Errors
/// Everything that is wrong.
pub fn check(schedule: &Schedule, plan: &Plan) -> Result<(), Vec<PlanError>> {
    let mut c = Checker { schedule, plan, memory: BTreeMap::new(), errors: Vec::new(), step: String::new() };
    c.buffers();
    // Addresses of broken buffers mean nothing.
    if c.errors.is_empty() {
        c.steps();
        c.outputs();
    }
    if c.errors.is_empty() { Ok(()) } else { Err(c.errors) }
}

struct Checker<'a> {
    schedule: &'a Schedule,
    plan: &'a Plan,
    memory: BTreeMap<Space, Owners>,
    errors: Vec<PlanError>,
    step: String,
}

impl Checker<'_> {
    fn error(&mut self, message: String) {
        self.errors.push(PlanError { step: self.step.clone(), message });
    }

    fn buffers(&mut self) {
        let weights = self.schedule.weights.len();
        for (id, b) in self.schedule.buffers.iter() {
            let fits = |start: usize, size: usize| start.checked_add(b.bytes).is_some_and(|end| end <= size);
            match b.kind {
                BufferKind::Temp => {
                    let at = self.plan.offsets[id];
                    if !at.is_multiple_of(ALIGN) {
                        self.error(format!("buffer {id} ({}) at {at} is not aligned to {ALIGN}", b.name));
                    }
                    if !fits(at, self.plan.workspace) && self.is_used(id) {
                        let (n, w) = (b.bytes, self.plan.workspace);
                        self.error(format!(
                            "buffer {id} ({}), {n} bytes at {at}, exceeds the workspace of {w}",
                            b.name
                        ));
                    }
                }
                BufferKind::Weights(at) if at % ALIGN != 0 || !fits(at, weights) => {
                    self.error(format!("weights {id} ({}) at {at} are misaligned or exceed the arena", b.name));
                }
                BufferKind::Within(parent, at) if (parent >= id || !fits(at, self.schedule.buffers[parent].bytes)) => {
                    self.error(format!("buffer {id} ({}) does not lie within {parent}", b.name));
                }
                _ => {}
            }
        }
    }

    fn is_used(&self, b: BufferId) -> bool {
        let mut operands = self.schedule.steps.iter().flat_map(|s| &s.operands);
        operands.any(|o| self.root(o.buffer).0 == b)
    }

    /// The buffer that a part lies in at last, and where.
    fn root(&self, mut b: BufferId) -> (BufferId, usize) {
        let mut at = 0;
        while let BufferKind::Within(parent, offset) = self.schedule.buffers[b].kind {
            at += offset;
            b = parent;
        }
        (b, at)
    }

    /// The memory of an operand: who owns it, in which space, which bytes. `None`, with an error, if it leaves its buffer.
    fn locate(&mut self, o: &Operand) -> Option<(BufferId, Space, Range<usize>)> {
        let buffer = &self.schedule.buffers[o.buffer];
        if o.offset.checked_add(o.bytes).is_none_or(|end| end > buffer.bytes) {
            let (name, size) = (buffer.name.clone(), buffer.bytes);
            self.error(format!("{} bytes at {} exceed {} ({name}) of {size} bytes", o.bytes, o.offset, o.buffer));
            return None;
        }
        let (root, at) = self.root(o.buffer);
        let at = at + o.offset;
        let (space, start) = match self.schedule.buffers[root].kind {
            BufferKind::Input(i) => (Space::Input(i), at),
            BufferKind::Output(i) => (Space::Output(i), at),
            BufferKind::Weights(w) => (Space::Weights, w + at),
            BufferKind::Temp | BufferKind::Within(..) => (Space::Workspace, self.plan.offsets[root] + at),
        };
        Some((root, space, start..start + o.bytes))
    }

    fn steps(&mut self) {
        for step in &self.schedule.steps {
            self.step.clone_from(&step.name);
            if step.units == 0 {
                self.error("has no units".to_owned());
            }
            if let Some(KernelCode::Program(p)) = self.schedule.kernels.get(step.kernel).map(|k| &k.code) {
                let bytes: Vec<usize> = step.operands.iter().map(|o| o.bytes).collect();
                if let Err(e) = p.check(&bytes, step.units) {
                    self.error(e);
                }
            }
            let located: Vec<_> = step.operands.iter().map(|o| (o.access, self.locate(o))).collect();
            let located: Vec<_> = located.into_iter().filter_map(|(a, l)| l.map(|l| (a, l))).collect();
            for (access, (root, space, range)) in &located {
                if *access != Access::Write {
                    self.read(*root, *space, range.clone());
                }
            }
            // The units of a step run at the same time: what one operand writes, no other buffer may share.
            for (i, (access, (root, space, range))) in located.iter().enumerate() {
                if *access == Access::Read {
                    continue;
                }
                if matches!(space, Space::Input(_) | Space::Weights) {
                    self.error(format!("writes to {root}, which is read-only"));
                }
                for (j, (_, (other, s, r))) in located.iter().enumerate() {
                    if i != j && other != root && s == space && r.start < range.end && range.start < r.end {
                        self.error(format!("writes to {root} where {other} lies"));
                    }
                }
            }
            for (access, (root, space, range)) in located {
                if access != Access::Read && !range.is_empty() {
                    self.memory.entry(space).or_default().set(range, root);
                }
            }
        }
        self.step.clear();
    }

    fn read(&mut self, root: BufferId, space: Space, range: Range<usize>) {
        if matches!(space, Space::Input(_) | Space::Weights) {
            return;
        }
        let name = |b: BufferId| format!("{b} ({})", self.schedule.buffers[b].name);
        let found = self.memory.entry(space).or_default().mismatch(range, root);
        match found {
            Some((at, Some(other))) => {
                let message = format!("reads {} at {at}, overwritten by {}", name(root), name(other));
                self.error(message);
            }
            Some((at, None)) => {
                let message = format!("reads {} at {at}, which was never written", name(root));
                self.error(message);
            }
            None => {}
        }
    }

    fn outputs(&mut self) {
        for (i, &b) in self.schedule.outputs.iter().enumerate() {
            let bytes = self.schedule.buffers[b].bytes;
            let owners = self.memory.entry(Space::Output(i)).or_default();
            if let Some((at, _)) = owners.mismatch(0..bytes, b) {
                self.error(format!("output {i} ({}) is not written at {at}", self.schedule.buffers[b].name));
            }
        }
    }
}
