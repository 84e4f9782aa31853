//! How much of the workspace is taken where, estimated before anything is lowered: what a node may spend on buffers of its own without making
//! the workspace larger.
//!
//! Only images count, by the forms and homes that are settled by then. An estimate that is wrong costs memory or time, never a result.

use super::forms::{self, Form, Home};
use super::{Job, Lowering, Role};
use crate::family::Wish;
use mnnc_ir::ValueId;
use std::collections::HashMap;

/// Memory of one value or several, from the first job that writes there to the last that reads.
struct Taken {
    first: usize,
    last: usize,
    bytes: usize,
}

/// For every job the bytes that are free where the most memory is taken, beyond those that are taken during this job.
pub(super) fn spare(lo: &Lowering, jobs: &[Job], roles: &[Role]) -> Vec<usize> {
    let mut ledger = Ledger { lo, taken: Vec::new(), of: HashMap::new() };
    for &x in lo.graph.inputs() {
        ledger.copied_input(x, jobs);
    }
    for (i, job) in jobs.iter().enumerate().filter(|(i, _)| !matches!(roles[*i], Role::Inner)) {
        for &y in lo.graph.node(job.view.node).outputs() {
            ledger.result(i, job, y);
        }
    }
    let mut live = vec![0usize; jobs.len()];
    for t in &ledger.taken {
        live[t.first..=t.last].iter_mut().for_each(|l| *l = l.saturating_add(t.bytes));
    }
    let most = live.iter().copied().max().unwrap_or(0);
    live.into_iter().map(|l| most - l).collect()
}

struct Ledger<'l, 'g> {
    lo: &'l Lowering<'g>,
    taken: Vec<Taken>,
    /// Where in `taken` the memory of a value is.
    of: HashMap<ValueId, usize>,
}

impl Ledger<'_, '_> {
    fn bytes(&self, v: ValueId, form: Form) -> usize {
        self.lo.storage(v, form).map_or(0, |s| s.bytes)
    }

    fn end(&self, v: ValueId, first: usize) -> usize {
        self.lo.last_use.get(&v).copied().unwrap_or(first).max(first)
    }

    /// Inputs belong to the caller; a reader that wants another form gets a copy.
    fn copied_input(&mut self, x: ValueId, jobs: &[Job]) {
        let copied = |job: &Job| {
            job.wishes.iter().any(|(v, w)| *v == x && !matches!(w, Wish::Any | Wish::Plain | Wish::PlainReduced))
        };
        if let Some(first) = jobs.iter().position(copied) {
            let bytes = self.bytes(x, self.lo.plan.image(x));
            self.taken.push(Taken { first, last: self.end(x, first), bytes });
            self.of.insert(x, self.taken.len() - 1);
        }
    }

    /// Books the result `y` of job `i`.
    fn result(&mut self, i: usize, job: &Job, y: ValueId) {
        let plan = &self.lo.plan;
        let mut whole = y;
        while let Some(Home::Within(outer, _)) = plan.home(whole) {
            whole = *outer;
        }
        if matches!(plan.home(whole), Some(Home::Output(_))) {
            return;
        }
        let known = self.of.get(&whole).copied().or_else(|| self.shared(i, job, y));
        let at = known.unwrap_or_else(|| {
            let bytes = self.bytes(whole, plan.form(whole));
            self.taken.push(Taken { first: i, last: i, bytes });
            self.taken.len() - 1
        });
        let end = self.end(y, i);
        self.taken[at].last = self.taken[at].last.max(end);
        self.of.extend([(y, at), (whole, at)]);
    }

    /// The memory of an operand that the result takes over.
    fn shared(&self, i: usize, job: &Job, y: ValueId) -> Option<usize> {
        let (lo, n) = (self.lo, job.view.node);
        let x = lo.graph.node(n).input(0)?;
        if forms::is_view(lo.graph, n) || forms::cuts(lo.graph, n).is_some() {
            return self.of.get(&x).copied();
        }
        let alike = |v: &ValueId| {
            let halo = |v| if let Form::Blocked(h) = lo.plan.form(v) { Some(h) } else { None };
            let dims = |v| lo.graph.ty(v).static_dims().unwrap_or_default();
            let covers = halo(*v).zip(halo(y)).is_some_and(|(x, y)| x.covers(y));
            lo.last_use.get(v) == Some(&i) && dims(*v) == dims(y) && covers
        };
        let sides = job.view.epilogue.as_ref().map_or(&[][..], |e| &e.sides);
        let over = job.family.is_some_and(|f| f.name() == "winograd").then_some(x);
        let given = sides.iter().copied().chain(over).find(alike)?;
        self.of.get(&given).copied()
    }
}
