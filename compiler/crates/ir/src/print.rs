//! The text form of a graph. [`crate::parse`] reads it back to an equal graph.
//!
//! ```text
//! graph "tiny" {
//!   input %x: f32[1x3x8x8]
//!   const %w: f32[4x3x3x3] = #93f1c2a07be1d004
//!   const %axes: i64[2] = #51aa09c2e07b1d00  // [2, 3]
//!   %c: f32[1x4x8x8] = conv(%x, %w) {pads = [1, 1, 1, 1]} @"stem/conv"
//!   %y: f32[1x4x8x8] = fused(%c) region(%p: f32[1x4x8x8]) {
//!     %r: f32[1x4x8x8] = relu(%p)
//!     yield %r
//!   }
//!   output %y
//! }
//! ```
//!
//! Only live constants are printed, and never their bytes: they are named by hash. With
//! [`PrintOptions::literals`] small ones are written out instead, so that the text stands alone.

use crate::attr::Attr;
use crate::dtype::DType;
use crate::graph::{Def, Graph, NodeId, RegionId, ValueId};
use crate::tensor::Tensor;
use crate::text;
use std::fmt;

/// What the printer shows.
#[derive(Copy, Clone, Debug, Default)]
pub struct PrintOptions {
    /// Write constants of up to this many elements, and those whose elements are all equal, as literals.
    pub literals: Option<usize>,
}

/// Constants of up to this many elements are shown in a comment.
const SHOWN_ELEMENTS: usize = 8;

impl Graph {
    /// The text form with default options.
    pub fn to_text(&self) -> String {
        self.print(PrintOptions::default())
    }
    /// The text form.
    pub fn print(&self, options: PrintOptions) -> String {
        let mut p = Printer { g: self, out: String::new(), options };
        p.graph();
        p.out
    }
    /// One node as a line of the text form, bodies left out.
    pub fn show_node(&self, n: NodeId) -> String {
        let mut p = Printer { g: self, out: String::new(), options: PrintOptions::default() };
        p.head(n);
        p.out
    }
    /// Type of a value as text.
    pub fn show_type(&self, v: ValueId) -> String {
        self.value(v).ty.show(&self.syms)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

struct Printer<'a> {
    g: &'a Graph,
    out: String,
    options: PrintOptions,
}

impl Printer<'_> {
    fn graph(&mut self) {
        let g = self.g;
        self.out += &format!("graph {} {{\n", text::quote(&g.name));
        for (k, v) in &g.metadata {
            self.out += &format!("  meta {} = {}\n", text::quote(k), text::quote(v));
        }
        for &v in g.inputs() {
            self.out += &format!("  input {}\n", self.typed(v));
        }
        for (v, value) in g.values() {
            if let (Def::Const(c), true) = (value.def, g.is_used(v)) {
                let c = g.consts().get(c);
                let text =
                    self.literal(&c.tensor).unwrap_or_else(|| format!("#{}{}", c.short_hash(), comment(&c.tensor)));
                self.out += &format!("  const {} = {text}\n", self.typed(v));
            }
        }
        for &n in g.schedule() {
            self.node(n, 1);
        }
        let outputs: Vec<String> = g.outputs().iter().map(|&v| self.value(Some(v))).collect();
        self.out += &format!("  output {}\n}}\n", outputs.join(", "));
    }

    fn literal(&self, t: &Tensor) -> Option<String> {
        let max = self.options.literals?;
        let first = t.bytes().chunks_exact(t.dtype().size()).next();
        let uniform = t.len() > 1 && t.bytes().chunks_exact(t.dtype().size()).all(|e| Some(e) == first);
        if uniform {
            Some(format!("splat({})", text::element(t, 0)))
        } else {
            (t.len() <= max).then(|| format!("dense[{}]", elements(t)))
        }
    }

    fn node(&mut self, n: NodeId, depth: usize) {
        self.indent(depth);
        self.head(n);
        for &r in &self.g.node(n).regions {
            self.region(r, depth);
        }
        self.out.push('\n');
    }

    fn head(&mut self, n: NodeId) {
        let node = self.g.node(n);
        let outputs: Vec<String> = node.outputs().iter().map(|&v| self.typed(v)).collect();
        let inputs: Vec<String> = node.inputs().iter().map(|&v| self.value(v)).collect();
        self.out += &format!("{} = {}({})", outputs.join(", "), node.op.name, inputs.join(", "));
        if !node.attrs.is_empty() {
            let attrs: Vec<String> = node.attrs.iter().map(|(k, v)| format!("{k} = {}", attr(v))).collect();
            self.out += &format!(" {{{}}}", attrs.join(", "));
        }
        if node.outputs().first().is_none_or(|&v| self.g.value(v).name != node.name) {
            self.out += &format!(" @{}", text::quote(&node.name));
        }
    }

    fn region(&mut self, r: RegionId, depth: usize) {
        let region = self.g.region(r);
        let params: Vec<String> = region.params.iter().map(|&v| self.typed(v)).collect();
        self.out += &format!(" region({}) {{\n", params.join(", "));
        for &n in region.nodes() {
            self.node(n, depth + 1);
        }
        self.indent(depth + 1);
        let results: Vec<String> = region.results().iter().map(|&v| self.value(Some(v))).collect();
        self.out += &format!("yield {}\n", results.join(", "));
        self.indent(depth);
        self.out.push('}');
    }

    fn indent(&mut self, depth: usize) {
        self.out += &"  ".repeat(depth);
    }
    fn value(&self, v: Option<ValueId>) -> String {
        v.map_or("_".to_string(), |v| format!("%{}", text::name(&self.g.value(v).name)))
    }
    fn typed(&self, v: ValueId) -> String {
        format!("{}: {}", self.value(Some(v)), self.g.show_type(v))
    }
}

fn elements(t: &Tensor) -> String {
    (0..t.len()).map(|i| text::element(t, i)).collect::<Vec<_>>().join(", ")
}

fn comment(t: &Tensor) -> String {
    if t.len() <= SHOWN_ELEMENTS { format!("  // [{}]", elements(t)) } else { String::new() }
}

/// An attribute value as text; the declaration tells the parser which kind it is.
fn attr(a: &Attr) -> String {
    fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
        format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", "))
    }
    match a {
        Attr::Int(x) => x.to_string(),
        Attr::Float(x) => text::float(*x),
        Attr::Bool(x) => x.to_string(),
        Attr::Str(x) => text::quote(x),
        Attr::DType(x) => DType::name(*x).to_string(),
        Attr::Ints(x) => list(x, i64::to_string),
        Attr::Floats(x) => list(x, |&f| text::float(f)),
        Attr::Strs(x) => list(x, |s| text::quote(s)),
    }
}
