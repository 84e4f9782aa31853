//! Results written over an operand: the residual of an addition that nobody reads any more gives its memory to the sum.
//!
//! An epilogue reads a side operand at the very element that it then writes, so that the two may be one. That spares the workspace an image
//! where networks are widest, and memory the reading of lines only to overwrite them.

use super::{Job, Lowering, Placed, Role};
use crate::family::View;
use crate::lowering::Forms;
use crate::schedule::{BufferId, BufferKind};
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
        let sides = view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        let over = sides.iter().filter(|s| !others.contains(&Some(**s))).find_map(|&s| self.given_up(s, y, can));
        match over {
            Some(place) => {
                self.placed.entry(y).or_default().push(place.clone());
                Ok(place)
            }
            None => self.output(y, can),
        }
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
        let own = matches!(self.schedule.buffers[place.buffer].kind, BufferKind::Temp);
        (alike && own && !self.is_shared(place.buffer, x)).then(|| place.clone())
    }

    /// Whether another value lies in this buffer.
    fn is_shared(&self, buffer: BufferId, x: ValueId) -> bool {
        let inside = |p: &Placed| self.root(p.buffer).0 == buffer;
        let others = self.placed.iter().filter(|(v, _)| **v != x);
        let alive = |v: &ValueId| self.last_use.get(v).is_none_or(|&last| last >= self.position);
        others.into_iter().any(|(v, places)| alive(v) && places.iter().any(inside)) || self.homes.values().any(inside)
    }
}
