//! Which form and which home every value gets, settled before anything is lowered.
//!
//! Readers vote: a family by its wishes; an op that takes what comes passes on, as a weak vote, the form of its own
//! result. Then values that are parts of others find their homes: results of the model in the caller's buffers, operands of
//! a concatenation inside its result, the source of a reshape where the reshaped value has to be.

use super::{Job, has_view_trait};
use crate::family::Wish;
use crate::storage::{Halo, Storage};
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Source};
use mnnc_ir::{DType, Graph, NodeId, OpError, ValueId};
use mnnc_vector::Target;
use std::collections::HashMap;

/// Form of a value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Plain,
    Blocked(Halo),
    /// Blocks of twice as many channels, rounded to bf16.
    Reduced(Halo),
    /// Bytes, the blocks of a pixel together.
    Interleaved(Halo),
}

impl Form {
    /// The same form with another border.
    pub(super) fn with(self, halo: Halo) -> Form {
        match self {
            Form::Plain => Form::Plain,
            Form::Blocked(_) => Form::Blocked(halo),
            Form::Reduced(_) => Form::Reduced(halo),
            Form::Interleaved(_) => Form::Interleaved(halo),
        }
    }

    /// Its border, if it can have one.
    fn halo(self) -> Option<Halo> {
        match self {
            Form::Plain => None,
            Form::Blocked(h) | Form::Reduced(h) | Form::Interleaved(h) => Some(h),
        }
    }

    /// What a reader wishes that wants just this form.
    pub(super) fn wish(self) -> Wish {
        match self {
            Form::Plain => Wish::Plain,
            Form::Blocked(h) => Wish::Blocked(h),
            Form::Reduced(h) => Wish::Reduced(h),
            Form::Interleaved(h) => Wish::Interleaved(h),
        }
    }
}

/// A place that a value must end up in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Home {
    /// Output `.0` of the model.
    Output(usize),
    /// Inside another value, from this byte of its buffer on.
    Within(ValueId, usize),
}

#[derive(Default)]
struct Votes {
    blocked: usize,
    reduced: usize,
    interleaved: usize,
    image: usize,
    plain: usize,
    weak: isize,
    halo: Halo,
}

impl Votes {
    fn form(&self, dtype: DType) -> Form {
        let blocked = match (self.blocked + self.reduced + self.interleaved + self.image, self.plain) {
            (0, 0) => self.weak > 0,
            (b, p) => b > 0 && b >= p,
        };
        if !blocked {
            return Form::Plain;
        }
        let floats = dtype.is_float();
        if floats && self.reduced + self.image > 0 && self.reduced >= self.blocked {
            Form::Reduced(self.halo)
        } else if self.interleaved > 0 && self.interleaved >= self.blocked {
            Form::Interleaved(self.halo)
        } else {
            Form::Blocked(self.halo)
        }
    }
    fn add(&mut self, wish: Wish) {
        match wish {
            Wish::Any => {}
            // A border is added when the planes are copied.
            Wish::Plain | Wish::Planar(_) | Wish::Pixels(_) | Wish::PlainReduced => self.plain += 1,
            Wish::Reduced(h) => {
                self.reduced += 1;
                self.halo = self.halo.union(h);
            }
            Wish::Interleaved(h) => {
                self.interleaved += 1;
                self.halo = self.halo.union(h);
            }
            Wish::Image(h) => {
                self.image += 1;
                self.halo = self.halo.union(h);
            }
            Wish::Blocked(h) => {
                self.blocked += 1;
                self.halo = self.halo.union(h);
            }
        }
    }
}

#[derive(Default)]
pub(super) struct FormPlan {
    form: HashMap<ValueId, Form>,
    halo: HashMap<ValueId, Halo>,
    /// Of what lies as the caller has it, the form that most readers want.
    wanted: HashMap<ValueId, Form>,
    home: HashMap<ValueId, Home>,
    /// For a concatenation in place its operands: value, offset, and whether the value is written there.
    parts: HashMap<NodeId, Vec<(ValueId, usize, bool)>>,
}

impl FormPlan {
    pub(super) fn new(graph: &Graph, target: &Target, jobs: &[Job]) -> FormPlan {
        let mut plan = FormPlan::default();
        plan.vote(graph, jobs);
        plan.widen_halos(graph, jobs);
        plan.find_homes(graph, target, jobs);
        plan
    }
    /// The form that a value should be computed in.
    pub(super) fn form(&self, v: ValueId) -> Form {
        self.form.get(&v).copied().unwrap_or(Form::Plain)
    }
    /// The form of an image that most of its readers want.
    pub(super) fn image(&self, v: ValueId) -> Form {
        let form = self.wanted.get(&v).copied().unwrap_or_else(|| self.form(v));
        if form == Form::Plain { Form::Blocked(Halo::default()) } else { form }
    }
    /// The border that serves all readers of the blocked form.
    pub(super) fn halo(&self, v: ValueId) -> Halo {
        self.halo.get(&v).copied().unwrap_or_default()
    }
    pub(super) fn home(&self, v: ValueId) -> Option<&Home> {
        self.home.get(&v)
    }
    pub(super) fn is_gathered(&self, n: NodeId) -> bool {
        self.parts.contains_key(&n)
    }
    pub(super) fn parts(&self, n: NodeId) -> &[(ValueId, usize, bool)] {
        self.parts.get(&n).map_or(&[], Vec::as_slice)
    }

    fn vote(&mut self, graph: &Graph, jobs: &[Job]) {
        let mut votes: HashMap<ValueId, Votes> = HashMap::new();
        for &v in graph.outputs() {
            votes.entry(v).or_default().plain += 1;
        }
        for job in jobs.iter().rev() {
            let n = job.view.node;
            let node = graph.node(n);
            for &y in node.outputs() {
                let votes = votes.entry(y).or_default();
                let form = if graph.ty(y).rank() == 4 { votes.form(graph.ty(y).dtype) } else { Form::Plain };
                self.form.insert(y, form);
                self.halo.insert(y, votes.halo);
            }
            let result = node.outputs().first().map_or(Form::Plain, |&y| self.form(y));
            let as_result = result.wish();
            let mut inputs: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
            inputs.sort_unstable();
            inputs.dedup();
            for x in inputs {
                let votes = votes.entry(x).or_default();
                let same_shape = node.outputs().first().is_some_and(|&y| graph.ty(x).dims == graph.ty(y).dims);
                let listed: Vec<Wish> = job.wishes.iter().filter(|(v, _)| *v == x).map(|(_, w)| *w).collect();
                if !listed.is_empty() {
                    listed.into_iter().for_each(|w| votes.add(w));
                } else if is_view(graph, n) {
                    votes.add(if same_shape { as_result } else { Wish::Plain });
                } else if concat_axis(graph, n).is_some() {
                    votes.add(as_result);
                } else if graph.ty(x).rank() == 4 && matches!(graph.ty(x).dtype, DType::F32 | DType::U8) {
                    votes.weak += if result == Form::Plain { -1 } else { 1 };
                }
            }
        }
        for (v, votes) in votes {
            self.halo.insert(v, votes.halo);
            if graph.producer(v).is_none() && graph.ty(v).rank() == 4 {
                self.wanted.insert(v, votes.form(graph.ty(v).dtype));
            }
        }
    }

    /// The result of a concatenation must have the border that the readers of its operands want, too.
    fn widen_halos(&mut self, graph: &Graph, jobs: &[Job]) {
        for job in jobs {
            let n = job.view.node;
            let Some(&y) = graph.node(n).outputs().first() else {
                continue;
            };
            let form = self.form(y);
            if let (Some(_), Some(mut h)) = (concat_axis(graph, n), form.halo()) {
                for x in graph.node(n).inputs().iter().flatten() {
                    h = h.union(self.halo(*x));
                }
                self.form.insert(y, form.with(h));
                self.halo.insert(y, h);
            }
        }
    }

    fn find_homes(&mut self, graph: &Graph, target: &Target, jobs: &[Job]) {
        let is_result = |v: ValueId| graph.producer(v).is_some();
        for (i, &v) in graph.outputs().iter().enumerate() {
            if is_result(v) && self.form(v) == Form::Plain {
                self.home.entry(v).or_insert(Home::Output(i));
            }
        }
        for job in jobs.iter().rev() {
            let n = job.view.node;
            let node = graph.node(n);
            let free =
                |plan: &FormPlan, x: ValueId| is_result(x) && plan.home(x).is_none() && !graph.outputs().contains(&x);
            let Some(&y) = node.outputs().first() else {
                continue;
            };
            if is_view(graph, n) {
                if let (Some(x), Some(home), Form::Plain) = (node.input(0), self.home(y).cloned(), self.form(y))
                    && free(self, x)
                {
                    self.home.insert(x, home);
                    self.form.insert(x, Form::Plain);
                }
            } else if let Some(axis) = concat_axis(graph, n) {
                let Some(parts) = concat_offsets(graph, target, n, axis, self.form(y)) else {
                    continue;
                };
                let mut placed = Vec::new();
                for (x, offset) in parts {
                    let once = node.inputs().iter().filter(|v| **v == Some(x)).count() == 1;
                    let here = once && free(self, x);
                    if here {
                        self.home.insert(x, Home::Within(y, offset));
                        self.form.insert(x, self.form(y));
                    }
                    placed.push((x, offset, here));
                }
                self.parts.insert(n, placed);
            }
        }
    }
}

/// Whether the node only shows its input under other dims.
pub(super) fn is_view(graph: &Graph, n: NodeId) -> bool {
    let node = graph.node(n);
    let size = |v: Option<ValueId>| v.and_then(|v| graph.ty(v).num_bytes());
    has_view_trait(graph, n)
        && node.outputs().len() == 1
        && size(node.input(0)).is_some()
        && size(node.input(0)) == size(node.outputs().first().copied())
}

/// The axis, if the node concatenates.
fn concat_axis(graph: &Graph, n: NodeId) -> Option<usize> {
    let node = graph.node(n);
    if node.op.name != "concat" || node.op.attr("axis").is_none() || node.inputs().contains(&None) {
        return None;
    }
    let rank = graph.ty(*node.outputs().first()?).rank() as i64;
    let axis = graph.facts(n).of(node).int("axis")?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}

/// Byte offset of each operand in the result, if all are contiguous parts of it.
fn concat_offsets(graph: &Graph, target: &Target, n: NodeId, axis: usize, form: Form) -> Option<Vec<(ValueId, usize)>> {
    let node = graph.node(n);
    let ty = graph.ty(*node.outputs().first()?);
    let dims = ty.static_dims()?;
    let whole = match form {
        Form::Plain => Storage::plain(ty.dtype, &dims)?,
        Form::Blocked(h) => Storage::blocked(ty.dtype, &dims, target.lanes(), h)?,
        Form::Reduced(h) => Storage::reduced(&dims, target.lanes(), h)?,
        Form::Interleaved(h) => Storage::interleaved(ty.dtype, &dims, target.lanes(), h)?,
    };
    let mut start = 0;
    let mut out = Vec::new();
    for x in node.inputs().iter().flatten() {
        let cut = Cut { dim: axis, start, dims: graph.ty(*x).static_dims()? };
        start += cut.dims.get(axis)?;
        out.push((*x, offset_of(&whole, &cut)?));
    }
    Some(out)
}

/// A range of one dimension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub dim: usize,
    pub start: usize,
    pub dims: Vec<usize>,
}

/// Where a part begins in the buffer of the whole, if it is contiguous there and a storage of its own kind.
pub(super) fn offset_of(whole: &Storage, cut: &Cut) -> Option<usize> {
    if whole.dims[..cut.dim].iter().any(|&d| d != 1) {
        return None;
    }
    let len = *cut.dims.get(cut.dim)?;
    match whole.block {
        None if whole.is_plain() => Some(cut.start * whole.strides[cut.dim]),
        None => None,
        Some(_) if cut.dim == 0 => Some(cut.start * whole.strides[0]),
        Some(b) if cut.dim == 1 => {
            let aligned = cut.start.is_multiple_of(b) && (len % b == 0 || cut.start + len == whole.dims[1]);
            aligned.then(|| cut.start / b * whole.strides[1])
        }
        Some(_) => None,
    }
}

/// How a part of these dims lies that [begins](offset_of) `start` bytes behind the whole.
pub(super) fn part_storage(whole: &Storage, dims: &[usize], start: usize) -> Option<Storage> {
    match whole.block {
        Some(b) if whole.is_interleaved() && dims.get(1) == whole.dims.get(1) => {
            Storage::interleaved(whole.dtype, dims, b, whole.halo)
        }
        Some(_) if whole.is_interleaved() => whole.interleaved_part(dims, start),
        Some(b) => Storage::blocked(whole.dtype, dims, b, whole.halo),
        None => Storage::plain(whole.dtype, dims),
    }
}

/// If every result of the node is a range of its first input along one dimension, those ranges. Read off the loop
/// form, so that slice, split and whatever else comes to the same are all found.
pub(super) fn cuts(graph: &Graph, n: NodeId) -> Option<(ValueId, Vec<Cut>)> {
    let node = graph.node(n);
    let x = node.input(0)?;
    let from = graph.ty(x).static_dims()?;
    let alike = |y: &ValueId| graph.ty(*y).rank() == from.len() && graph.ty(*y).dtype == graph.ty(x).dtype;
    if from.is_empty() || !node.regions.is_empty() || graph.is_elementwise(n) || !node.outputs().iter().all(alike) {
        return None;
    }
    let facts = graph.facts(n);
    let compute = node.op.compute?(&facts.of(node)).ok()?;
    let mut out = Vec::new();
    for &s in &compute.outputs {
        let stage = compute.stages.get(s).filter(|s| s.reduce.is_none())?;
        let ScalarNode::Load { source: Source::Input(0), index, guard: None } = stage.body.node(stage.body.result)
        else {
            return None;
        };
        let starts: Vec<usize> =
            index.iter().enumerate().map(|(d, &e)| shifted_axis(&stage.body, e, d)).collect::<Option<_>>()?;
        let changed: Vec<usize> = (0..from.len()).filter(|&d| starts[d] != 0 || stage.dims[d] != from[d]).collect();
        let dim = match changed[..] {
            // A scalar has no dimension to cut.
            [] if from.is_empty() => return None,
            [] => 0,
            [d] => d,
            _ => return None,
        };
        if starts[dim].checked_add(stage.dims[dim])? > from[dim] {
            return None;
        }
        out.push(Cut { dim, start: starts[dim], dims: stage.dims.clone() });
    }
    Some((x, out))
}

/// `c` if the index is `axis d + c`.
fn shifted_axis(f: &ScalarFn, e: Expr, d: usize) -> Option<usize> {
    let constant = |e: Expr| match f.node(e) {
        ScalarNode::Const(c) if *c >= 0.0 && c.fract() == 0.0 => Some(*c as usize),
        _ => None,
    };
    let is_axis = |e: Expr| matches!(f.node(e), ScalarNode::Axis(a) if *a == d);
    match f.node(e) {
        ScalarNode::Axis(a) if *a == d => Some(0),
        ScalarNode::Binary(Binary::Add, a, b) if is_axis(*a) => constant(*b),
        ScalarNode::Binary(Binary::Add, a, b) if is_axis(*b) => constant(*a),
        ScalarNode::Binary(Binary::Sub, a, b) if is_axis(*a) && constant(*b) == Some(0) => Some(0),
        _ => None,
    }
}

pub(super) fn too_large() -> OpError {
    OpError::unsupported("a value is larger than the address space; make the model's inputs smaller with --shape")
}
