//! A rewrite is a patch that is checked before and after, after tract's `TypedModelPatch`.
//!
//! A rule reads a graph and describes, without touching it, new nodes and constants, and which values they replace. New
//! values have their ids at once, so that a rule is written as if it built a graph:
//!
//! ```ignore
//! let mut p = Patch::new(g);
//! let w = p.constant("w", scaled);
//! let y = p.node(NodeSpec::new(&CONV, [x, w, bias]).attrs(attrs))?;
//! p.replace(old, y);
//! let plan = p.finish();          // borrows nothing
//! plan.apply(&mut graph)?;        // all of it, or nothing
//! ```
//!
//! A replaced value must keep its dtype, shape and layout, and what is known of its quantisation, of which the new one must not say another; a graph output keeps its name as well. Other
//! values hand their names on too, so that layers can be compared across passes. Nodes that nobody reads any more are
//! erased. New nodes stand where the replaced ones stood; the region is sorted if that is out of order, and a rewrite that
//! closes a cycle is refused.

use crate::decl::{OpCtx, OpError, RegionSig};
use crate::dim::{Dim, SymTable};
use crate::entity::EntityId;
use crate::graph::{Def, Graph, NodeId, NodeSpec, RegionId, ValueId};
use crate::tensor::Tensor;
use crate::types::{Dims, TensorType};
use std::fmt;

/// Why a patch was refused. The graph is as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PatchError {
    /// The graph was changed since the patch was begun.
    Stale,
    /// A value would change its type.
    Type(String),
    /// A graph output would lose its name or stand for two outputs.
    Output(String),
    /// A node that is to be erased is still read.
    StillRead(String),
    /// The rewrite would close a cycle through these nodes.
    Cycle(Vec<String>),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::Stale => f.write_str("the graph was changed since the patch was begun"),
            PatchError::Type(m) | PatchError::Output(m) | PatchError::StillRead(m) => f.write_str(m),
            PatchError::Cycle(nodes) => write!(f, "the rewrite closes a cycle through {}", nodes.join(", ")),
        }
    }
}

impl std::error::Error for PatchError {}

#[derive(Clone, Debug)]
enum Step {
    Const { name: String, tensor: Tensor },
    Region,
    Param { region: RegionId, name: String, ty: TensorType },
    Results { region: RegionId, results: Vec<ValueId> },
    Node { region: RegionId, spec: NodeSpec, types: Vec<TensorType> },
}

/// A rewrite being written.
pub struct Patch<'g> {
    g: &'g Graph,
    plan: Plan,
    /// Contents of the new values that are constants.
    tensors: Vec<Option<Tensor>>,
    regions: Vec<NewRegion>,
}

/// What is known of a new region.
#[derive(Clone, Debug, Default)]
struct NewRegion {
    params: Vec<ValueId>,
    results: Vec<ValueId>,
}

/// A finished rewrite of the graph that it was written for.
#[derive(Clone, Debug)]
pub struct Plan {
    base: (ValueId, NodeId, RegionId),
    /// Where new nodes go that are in no new region.
    home: RegionId,
    syms: Option<SymTable>,
    steps: Vec<Step>,
    replaced: Vec<(ValueId, ValueId)>,
    erased: Vec<NodeId>,
    /// Types of the new values, in order of their ids.
    types: Vec<TensorType>,
}

/// What an applied patch did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Nodes that were added and are still there.
    pub added: Vec<NodeId>,
    /// Nodes that were erased.
    pub erased: Vec<NodeId>,
    /// Nodes that read another value than before.
    pub readers: Vec<NodeId>,
}

impl<'g> Patch<'g> {
    /// Begins a rewrite in the main region.
    pub fn new(g: &'g Graph) -> Patch<'g> {
        Patch::in_region(g, g.main())
    }
    /// Begins a rewrite in the region that `n` stands in.
    pub fn at(g: &'g Graph, n: NodeId) -> Patch<'g> {
        Patch::in_region(g, g.node(n).region().unwrap_or(g.main()))
    }
    fn in_region(g: &'g Graph, home: RegionId) -> Patch<'g> {
        let plan = Plan {
            base: g.next_ids(),
            home,
            syms: None,
            steps: Vec::new(),
            replaced: Vec::new(),
            erased: Vec::new(),
            types: Vec::new(),
        };
        Patch { g, plan, tensors: Vec::new(), regions: Vec::new() }
    }
    /// The graph as it is.
    pub fn graph(&self) -> &'g Graph {
        self.g
    }
    fn push_value(&mut self, ty: TensorType, tensor: Option<Tensor>) -> ValueId {
        self.plan.types.push(ty);
        self.tensors.push(tensor);
        ValueId::new(self.plan.base.0.index() + self.tensors.len() - 1)
    }
    /// Type of a value, old or new.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.plan.new_type(self.g, v)
    }
    /// Contents of a value, old or new, if it is a constant.
    pub fn tensor(&self, v: ValueId) -> Option<&Tensor> {
        match v.index().checked_sub(self.plan.base.0.index()) {
            Some(i) => self.tensors.get(i).and_then(Option::as_ref),
            None => self.g.constant(v),
        }
    }
    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.plan.steps.push(Step::Const { name: name.to_string(), tensor: tensor.clone() });
        self.push_value(tensor.ty(), Some(tensor))
    }
    /// Adds an empty region, to be given to a node.
    pub fn region(&mut self) -> RegionId {
        self.plan.steps.push(Step::Region);
        self.regions.push(NewRegion::default());
        RegionId::new(self.plan.base.2.index() + self.regions.len() - 1)
    }
    /// Adds a parameter to a new region.
    pub fn param(&mut self, region: RegionId, name: &str, ty: TensorType) -> ValueId {
        self.plan.steps.push(Step::Param { region, name: name.to_string(), ty: ty.clone() });
        let v = self.push_value(ty, None);
        if let Some(r) = self.new_region_mut(region) {
            r.params.push(v);
        }
        v
    }
    fn new_region_mut(&mut self, r: RegionId) -> Option<&mut NewRegion> {
        r.index().checked_sub(self.plan.base.2.index()).and_then(|i| self.regions.get_mut(i))
    }
    /// Sets what a new region yields.
    pub fn results(&mut self, region: RegionId, results: Vec<ValueId>) {
        if let Some(r) = self.new_region_mut(region) {
            r.results = results.clone();
        }
        self.plan.steps.push(Step::Results { region, results });
    }
    /// Adds a node and returns its first output. Its type is inferred.
    pub fn node(&mut self, spec: NodeSpec) -> Result<ValueId, OpError> {
        self.nodes_in(self.plan.home, spec).map(|v| v[0])
    }
    /// Adds a node and returns its outputs. Their types are inferred.
    pub fn nodes(&mut self, spec: NodeSpec) -> Result<Vec<ValueId>, OpError> {
        self.nodes_in(self.plan.home, spec)
    }
    /// Adds a node to a new region.
    pub fn node_in(&mut self, region: RegionId, spec: NodeSpec) -> Result<ValueId, OpError> {
        self.nodes_in(region, spec).map(|v| v[0])
    }
    /// Adds a node to a new region and returns its outputs.
    pub fn nodes_in(&mut self, region: RegionId, spec: NodeSpec) -> Result<Vec<ValueId>, OpError> {
        let types = self.infer(&spec)?;
        if types.len() < spec.outputs.len() || spec.outputs.is_empty() {
            return Err(OpError::invalid(format!("{} has {} output(s)", spec.op.name, types.len())));
        }
        let outputs = types.iter().take(spec.outputs.len()).map(|ty| self.push_value(ty.clone(), None)).collect();
        self.plan.steps.push(Step::Node { region, spec, types });
        Ok(outputs)
    }
    fn infer(&mut self, spec: &NodeSpec) -> Result<Vec<TensorType>, OpError> {
        let inputs: Vec<_> = spec.inputs.iter().map(|v| v.map(|v| self.ty(v).clone())).collect();
        let consts: Vec<_> = spec.inputs.iter().map(|v| v.and_then(|v| self.tensor(v).cloned())).collect();
        let types = |vs: &[ValueId]| vs.iter().map(|&v| self.ty(v).clone()).collect();
        let sig =
            |&r: &RegionId| match r.index().checked_sub(self.plan.base.2.index()).and_then(|i| self.regions.get(i)) {
                Some(new) => RegionSig { params: types(&new.params), results: types(&new.results) },
                None => {
                    RegionSig { params: types(&self.g.region(r).params), results: types(self.g.region(r).results()) }
                }
            };
        let regions: Vec<_> = spec.regions.iter().map(sig).collect();
        let ctx = OpCtx {
            op: spec.op,
            attrs: &spec.attrs,
            inputs: &inputs,
            consts: &consts,
            num_outputs: spec.outputs.len(),
            outputs: &[],
            regions: &regions,
        };
        let syms = self.plan.syms.get_or_insert_with(|| self.g.syms.clone());
        ctx.infer(syms)
    }
    /// Makes all present readers of `old` read `new`. New nodes go on reading what they were told to.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.plan.replaced.push((old, new));
    }
    /// Erases a node whose outputs are replaced or not read. Nodes that lose their last reader go without asking.
    pub fn erase(&mut self, n: NodeId) {
        self.plan.erased.push(n);
    }
    /// The finished rewrite.
    pub fn finish(self) -> Plan {
        self.plan
    }
}

impl Plan {
    /// Number of new nodes.
    pub fn num_new_nodes(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, Step::Node { .. })).count()
    }
    /// Values that the rewrite replaces, each with what replaces it.
    pub fn replaced(&self) -> &[(ValueId, ValueId)] {
        &self.replaced
    }

    /// Carries out the whole rewrite, or refuses it and leaves the graph as it was.
    pub fn apply(self, g: &mut Graph) -> Result<Applied, PatchError> {
        self.check(g)?;
        let (at, in_order) = self.place(g);
        let backup = (!in_order).then(|| g.clone());
        let done = self.carry_out(g, at);
        if let Some(backup) = backup {
            let cycle = g.sort_region(g.main());
            let cycle = if cycle.is_empty() { g.sort_region(done.0) } else { cycle };
            if !cycle.is_empty() {
                let names = cycle.iter().map(|&n| g.node(n).name.clone()).collect();
                *g = backup;
                return Err(PatchError::Cycle(names));
            }
        }
        let (_, done, constants) = done;
        let done = sweep(g, done);
        rename_constants(g, constants);
        Ok(done)
    }

    /// Everything that can be told before the graph is touched.
    fn check(&self, g: &Graph) -> Result<(), PatchError> {
        if g.next_ids() != self.base {
            return Err(PatchError::Stale);
        }
        for &(old, new) in &self.replaced {
            let (have, want) = (self.new_type(g, new), g.ty(old));
            // What inference says of a new node may be less than is known. A value that was there already must have the
            // very shape, for a symbolic size may turn out to be 1 and to have been broadcast.
            let (exact, new_value) = (same_dims(&have.dims, &want.dims), new >= self.base.0);
            let same = have.dtype == want.dtype
                && have.layout == want.layout
                && (have.quant.is_none() || want.quant.is_none() || have.quant == want.quant)
                && (exact || (new_value && crate::verify::refines(have, want)));
            if !same {
                let text = format!(
                    "%{} is {} and cannot be replaced by {}",
                    g.value(old).name,
                    g.show_type(old),
                    have.show(self.syms.as_ref().unwrap_or(&g.syms))
                );
                return Err(PatchError::Type(text));
            }
            if g.is_output(old) && new < self.base.0 {
                let computed = matches!(g.value(new).def, Def::Node(n, _) if g.node(n).region() == Some(g.main()));
                if !computed || g.is_output(new) {
                    let text = format!("output %{} cannot take over from %{}", g.value(old).name, g.value(new).name);
                    return Err(PatchError::Output(text));
                }
            }
        }
        let replaced = |v: &ValueId| self.replaced.iter().any(|(old, _)| old == v);
        for &n in &self.erased {
            if let Some(v) = g.node(n).outputs().iter().find(|v| g.is_used(**v) && !replaced(v)) {
                return Err(PatchError::StillRead(format!("%{} is still read", g.value(*v).name)));
            }
        }
        Ok(())
    }

    fn new_type<'a>(&'a self, g: &'a Graph, v: ValueId) -> &'a TensorType {
        let new = v.index().checked_sub(self.base.0.index()).and_then(|i| self.types.get(i));
        new.unwrap_or_else(|| g.ty(v))
    }

    /// Where in its region the new nodes go, and whether the order holds then.
    fn place(&self, g: &Graph) -> (usize, bool) {
        let position = |n: NodeId| g.ancestor_in(self.home, n).and_then(|n| g.position(n));
        let end = g.region(self.home).nodes().len();
        let new = |v: &ValueId| *v >= self.base.0;
        let operands = self.steps.iter().flat_map(|s| match s {
            Step::Node { spec, .. } => spec.inputs.iter().flatten().copied().collect::<Vec<_>>(),
            Step::Results { results, .. } => results.clone(),
            _ => Vec::new(),
        });
        // After every operand of the new nodes, and after what takes over from something else.
        let sources = operands.chain(self.replaced.iter().map(|&(_, v)| v)).filter(|v| !new(v));
        let lowest = sources.filter_map(|v| g.producer(v).and_then(position)).map(|p| p + 1).max().unwrap_or(0);
        // Before every reader of what is replaced.
        let readers = self.replaced.iter().flat_map(|&(old, _)| g.value(old).users());
        let highest = readers.filter_map(|&n| position(n)).min().unwrap_or(end);
        let yielded_inside =
            self.replaced.iter().any(|&(old, _)| g.is_result(old) && !g.region(self.home).results().contains(&old));
        let wish =
            self.replaced.first().and_then(|&(old, _)| g.producer(old)).and_then(position).map_or(highest, |p| p + 1);
        if lowest <= highest { (wish.clamp(lowest, highest), !yielded_inside) } else { (lowest, false) }
    }

    /// Builds and rewires. Returns the home region, what happened, and the new constants with the names meant for them.
    fn carry_out(self, g: &mut Graph, mut at: usize) -> (RegionId, Applied, Vec<(ValueId, String)>) {
        let first_node = self.base.1;
        let mut done = Applied::default();
        let mut constants = Vec::new();
        if let Some(syms) = self.syms {
            g.syms = syms;
        }
        for step in self.steps {
            match step {
                Step::Const { name, tensor } => {
                    constants.push((g.add_const(&name, tensor), name));
                }
                Step::Region => {
                    g.new_region();
                }
                Step::Param { region, name, ty } => {
                    g.add_param(region, &name, ty);
                }
                Step::Results { region, results } => g.set_results(region, results),
                Step::Node { region, spec, types } => {
                    let outer = region == self.home;
                    let place = if outer { at } else { g.region(region).nodes().len() };
                    at += usize::from(outer);
                    done.added.push(g.insert_typed(region, place, spec, types));
                }
            }
        }
        for (old, new) in self.replaced {
            done.readers.extend(g.value(old).users().iter().copied().filter(|&n| n < first_node));
            hand_on(g, old, new, self.base);
            done.erased.extend(g.producer(old));
        }
        done.erased.extend(self.erased);
        (self.home, done, constants)
    }
}

/// Whether sizes are equal, or known in `have` where they are symbolic in `want`.
fn same_dims(have: &[Dim], want: &[Dim]) -> bool {
    have.len() == want.len()
        && have.iter().zip(want).all(|(h, w)| h == w || (h.known().is_some() && w.known().is_none()))
}

/// Makes `new` take the place of `old`: readers, what is known of the shape, quantisation, and the names.
fn hand_on(g: &mut Graph, old: ValueId, new: ValueId, (first_value, first_node, _): (ValueId, NodeId, RegionId)) {
    let known = |(&n, &o): (&Dim, &Dim)| if n.known().is_some() { n } else { o };
    let dims: Dims = g.ty(new).dims.iter().zip(&g.ty(old).dims).map(known).collect();
    let quant = g.ty(new).quant.clone().or_else(|| g.ty(old).quant.clone());
    let ty = TensorType { dims, quant, ..g.ty(new).clone() };
    g.set_type(new, ty);
    let was_output = g.is_output(old);
    g.replace_uses_if(old, new, |n| n < first_node);
    if new < first_value {
        return;
    }
    if !was_output {
        g.swap_names(old, new);
    }
    // A node that was given no name of its own is called as the one whose work it does.
    if let Def::Node(n, 0) = g.value(new).def
        && g.node(n).name == g.value(old).name
        && let Some(p) = g.producer(old)
    {
        let name = g.node(p).name.clone();
        g.rename_node(n, name);
    }
}

/// A new constant takes over the name meant for it from one that nobody reads any more: the weights of a convolution keep
/// their name when something is folded into them.
fn rename_constants(g: &mut Graph, constants: Vec<(ValueId, String)>) {
    for (v, name) in constants {
        if let Some(holder) = g.find_value(&name)
            && holder != v
            && matches!(g.value(holder).def, Def::Const(_))
            && !g.is_used(holder)
        {
            g.swap_names(holder, v);
        }
    }
}

/// Erases, from the given nodes upwards, what nobody reads. `done.erased` holds the candidates and then the erased.
fn sweep(g: &mut Graph, mut done: Applied) -> Applied {
    let mut candidates = std::mem::take(&mut done.erased);
    candidates.extend(&done.added);
    while let Some(n) = candidates.pop() {
        let node = g.node(n);
        if node.region().is_none() || node.outputs().iter().any(|&v| g.is_used(v)) {
            continue;
        }
        let mut operands: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
        let mut bodies: Vec<RegionId> = node.regions.to_vec();
        while let Some(r) = bodies.pop() {
            for &inner in g.region(r).nodes() {
                operands.extend(g.node(inner).inputs().iter().flatten());
                bodies.extend(&g.node(inner).regions);
            }
        }
        candidates.extend(operands.into_iter().filter_map(|v| g.producer(v)));
        g.erase_node(n);
        done.erased.push(n);
    }
    done.added.retain(|&n| g.node(n).region().is_some());
    done.readers.retain(|&n| g.node(n).region().is_some());
    done
}
