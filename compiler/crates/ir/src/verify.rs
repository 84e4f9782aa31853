//! Checks the invariants of a graph and collects every breach.
//!
//! # What is checked
//! * every value read is defined once, before its use, in the same region or an enclosing one;
//! * names of live values are unique and found by name; the lists of readers agree with what nodes read;
//! * attributes are declared and of the declared kind; operands fit the declaration in number and element type;
//! * recorded output types are those that the op infers, or refinements of them;
//! * constants have the type of their tensor; graph outputs exist; bodies belong to the node that holds them.

use crate::decl::{Arity, OpDecl, Operand};
use crate::dim::Dim;
use crate::entity::SecondaryMap;
use crate::graph::{Def, Graph, NodeId, RegionId, ValueId};
use crate::types::TensorType;
use std::collections::HashMap;
use std::fmt;

/// One breach of an invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// The node that it is found at.
    pub node: Option<NodeId>,
    /// That node as a line of text.
    pub line: String,
    /// What is wrong.
    pub message: String,
}

/// Everything that is wrong with a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyErrors(pub Vec<VerifyError>);

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the graph breaks {} rule(s) of the IR:", self.0.len())?;
        for e in &self.0 {
            if !e.line.is_empty() {
                writeln!(f, "  {}", e.line)?;
            }
            writeln!(f, "    ^ {}", e.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for VerifyErrors {}

impl Graph {
    /// Checks all invariants. Inference may intern new symbolic sizes, which is why the graph is copied for it.
    pub fn verify(&self) -> Result<(), VerifyErrors> {
        let mut v = Verifier {
            g: self,
            scratch: self.syms.clone(),
            errors: Vec::new(),
            seen: SecondaryMap::new(),
            reads: HashMap::new(),
        };
        v.run();
        if v.errors.is_empty() { Ok(()) } else { Err(VerifyErrors(v.errors)) }
    }
}

struct Verifier<'a> {
    g: &'a Graph,
    scratch: crate::dim::SymTable,
    errors: Vec<VerifyError>,
    /// Values defined on the way to the current node. A body's values go out of scope with it.
    seen: SecondaryMap<ValueId, bool>,
    /// How often each node reads each value.
    reads: HashMap<(ValueId, NodeId), usize>,
}

impl Verifier<'_> {
    fn error(&mut self, node: Option<NodeId>, message: String) {
        let line = node.map_or(String::new(), |n| self.g.show_node(n));
        self.errors.push(VerifyError { node, line, message });
    }
    fn name(&self, v: ValueId) -> &str {
        &self.g.value(v).name
    }

    fn run(&mut self) {
        let g = self.g;
        for (i, &v) in g.inputs().iter().enumerate() {
            if g.value(v).def != Def::Input(i) {
                self.error(None, format!("%{} is listed as graph input {i} but defined otherwise", self.name(v)));
            }
            self.seen[v] = true;
        }
        for (v, value) in g.values() {
            if let Def::Const(c) = value.def {
                self.seen[v] = true;
                let (have, want) = (g.consts().get(c).tensor.ty(), &value.ty);
                if have.dtype != want.dtype || have.dims != want.dims {
                    let text =
                        format!("constant %{} of type {} holds {}", value.name, g.show_type(v), have.show(&g.syms));
                    self.error(None, text);
                }
            }
        }
        self.region(g.main(), 0);
        self.names_and_readers();
    }

    fn region(&mut self, r: RegionId, depth: usize) {
        let region = self.g.region(r);
        let mut scope = Vec::new();
        for (i, &p) in region.params.iter().enumerate() {
            if self.g.value(p).def != Def::Param(r, i) {
                self.error(
                    region.owner(),
                    format!("%{} is listed as parameter {i} but defined otherwise", self.name(p)),
                );
            }
            self.define(region.owner(), p, &mut scope);
        }
        for &n in region.nodes() {
            self.node(r, n, depth);
            for (i, &v) in self.g.node(n).outputs().iter().enumerate() {
                if self.g.value(v).def != Def::Node(n, i) {
                    self.error(Some(n), format!("output {i} %{} is defined otherwise", self.name(v)));
                }
                self.define(Some(n), v, &mut scope);
            }
        }
        for &v in region.results() {
            if !self.seen[v] {
                self.error(region.owner(), format!("yields %{}, which is not defined there", self.name(v)));
            }
        }
        for v in scope {
            self.seen[v] = false;
        }
    }
    fn define(&mut self, n: Option<NodeId>, v: ValueId, scope: &mut Vec<ValueId>) {
        if self.seen[v] {
            self.error(n, format!("%{} is defined twice", self.name(v)));
        }
        self.seen[v] = true;
        scope.push(v);
    }

    fn node(&mut self, r: RegionId, n: NodeId, depth: usize) {
        let node = self.g.node(n);
        if node.region() != Some(r) {
            self.error(Some(n), format!("stands in {r:?} but is recorded in {:?}", node.region()));
        }
        for v in node.inputs().iter().flatten() {
            *self.reads.entry((*v, n)).or_default() += 1;
            if !self.seen[*v] {
                self.error(
                    Some(n),
                    format!("reads %{}, which is not defined before it in this or an enclosing region", self.name(*v)),
                );
            }
        }
        self.attrs(n, node.op);
        let sound = self.operands(n, node.op);
        if node.regions.len() != node.op.regions {
            self.error(
                Some(n),
                format!("{} takes {} bodies, not {}", node.op.name, node.op.regions, node.regions.len()),
            );
        }
        for &body in &node.regions {
            if self.g.region(body).owner() != Some(n) {
                self.error(Some(n), format!("holds {body:?}, which belongs to another node"));
            }
            self.region(body, depth + 1);
        }
        if sound {
            self.types(n);
        }
    }

    fn attrs(&mut self, n: NodeId, op: &'static OpDecl) {
        for (name, value) in self.g.node(n).attrs.iter() {
            match op.attr(name) {
                None => self.error(Some(n), format!("{} declares no attribute `{name}`", op.name)),
                Some(d) if d.kind != value.kind() => {
                    self.error(Some(n), format!("attribute `{name}` is {:?}, declared {:?}", value.kind(), d.kind));
                }
                Some(_) => {}
            }
        }
    }

    fn operands(&mut self, n: NodeId, op: &'static OpDecl) -> bool {
        let (node, before) = (self.g.node(n), self.errors.len());
        self.operand_list(n, "input", op.inputs, node.inputs());
        let outputs: Vec<Option<ValueId>> = node.outputs().iter().map(|&v| Some(v)).collect();
        self.operand_list(n, "output", op.outputs, &outputs);
        self.errors.len() == before
    }
    fn operand_list(&mut self, n: NodeId, what: &str, list: &'static [Operand], values: &[Option<ValueId>]) {
        for (i, v) in values.iter().enumerate() {
            match (OpDecl::operand(list, i), v) {
                (None, _) => self.error(Some(n), format!("{what} {i} is one too many")),
                (Some(o), Some(v)) if !o.dtypes.has(self.g.ty(*v).dtype) => {
                    self.error(Some(n), format!("{what} {i} ({}) cannot be {}", o.name, self.g.ty(*v).dtype));
                }
                (Some(o), None) if o.arity == Arity::Required => {
                    self.error(Some(n), format!("{what} {i} ({}) is missing", o.name));
                }
                _ => {}
            }
        }
        // Outputs at the end may be left out: nobody reads them.
        let required = list.iter().take_while(|o| o.arity == Arity::Required).count();
        let needed = if what == "output" { required.min(1) } else { required };
        if values.len() < needed {
            self.error(Some(n), format!("{what} {} ({}) is missing", values.len(), list[values.len()].name));
        }
    }

    fn types(&mut self, n: NodeId) {
        let node = self.g.node(n);
        let facts = self.g.facts(n);
        let mut ctx = facts.of(node);
        ctx.outputs = &[];
        match (node.op.infer)(&ctx, &mut self.scratch) {
            Err(e) => self.error(Some(n), e.to_string()),
            Ok(types) if types.len() < node.outputs().len() => {
                self.error(Some(n), format!("has {} outputs, the op {}", node.outputs().len(), types.len()));
            }
            Ok(types) => {
                for (&v, want) in node.outputs().iter().zip(&types) {
                    if !refines(self.g.ty(v), want) {
                        let text = format!(
                            "%{} is {}, inferred {}",
                            self.name(v),
                            self.g.show_type(v),
                            want.show(&self.scratch)
                        );
                        self.error(Some(n), text);
                    }
                }
            }
        }
    }

    fn names_and_readers(&mut self) {
        let g = self.g;
        for (v, value) in g.values() {
            let Some(_) = g.home(v) else { continue };
            if let Def::Node(n, i) = value.def
                && g.node(n).outputs().get(i) != Some(&v)
            {
                self.error(Some(n), format!("%{} claims to be output {i}", value.name));
            }
            if g.is_used(v) && g.find_value(&value.name) != Some(v) {
                self.error(None, format!("the name %{} does not lead to its value", value.name));
            }
            let mut listed: HashMap<NodeId, usize> = HashMap::new();
            for &u in value.users() {
                *listed.entry(u).or_default() += 1;
            }
            for (u, count) in listed {
                let reads = self.reads.remove(&(v, u)).unwrap_or(0);
                if reads != count {
                    self.error(
                        Some(u),
                        format!("is listed {count} time(s) as reader of %{}, reads it {reads} time(s)", value.name),
                    );
                }
            }
        }
        let mut missing: Vec<_> = std::mem::take(&mut self.reads).into_keys().collect();
        missing.sort();
        for (v, n) in missing {
            self.error(Some(n), format!("reads %{} without being listed as its reader", self.name(v)));
        }
    }
}

/// Whether a value of type `have` can stand where `want` was inferred: equal where both are known. Sizes that are
/// symbolic on either side are taken to agree, because a pass may know more than inference. Layout and quantisation are the
/// compiler's own and no op infers them.
pub fn refines(have: &TensorType, want: &TensorType) -> bool {
    let sizes = |(a, b): (&Dim, &Dim)| a.known().is_none() || b.known().is_none() || a == b;
    have.dtype == want.dtype && have.rank() == want.rank() && have.dims.iter().zip(&want.dims).all(sizes)
}
