//! The state of a lowering: which value lies where, which kernels and steps exist.
//!
//! # Where results lie
//! Before anything is lowered, [`forms`] settles the form of every value from the wishes of its readers. A producer asks
//! [`Lowering::output`] for its place; a reader asks [`Lowering::input`] and gets any form that is there already, or one
//! repacked by an added step. A value may thus exist in several forms.
//!
//! # Borders
//! The workspace belongs to the caller and its ranges are reused, so a halo cannot be zeroed once and for all: whoever
//! creates a blocked buffer with a halo adds one step that fills everything but the elements with zeros, or with the zero point of a
//! quantised value, right before the first step that writes it. The padding of a last, incomplete block holds unspecified but previously written
//! bytes: a family must not let those lanes reach others (zero weights do not help against a NaN).

mod arena;
mod forms;
mod in_place;
mod kernels;
mod packed;
mod pressure;
mod problem;
mod repack;
mod roles;
mod subnormals;

pub(crate) use in_place::Direction;
pub use problem::NodeError;

use crate::cost::{Choice, Class, Decision, Direct, Planner, Problem};
use crate::family::{Family, View, Wish};
use crate::schedule::{Access, Buffer, BufferId, BufferKind, KernelId, Operand, Schedule, Step, Subnormals};
use crate::storage::{Halo, Storage};
use crate::{generic, view};
use forms::{Form, FormPlan};
use mnnc_ir::{DType, Graph, NodeId, OpError, Tensor, Traits, ValueId};
use mnnc_vector::Target;
use roles::{Role, roles};
use std::collections::{HashMap, HashSet};

/// A value in one of its forms.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The buffer that holds it.
    pub buffer: BufferId,
    /// How it lies in there.
    pub storage: Storage,
}

impl Placed {
    /// The operand that reads all of it.
    pub fn read(&self) -> Operand {
        self.operand(Access::Read)
    }
    /// The operand that writes all of it.
    pub fn write(&self) -> Operand {
        self.operand(Access::Write)
    }
    fn operand(&self, access: Access) -> Operand {
        Operand { buffer: self.buffer, offset: 0, bytes: self.storage.bytes, access }
    }
}

/// The forms in which a family can write a result.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Forms {
    /// Dense, row-major.
    pub plain: bool,
    /// In channel blocks of the target's lanes, with any halo; bytes also with the blocks of a pixel together.
    pub blocked: bool,
    /// In blocks of twice as many channels rounded to bf16, with any halo, the last block filled up with zeros.
    pub reduced: bool,
}

impl Forms {
    /// Only plain.
    pub const PLAIN: Forms = Forms { plain: true, blocked: false, reduced: false };
    /// Only blocked.
    pub const BLOCKED: Forms = Forms { plain: false, blocked: true, reduced: false };
    /// Either.
    pub const BOTH: Forms = Forms { plain: true, blocked: true, reduced: false };

    fn allows(self, form: Form) -> bool {
        match form {
            Form::Plain => self.plain,
            Form::Blocked(_) => self.blocked,
            Form::Reduced(_) => self.reduced,
            Form::Interleaved(_) => self.blocked,
        }
    }
}

/// What families work with while the graph is lowered.
pub struct Lowering<'a> {
    graph: &'a Graph,
    target: &'a Target,
    /// What the current node is compiled for: less than the target where it has to be exact.
    node_target: Target,
    planner: &'a Planner,
    plan: FormPlan,
    schedule: Schedule,
    /// Every form in which a value exists so far.
    placed: HashMap<ValueId, Vec<Placed>>,
    /// Values that others lie in, allocated at the first of their parts.
    homes: HashMap<ValueId, Placed>,
    /// Copies to make once the current node's own steps are there.
    pending: Vec<(ValueId, Placed, Placed)>,
    by_code: HashMap<[u8; 32], KernelId>,
    by_key: HashMap<String, KernelId>,
    node: Option<NodeId>,
    name: String,
    /// Of the current node's steps.
    subnormals: Subnormals,
    /// Position of the current node, and of the last that reads each value.
    position: usize,
    last_use: HashMap<ValueId, usize>,
    /// See [`pressure`], by position.
    spare: Vec<usize>,
    /// See [`Step::part`], and the number of the next.
    part: Option<u32>,
    next_part: u32,
}

/// Lowers a graph to kernels for any core with the target's instructions; see [`lower_with`].
///
/// # Errors
/// All nodes that cannot be lowered.
pub fn lower(graph: &Graph, target: &Target, families: &[&'static dyn Family]) -> Result<Schedule, Vec<NodeError>> {
    lower_with(graph, &Planner::new(*target), families)
}

/// Lowers a graph to kernels over buffers, scheduled by `planner`. Every node is offered to `families` in turn; what none
/// takes becomes a generic loop nest.
///
/// # Errors
/// All nodes that cannot be lowered.
pub fn lower_with(
    graph: &Graph,
    planner: &Planner,
    families: &[&'static dyn Family],
) -> Result<Schedule, Vec<NodeError>> {
    let target = planner.target();
    let mut errors = Vec::new();
    let mut jobs = Vec::new();
    for &n in graph.schedule() {
        match prepare(graph, planner, families, n) {
            Ok(job) => jobs.push(job),
            Err(e) => errors.push(NodeError::new(graph, n, e)),
        }
    }
    errors.extend(problem::interface_errors(graph));
    if !errors.is_empty() {
        return Err(errors);
    }
    let plan = FormPlan::new(graph, target, &jobs);
    let mut lo = Lowering {
        graph,
        target,
        node_target: *target,
        planner,
        plan,
        schedule: Schedule::default(),
        placed: HashMap::new(),
        homes: HashMap::new(),
        pending: Vec::new(),
        by_code: HashMap::new(),
        by_key: HashMap::new(),
        node: None,
        name: String::new(),
        subnormals: Subnormals::Any,
        position: 0,
        last_use: HashMap::new(),
        spare: Vec::new(),
        part: None,
        next_part: 0,
    };
    lo.bind_interface();
    // Values that no step computes: what reads them fails for no reason of its own, and is not reported.
    let mut missing: HashSet<ValueId> = HashSet::new();
    let mut roles = roles(&jobs, target);
    for (role, packed) in roles.iter_mut().zip(packed::read_packed(graph, &jobs)) {
        if packed {
            *role = Role::Inner;
        }
    }
    let subnormals = subnormals::of(graph, &jobs);
    lo.last_use = in_place::last_uses(graph, &jobs, &roles);
    lo.spare = pressure::spare(&lo, &jobs, &roles);
    for (i, (job, role)) in jobs.iter().zip(&roles).enumerate() {
        let node = graph.node(job.view.node);
        lo.node = Some(job.view.node);
        lo.name = node.name.clone();
        lo.node_target = planner.target_of(job.view.node);
        lo.subnormals = subnormals[i];
        lo.position = i;
        if node.inputs().iter().flatten().any(|v| missing.contains(v)) {
            missing.extend(node.outputs());
            continue;
        }
        let done = match *role {
            Role::Alone => lo.lower_job(job),
            Role::Inner => Ok(()),
            Role::Last(chain) => {
                if chain.nodes().any(|i| subnormals[i] == Subnormals::Keep) {
                    lo.subnormals = Subnormals::Keep;
                }
                chain.lower(&|i| &jobs[i].view, &mut lo).and_then(|()| lo.copy_pending())
            }
        };
        if let Err(e) = done {
            missing.extend(node.outputs());
            errors.push(NodeError::new(graph, job.view.node, e));
        }
        lo.pending.clear();
    }
    if errors.is_empty()
        && let Err(e) = lo.finish_outputs()
    {
        errors.push(NodeError::of_model(graph, e));
    }
    if errors.is_empty() { Ok(lo.schedule) } else { Err(errors) }
}

/// A node with what was settled about it before the lowering proper.
struct Job<'g> {
    view: View<'g>,
    family: Option<&'static dyn Family>,
    wishes: Vec<(ValueId, Wish)>,
}

fn prepare<'g>(
    graph: &'g Graph,
    planner: &'g Planner,
    families: &[&'static dyn Family],
    n: NodeId,
) -> Result<Job<'g>, OpError> {
    problem::check_static(graph, n)?;
    let view = view::view(graph, planner, n)?;
    if !forms::is_view(graph, n) {
        let sees = |f: &&&dyn Family| view.prologue.is_none() || f.reads_prologue();
        for &family in families.iter().filter(sees) {
            if let Some(wishes) = family.take(&view, &planner.target_of(n)) {
                return Ok(Job { view, family: Some(family), wishes });
            }
        }
    }
    Ok(Job { view, family: None, wishes: Vec::new() })
}

impl<'a> Lowering<'a> {
    /// What the current node is compiled for.
    pub fn target(&self) -> &Target {
        &self.node_target
    }
    /// Decides how products are computed.
    pub fn planner(&self) -> &'a Planner {
        self.planner
    }
    /// The cut of the current node's product by the implicit GEMM.
    pub fn panels(&mut self, p: &Problem) -> Vec<Class> {
        let d = self.direct(p);
        self.planner.panels(p, &d)
    }
    /// How the implicit GEMM cuts the current node's product.
    pub fn direct(&mut self, p: &Problem) -> Direct {
        let d = self.planner.direct(p);
        self.decided(*p, Choice::Direct(d));
        d
    }
    /// Bytes that the current node may take for buffers of its own without making the workspace larger, by [an estimate](pressure).
    pub(crate) fn spare(&self) -> usize {
        self.spare.get(self.position).copied().unwrap_or(0)
    }
    /// Notes how the current node's product is computed.
    pub fn decided(&mut self, problem: Problem, choice: Choice) {
        if let Some(node) = self.node {
            let cycles = self.planner.cycles(&problem, &choice);
            self.schedule.decisions.push(Decision { node, problem, choice, cycles });
        }
    }
    /// The graph.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }
    /// The constant behind a value, if it is one.
    pub fn constant(&self, v: ValueId) -> Option<&'a Tensor> {
        self.graph.constant(v)
    }

    /// The value in a form that satisfies the wish. A blocked form has *at least* the halo asked for: address it through
    /// its storage. If there is no such form yet, a step is added that makes it; constants become weights in that form.
    ///
    /// # Errors
    /// A blocked form of a value whose rank is not 4; a size that overflows.
    pub fn input(&mut self, v: ValueId, wish: Wish) -> Result<Placed, OpError> {
        if let Some(found) = self.placed.get(&v).and_then(|forms| forms.iter().find_map(|p| self.as_wished(v, p, wish)))
        {
            return Ok(found);
        }
        if let Some(t) = self.graph.constant(v) {
            return self.place_constant(v, t, wish);
        }
        let from = self.placed.get(&v).and_then(|p| p.first()).cloned().ok_or_else(|| {
            OpError::invalid(format!("value {} is read before it is computed", self.graph.value(v).name))
        })?;
        let to = match wish {
            Wish::Blocked(h) => self.temp_in_form(v, Form::Blocked(h.union(self.plan.halo(v))))?,
            Wish::Reduced(h) => self.temp_in_form(v, Form::Reduced(h.union(self.plan.halo(v))))?,
            Wish::Image(h) => {
                let h = h.union(self.plan.halo(v));
                self.temp_in_form(v, self.plan.image(v).with(h))?
            }
            Wish::Interleaved(h) => self.temp_in_form(v, Form::Interleaved(h.union(self.plan.halo(v))))?,
            Wish::PlainReduced => {
                let storage = Storage::plain(DType::BF16, &from.storage.dims).ok_or_else(forms::too_large)?;
                self.temp_in_storage(v, storage)
            }
            Wish::Any | Wish::Plain => self.temp_in_form(v, Form::Plain)?,
            Wish::Planar(h) => {
                let storage = Storage::blocked(self.graph.ty(v).dtype, &from.storage.dims, 1, h);
                self.temp_in_storage(v, storage.ok_or_else(forms::too_large)?)
            }
            Wish::Pixels(h) => {
                let storage = Storage::blocked(self.graph.ty(v).dtype, &from.storage.dims, 4, h);
                self.temp_in_storage(v, storage.ok_or_else(forms::too_large)?)
            }
        };
        self.copy(v, &from, &to);
        self.placed.entry(v).or_default().push(to.clone());
        Ok(to)
    }

    /// The place for a result, in the form that most of its readers want among those that the family can write; its halo
    /// is the union of theirs and is zeroed by a step that this call adds. A result of the model, or a part
    /// of a concatenation, that the family cannot write in the form needed there is copied after the node's steps.
    ///
    /// # Errors
    /// If no form is possible, or a size overflows.
    pub fn output(&mut self, v: ValueId, can: Forms) -> Result<Placed, OpError> {
        let wanted = self.plan.form(v);
        let home = self.plan.home(v).cloned();
        let place = match (home, can.allows(wanted)) {
            (Some(home), true) => self.place_at_home(v, &home)?,
            (Some(home), false) => {
                let place = self.temp_in_form(v, self.other_form(v, can)?)?;
                let to = self.place_at_home(v, &home)?;
                self.pending.push((v, place.clone(), to));
                place
            }
            (None, true) => self.temp_in_form(v, wanted)?,
            (None, false) => self.temp_in_form(v, self.other_form(v, can)?)?,
        };
        self.placed.entry(v).or_default().push(place.clone());
        Ok(place)
    }

    fn other_form(&self, v: ValueId, can: Forms) -> Result<Form, OpError> {
        match self.plan.form(v) {
            Form::Plain | Form::Reduced(_) if can.blocked => Ok(Form::Blocked(self.plan.halo(v))),
            Form::Plain | Form::Blocked(_) if can.reduced => Ok(Form::Reduced(self.plan.halo(v))),
            Form::Blocked(_) | Form::Reduced(_) | Form::Interleaved(_) if can.plain => Ok(Form::Plain),
            _ => Err(OpError::unsupported("the kernel can write its result in no form at all")),
        }
    }

    /// An image in blocks of bf16 of its own, zero border included, that belongs to value `v` but is none of its forms.
    ///
    /// # Errors
    /// If the size overflows, or `dims` is not of rank 4.
    pub(crate) fn reduced_image(
        &mut self,
        v: ValueId,
        dims: &[usize],
        block: usize,
        halo: Halo,
    ) -> Result<Placed, OpError> {
        let storage = Storage::blocked(DType::BF16, dims, block, halo).ok_or_else(forms::too_large)?;
        Ok(self.temp_in_storage(v, storage))
    }

    /// Memory that lives during the current node only. What it holds at first is unspecified.
    pub fn temp(&mut self, name: &str, bytes: usize) -> BufferId {
        let name = format!("{}.{name}", self.name);
        self.schedule.buffers.push(Buffer { name, bytes, kind: BufferKind::Temp })
    }

    /// Adds a step of the current node. Without units (an empty result) there is none.
    pub fn step(&mut self, kernel: KernelId, operands: Vec<Operand>, units: usize, flops: u64) {
        if units == 0 {
            return;
        }
        let step = Step {
            name: self.name.clone(),
            node: self.node,
            kernel,
            operands,
            units,
            flops,
            subnormals: self.subnormals,
            part: self.part,
        };
        self.schedule.steps.push(step);
    }

    /// Lets the steps that `make` adds run at the same time: each writes elements of their result that no other of them touches.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn in_parts(&mut self, make: impl FnOnce(&mut Self) -> Result<(), OpError>) -> Result<(), OpError> {
        self.part = Some(self.next_part);
        self.next_part += 1;
        let made = make(self);
        self.part = None;
        made
    }

    fn lower_job(&mut self, job: &Job) -> Result<(), OpError> {
        let n = job.view.node;
        let node = self.graph.node(n);
        if self.plan.is_gathered(n) {
            self.finish_concat(n)?;
        } else if forms::is_view(self.graph, n) && node.outputs().len() == 1 {
            self.lower_view(node.input(0), node.outputs()[0])?;
        } else if let Some(parts) = self.parts_in_place(n) {
            for (v, place) in parts {
                self.placed.entry(v).or_default().push(place);
            }
        } else if let Some(family) = job.family {
            family.lower(&job.view, self)?;
        } else {
            generic::lower(&job.view, self)?;
        }
        self.copy_pending()
    }

    /// Copies results that the node's steps could not write where they belong.
    fn copy_pending(&mut self) -> Result<(), OpError> {
        for (v, from, to) in std::mem::take(&mut self.pending) {
            self.copy(v, &from, &to);
            self.placed.entry(v).or_default().push(to);
        }
        Ok(())
    }

    /// Reshape and its kin: the same bytes under other dims.
    fn lower_view(&mut self, x: Option<ValueId>, y: ValueId) -> Result<(), OpError> {
        let x = x.ok_or_else(|| OpError::invalid("input 0 is missing"))?;
        let dims = self.graph.ty(y).static_dims().unwrap_or_default();
        // An identity keeps whatever forms there are.
        if self.graph.ty(x).static_dims().as_ref() == Some(&dims) && self.plan.home(y).is_none() {
            let wish = match self.plan.form(y) {
                Form::Plain => Wish::Any,
                form => form.wish(),
            };
            let place = self.input(x, wish)?;
            self.placed.entry(y).or_default().push(place);
            return Ok(());
        }
        let from = self.input(x, Wish::Plain)?;
        let storage = Storage::plain(self.graph.ty(y).dtype, &dims).ok_or_else(forms::too_large)?;
        let seen = Placed { buffer: from.buffer, storage };
        match self.plan.home(y).cloned() {
            None => self.placed.entry(y).or_default().push(seen),
            Some(home) => {
                let to = self.place_at_home(y, &home)?;
                if self.same_place(&seen, &to) {
                    self.placed.entry(y).or_default().push(to);
                } else {
                    self.copy(y, &seen, &to);
                    self.placed.entry(y).or_default().extend([to, seen]);
                }
            }
        }
        Ok(())
    }

    /// A form that exists, seen as the wish wants it.
    fn as_wished(&self, v: ValueId, p: &Placed, wish: Wish) -> Option<Placed> {
        let lanes = self.target.lanes();
        let rounded = p.storage.dtype != self.graph.ty(v).dtype;
        let wished = match wish {
            Wish::Image(_) => rounded,
            Wish::Reduced(_) | Wish::PlainReduced => true,
            _ => false,
        };
        if rounded != wished {
            return None;
        }
        let storage = match wish {
            Wish::Any => Some(p.storage.clone()),
            Wish::Plain | Wish::PlainReduced => p.storage.as_plain(),
            Wish::Image(h) | Wish::Interleaved(h) if p.storage.is_interleaved() => {
                Some(p.storage.clone()).filter(|s| s.halo.covers(h))
            }
            Wish::Image(h) if !rounded => p.storage.as_blocked(lanes).filter(|s| s.halo.covers(h)),
            Wish::Interleaved(h) => p.storage.as_blocked(lanes).filter(|s| s.halo.covers(h)),
            Wish::Reduced(h) | Wish::Image(h) => p.storage.as_reduced(lanes).filter(|s| s.halo.covers(h)),
            Wish::Blocked(h) => p.storage.as_blocked(lanes).filter(|s| s.halo.covers(h)),
            Wish::Pixels(h) => Some(p.storage.clone()).filter(|s| s.block == Some(4) && s.halo.covers(h)),
            Wish::Planar(h) => {
                let planes = p.storage.block == Some(1) && p.storage.halo.covers(h);
                if planes { Some(p.storage.clone()) } else { p.storage.as_plain().filter(|_| h.is_empty()) }
            }
        }?;
        Some(Placed { buffer: p.buffer, storage })
    }

    fn storage(&self, v: ValueId, form: Form) -> Result<Storage, OpError> {
        let ty = self.graph.ty(v);
        let dims = ty.static_dims().ok_or_else(|| OpError::unsupported("a shape is dynamic"))?;
        match form {
            Form::Plain => Storage::plain(ty.dtype, &dims).ok_or_else(forms::too_large),
            Form::Blocked(_) | Form::Reduced(_) | Form::Interleaved(_) if dims.len() != 4 => {
                Err(OpError::unsupported(format!("a value of rank {} has no blocked form", dims.len())))
            }
            Form::Blocked(h) => Storage::blocked(ty.dtype, &dims, self.target.lanes(), h).ok_or_else(forms::too_large),
            Form::Interleaved(h) => {
                Storage::interleaved(ty.dtype, &dims, self.target.lanes(), h).ok_or_else(forms::too_large)
            }
            Form::Reduced(h) => Storage::reduced(&dims, self.target.lanes(), h).ok_or_else(forms::too_large),
        }
    }

    fn temp_in_form(&mut self, v: ValueId, form: Form) -> Result<Placed, OpError> {
        let storage = self.storage(v, form)?;
        Ok(self.temp_in_storage(v, storage))
    }

    /// A place of its own for a value, its border filled.
    pub(crate) fn temp_in_storage(&mut self, v: ValueId, storage: Storage) -> Placed {
        let name = self.graph.value(v).name.clone();
        let buffer = self.schedule.buffers.push(Buffer { name, bytes: storage.bytes, kind: BufferKind::Temp });
        let place = Placed { buffer, storage };
        self.fill_border(&place);
        place
    }

    /// Fills the halo of a new buffer, if it has one.
    pub(crate) fn fill_border(&mut self, p: &Placed) {
        let s = &p.storage;
        if s.halo.is_empty() || s.bytes == 0 {
            return;
        }
        let kernel = self.border_kernel(s);
        let planes = if s.is_interleaved() { 1 } else { s.dims[1].div_ceil(s.block.unwrap_or(1)) };
        let units = s.dims[0] * planes;
        let name = format!("{}.border", self.schedule.buffers[p.buffer].name);
        self.moving_step(name, kernel, vec![p.write()], units);
    }
}

/// Whether the op only renames the bytes of its input.
fn has_view_trait(graph: &Graph, n: NodeId) -> bool {
    graph.node(n).op.traits.contains(Traits::VIEW)
}
