//! Results written over an operand: the residual of an addition that nobody reads any more gives its memory to the sum.
//!
//! An epilogue reads a side operand at the very element that it then writes, so that the two may be one. That spares the workspace an image
//! where networks are widest, and memory the reading of lines only to overwrite them.
//!
//! A convolution reads rows around the one that it writes. Where it works through the image band by band, and has read all of a band before it
//! writes any of it, its result may still lie over the image, some rows further up or down: rows that later bands read are then left alone.

use super::forms::Form;
use super::{Job, Lowering, Placed, Role};
use crate::family::View;
use crate::lowering::Forms;
use crate::schedule::{Buffer, BufferId, BufferKind};
use mnnc_ir::{Graph, NodeId, OpError, ValueId};
use std::collections::HashMap;

/// For every value the position of the last job that reads it; a job counts where its steps are added.
pub(super) fn last_uses(graph: &Graph, jobs: &[Job], roles: &[Role]) -> HashMap<ValueId, usize> {
    let mut place: HashMap<NodeId, usize> = jobs.iter().enumerate().map(|(i, j)| (j.view.node, i)).collect();
    for role in roles {
        if let Role::Last(chain) = role {
            chain.nodes().for_each(|i| {
                place.insert(jobs[i].view.node, chain.last());
            });
        }
    }
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for job in jobs {
        let at = place[&job.view.node];
        for &x in graph.node(job.view.node).inputs().iter().flatten() {
            let entry = last.entry(x).or_insert(at);
            *entry = at.max(*entry);
        }
    }
    last
}

/// Which way the bands go.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// From the image's first row to its last.
    Down,
    /// From its last to its first.
    Up,
}

/// A result that lies over the image that its node reads.
pub(crate) struct Over {
    /// Its place, whose border is not filled yet.
    pub place: Placed,
    /// The order in which rows have to be written.
    pub direction: Direction,
}

impl Lowering<'_> {
    /// As [`output`](Self::output), for a result whose steps read each element of the side operands of `view` where they
    /// write that of the result: over one of them, if it is not needed any more. `others` are the values that the steps read elsewhere, too.
    ///
    /// # Errors
    /// If no form is possible, or a size overflows.
    pub(crate) fn output_in_place(
        &mut self,
        view: &View,
        can: Forms,
        others: &[Option<ValueId>],
    ) -> Result<Placed, OpError> {
        let y = view.outputs[0];
        match self.side_given_up(view, can, others) {
            Some(place) => {
                self.placed.entry(y).or_default().push(place.clone());
                Ok(place)
            }
            None => self.output(y, can),
        }
    }

    /// The place of the side operand that [`output_in_place`](Self::output_in_place) would write over.
    fn side_given_up(&self, view: &View, can: Forms, others: &[Option<ValueId>]) -> Option<Placed> {
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        sides.iter().filter(|s| !others.contains(&Some(**s))).find_map(|&s| self.given_up(s, view.outputs[0], can))
    }

    /// A place for the result of a node that reads the image `x` from `input`, over that image: it is of as many rows, columns and channel
    /// blocks, and of no use afterwards. The steps have to read and write by bands of rows that are written after they were read. `rows` are
    /// the rows before and after an output's row, of its own image, that it depends on. `None` if the two cannot share memory.
    ///
    /// The border is not filled, for it lies where the image still is read: that is left to [`fill_border`](Self::fill_border) at the end.
    ///
    /// # Errors
    /// If a size overflows.
    pub(crate) fn output_over(
        &mut self,
        view: &View,
        x: ValueId,
        input: &Placed,
        rows: [usize; 2],
    ) -> Result<Option<Over>, OpError> {
        let y = view.outputs[0];
        let Form::Blocked(wanted) = self.plan.form(y) else { return Ok(None) };
        let from = &input.storage;
        let (root, at) = self.root(input.buffer);
        let ends = self.last_use.get(&x) == Some(&self.position) && !self.graph.outputs().contains(&x);
        let own = self.schedule.buffers[root].kind == BufferKind::Temp && !self.is_shared(root, x);
        let is_side = view.epilogue.as_ref().is_some_and(|e| e.sides.contains(&x));
        // Over a side operand it writes lines that it has just read (measured: otherwise transforming back takes a fifth longer).
        let side = self.side_given_up(view, Forms::BLOCKED, &view.inputs).is_some();
        if !ends || !own || side || is_side || self.plan.home(y).is_some() || self.graph.outputs().contains(&y) {
            return Ok(None);
        }
        // Wherever the image's border is, the result's may be: it is at least as wide as its readers want.
        let storage = self.storage(y, Form::Blocked(from.halo))?;
        let alike = storage.strides == from.strides && storage.bytes == from.bytes && storage.dtype == from.dtype;
        if !alike || from.halo.fill != 0 || !from.halo.covers(wanted) {
            return Ok(None);
        }
        let up = rows[0] * from.strides[2];
        let (direction, at) = match at.checked_sub(up) {
            Some(at) => (Direction::Down, at),
            None => (Direction::Up, at + rows[1] * from.strides[2]),
        };
        let name = self.graph.value(y).name.clone();
        let whole = &mut self.schedule.buffers[root];
        whole.bytes = whole.bytes.max(at + storage.bytes);
        let kind = BufferKind::Within(root, at);
        let buffer = self.schedule.buffers.push(Buffer { name, bytes: storage.bytes, kind });
        let place = Placed { buffer, storage };
        self.placed.entry(y).or_default().push(place.clone());
        Ok(Some(Over { place, direction }))
    }

    /// The place of `x`, if `y` would lie the same way and may take it over.
    fn given_up(&self, x: ValueId, y: ValueId, can: Forms) -> Option<Placed> {
        let form = self.plan.form(y);
        let done = self.last_use.get(&x) == Some(&self.position) && !self.graph.outputs().contains(&x);
        if !done || !can.allows(form) || self.plan.home(y).is_some() {
            return None;
        }
        let [place] = &self.placed.get(&x)?[..] else { return None };
        let alike = self.storage(y, form).is_ok_and(|s| s == place.storage);
        let root = self.root(place.buffer).0;
        let own = self.schedule.buffers[root].kind == BufferKind::Temp && !self.is_shared(root, x);
        (alike && own).then(|| place.clone())
    }

    /// Whether another value lies in this buffer.
    fn is_shared(&self, buffer: BufferId, x: ValueId) -> bool {
        let inside = |p: &Placed| self.root(p.buffer).0 == buffer;
        let others = self.placed.iter().filter(|(v, _)| **v != x);
        let alive = |v: &ValueId| self.last_use.get(v).is_none_or(|&last| last >= self.position);
        others.into_iter().any(|(v, places)| alive(v) && places.iter().any(inside)) || self.homes.values().any(inside)
    }
}
