//! Names in sight: those of the graph, of enclosing graphs, and of the function being inlined.

use mnnc_ir::ValueId;
use mnnc_schema::onnx::{AttributeProto, OperatorSetIdProto, TypeProto};
use std::collections::HashMap;

/// What a name stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    /// A value.
    Value(ValueId),
    /// The result of a node that could not be imported.
    Unknown,
}

/// The names of one graph, or of one function body.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) slots: HashMap<String, Slot>,
    /// Types that the model states for its values, to be compared with those inferred.
    pub(crate) stated: HashMap<String, TypeProto>,
    /// Prefix for the names of values, empty in the main graph.
    pub(crate) prefix: String,
    /// Values whose names are given: a function's outputs bear the caller's.
    pub(crate) renamed: HashMap<String, String>,
    /// Whether the scopes below are out of sight.
    pub(crate) opaque: bool,
}

/// What a body is written in: the versions of its operator sets, and the attributes of the function it belongs to.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) opsets: HashMap<String, i64>,
    pub(crate) attributes: HashMap<String, AttributeProto>,
}

/// `""` and `ai.onnx` are the same domain.
pub(crate) fn domain(d: &str) -> &str {
    if d == "ai.onnx" { "" } else { d }
}

impl Frame {
    pub(crate) fn new(imports: &[OperatorSetIdProto]) -> Frame {
        let opsets = imports.iter().map(|o| (domain(&o.domain).to_string(), o.version)).collect();
        Frame { opsets, attributes: HashMap::new() }
    }
}

/// The stack of scopes.
#[derive(Default)]
pub(crate) struct Scopes(Vec<Scope>);

impl Scopes {
    pub(crate) fn push(&mut self, s: Scope) {
        self.0.push(s);
    }
    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }
    /// The innermost scope; the first call makes one.
    pub(crate) fn top(&mut self) -> &mut Scope {
        if self.0.is_empty() {
            self.0.push(Scope::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
    /// What a name stands for here.
    pub(crate) fn get(&self, name: &str) -> Option<Slot> {
        for s in self.0.iter().rev() {
            if let Some(&slot) = s.slots.get(name) {
                return Some(slot);
            }
            if s.opaque {
                return None;
            }
        }
        None
    }
    /// Gives a name of the innermost scope its meaning.
    pub(crate) fn bind(&mut self, name: &str, slot: Slot) {
        self.top().slots.insert(name.to_string(), slot);
    }
    /// The name that a value gets in the graph.
    pub(crate) fn value_name(&mut self, name: &str) -> String {
        let top = self.top();
        match top.renamed.get(name) {
            Some(n) => n.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", top.prefix),
        }
    }
}
