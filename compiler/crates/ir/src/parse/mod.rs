//! Reads the text form of a graph ([`crate::print`]).
//!
//! For tests and tools the text may be terser than what is printed: a node's output types may be left out (they are
//! inferred), and constants may be literals: `zeros`, `splat(0.5)`, `dense[1, 2]`, `iota`, `random(7)`.

mod cursor;
mod types;

use crate::attr::Attrs;
use crate::constant::ConstPool;
use crate::decl::OpDecl;
use crate::graph::{Graph, NodeSpec, RegionId, ValueId};
use crate::types::TensorType;
use cursor::Cursor;
use std::fmt;

/// What is wrong with the text, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong. No full stop.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

type Result<T> = std::result::Result<T, ParseError>;

/// Finds an op by its name.
pub type Catalogue<'a> = dyn Fn(&str) -> Option<&'static OpDecl> + 'a;

/// Bodies may nest no deeper than this.
const MAX_DEPTH: usize = 64;

/// Parses the text of a graph. Hashes of constants are looked up in `consts`.
pub fn parse_graph(text: &str, ops: &Catalogue, consts: &ConstPool) -> Result<Graph> {
    let mut p = Parser { c: Cursor::new(text), g: Graph::new(""), ops, consts };
    p.graph()?;
    Ok(p.g)
}

struct Parser<'a> {
    c: Cursor<'a>,
    g: Graph,
    ops: &'a Catalogue<'a>,
    consts: &'a ConstPool,
}

/// A value that is being defined: its name, where it stands, and its type if that is given.
struct Defined {
    name: String,
    at: usize,
    ty: Option<TensorType>,
}

impl Parser<'_> {
    fn graph(&mut self) -> Result<()> {
        self.c.expect("graph")?;
        self.g.name = self.c.string()?;
        self.c.expect("{")?;
        while self.c.eat("meta") {
            let key = self.c.string()?;
            self.c.expect("=")?;
            let value = self.c.string()?;
            self.g.metadata.insert(key, value);
        }
        loop {
            if self.c.eat("input") {
                let (name, ty) = self.typed()?;
                self.g.add_input(&name, ty);
            } else if self.c.eat("const") {
                self.constant()?;
            } else if self.c.eat("output") {
                break;
            } else {
                self.node(self.g.main(), 0)?;
            }
        }
        let results = self.operands("}")?;
        self.g.set_results(self.g.main(), results);
        self.c.expect("}")?;
        if self.c.at_end() { Ok(()) } else { Err(self.c.error("text after the graph")) }
    }

    /// `%name`, optionally with `: type`, that must be new.
    fn defined(&mut self) -> Result<Defined> {
        let at = self.c.offset();
        self.c.expect("%")?;
        let name = self.c.name()?;
        if self.g.find_value(&name).is_some() {
            return Err(self.c.error_at(at, format!("%{name} is defined twice")));
        }
        let ty = if self.c.eat(":") { Some(types::tensor_type(&mut self.c, &mut self.g.syms)?) } else { None };
        Ok(Defined { name, at, ty })
    }
    fn typed(&mut self) -> Result<(String, TensorType)> {
        let d = self.defined()?;
        let ty = d.ty.ok_or_else(|| self.c.error_at(d.at, format!("%{} needs a type", d.name)))?;
        Ok((d.name, ty))
    }

    fn constant(&mut self) -> Result<()> {
        let (name, ty) = self.typed()?;
        self.c.expect("=")?;
        let at = self.c.offset();
        let tensor = if self.c.eat("#") {
            let hash = self.c.ident()?;
            let id = self.consts.find_short(hash);
            let id = id.ok_or_else(|| self.c.error_at(at, format!("no constant #{hash} is known")))?;
            self.consts.get(id).tensor.clone()
        } else {
            types::literal(&mut self.c, &ty)?
        };
        if tensor.ty() != (TensorType { quant: None, ..ty.clone() }) {
            return Err(self.c.error_at(at, format!("the constant is {}", tensor.ty().show(&self.g.syms))));
        }
        let v = self.g.add_const(&name, tensor);
        self.g.set_type(v, ty);
        Ok(())
    }

    /// `%a, %b` up to `end`, which is left.
    fn operands(&mut self, end: &str) -> Result<Vec<ValueId>> {
        let mut out = Vec::new();
        while !self.c.peek().is_some_and(|c| end.starts_with(c)) {
            out.push(self.operand()?);
            if !self.c.eat(",") {
                break;
            }
        }
        Ok(out)
    }
    fn operand(&mut self) -> Result<ValueId> {
        let at = self.c.offset();
        self.c.expect("%")?;
        let name = self.c.name()?;
        self.g.find_value(&name).ok_or_else(|| self.c.error_at(at, format!("%{name} is not defined")))
    }

    fn node(&mut self, r: RegionId, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.c.error("bodies nested too deeply"));
        }
        let mut outputs = Vec::new();
        while self.c.peek() == Some('%') {
            let d = self.defined()?;
            if outputs.iter().any(|o: &Defined| o.name == d.name) {
                return Err(self.c.error_at(d.at, format!("%{} is defined twice", d.name)));
            }
            outputs.push(d);
            if !self.c.eat(",") {
                break;
            }
        }
        if outputs.is_empty() {
            return Err(self.c.error("expected a node, `input`, `const`, `output` or `yield`"));
        }
        self.c.expect("=")?;
        let at = self.c.offset();
        let name = self.c.ident()?;
        let op = (self.ops)(name).ok_or_else(|| self.c.error_at(at, format!("`{name}` is no op")))?;
        self.c.expect("(")?;
        let mut inputs = Vec::new();
        while !self.c.eat(")") {
            inputs.push(if self.c.eat("_") { None } else { Some(self.operand()?) });
            if !self.c.eat(",") {
                self.c.expect(")")?;
                break;
            }
        }
        let attrs = self.attrs(op)?;
        let node_name = if self.c.eat("@") { self.c.string()? } else { String::new() };
        let mut regions = Vec::new();
        while self.c.eat("region") {
            regions.push(self.region(depth)?);
        }
        let names = outputs.iter().map(|o| o.name.clone()).collect();
        let spec = NodeSpec { op, name: node_name, attrs, inputs, outputs: names, regions };
        let types = if outputs.iter().all(|o| o.ty.is_some()) {
            outputs.into_iter().filter_map(|o| o.ty).collect()
        } else {
            // A new region's owner is not set yet, but inference reads only its types.
            let inferred = self.g.infer(&spec).map_err(|e| self.c.error_at(at, format!("{}: {e}", op.name)))?;
            if inferred.len() < outputs.len() {
                return Err(self.c.error_at(at, format!("{} has {} output(s)", op.name, inferred.len())));
            }
            outputs.into_iter().zip(inferred).map(|(o, t)| o.ty.unwrap_or(t)).collect()
        };
        let end = self.g.region(r).nodes().len();
        self.g.insert_typed(r, end, spec, types);
        Ok(())
    }

    fn attrs(&mut self, op: &'static OpDecl) -> Result<Attrs> {
        let mut attrs = Attrs::new();
        if self.c.peek() != Some('{') {
            return Ok(attrs);
        }
        let items = self.c.list("{", "}", |c| {
            let at = c.offset();
            let name = c.ident()?;
            let decl = op.attr(name).ok_or_else(|| c.error_at(at, format!("{} has no attribute `{name}`", op.name)))?;
            c.expect("=")?;
            Ok((decl.name, types::attr(c, decl.kind)?))
        })?;
        for (name, value) in items {
            attrs.set(name, value);
        }
        Ok(attrs)
    }

    fn region(&mut self, depth: usize) -> Result<RegionId> {
        let r = self.g.new_region();
        self.c.expect("(")?;
        while !self.c.eat(")") {
            let (name, ty) = self.typed()?;
            self.g.add_param(r, &name, ty);
            if !self.c.eat(",") {
                self.c.expect(")")?;
                break;
            }
        }
        self.c.expect("{")?;
        while !self.c.eat("yield") {
            self.node(r, depth + 1)?;
        }
        let results = self.operands("}")?;
        self.g.set_results(r, results);
        self.c.expect("}")?;
        Ok(r)
    }
}
