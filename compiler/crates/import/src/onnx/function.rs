//! Functions that a model brings along: a call is replaced by the body.

use super::model::Importer;
use super::node::Converted;
use super::scope::{Frame, Scope, Slot, domain};
use super::sort::node_name;
use mnnc_ir::{OpError, ValueId};
use mnnc_schema::onnx::{FunctionProto, NodeProto};
use std::rc::Rc;

impl Importer<'_> {
    /// The function that a node calls.
    pub(crate) fn function(&self, node: &NodeProto) -> Option<Rc<FunctionProto>> {
        if self.functions.is_empty() {
            return None;
        }
        let key = (domain(&node.domain).to_string(), node.op_type.clone(), node.overload.clone());
        self.functions.get(&key).cloned()
    }

    /// Imports the body of `f` in place of `node`.
    pub(crate) fn inline(&mut self, node: &NodeProto, f: &FunctionProto, inputs: Vec<Option<ValueId>>) -> Converted {
        if inputs.len() > f.input.len() || node.output.len() > f.output.len() {
            return Err(OpError::invalid(format!(
                "function {} takes {} inputs and gives {} outputs, the call has {} and {}",
                f.name,
                f.input.len(),
                f.output.len(),
                inputs.len(),
                node.output.len()
            )));
        }
        self.enter()?;
        let frame = self.frame_of(node, f);
        let before = self.findings.len();
        let mut scope = Scope { opaque: true, ..Scope::default() };
        scope.prefix = format!("{}{}/", self.scopes.top().prefix, node_name(node));
        for (i, name) in f.input.iter().enumerate() {
            match inputs.get(i).copied().flatten() {
                Some(v) => scope.slots.insert(name.clone(), Slot::Value(v)),
                None => None,
            };
        }
        for (inner, outer) in f.output.iter().zip(&node.output).filter(|(_, o)| !o.is_empty()) {
            let outer = self.scopes.value_name(outer);
            scope.renamed.insert(inner.clone(), outer);
        }
        self.scopes.push(scope);
        self.frames.push(Rc::new(frame));
        // Inside a function, the name of an input that the call leaves out stands for an absent one.
        let body = without_absent(f, inputs.len(), &inputs);
        self.nodes(&body);
        let outputs = f
            .output
            .iter()
            .take(node.output.len())
            .map(|name| match self.scopes.get(name) {
                Some(Slot::Value(v)) => Ok(v),
                Some(Slot::Unknown) => Err(OpError::invalid("")),
                None => Err(OpError::invalid(format!("output {name} of function {} is not defined", f.name))),
            })
            .collect();
        self.frames.pop();
        self.scopes.pop();
        self.depth -= 1;
        if self.findings.len() > before { Err(OpError::invalid("")) } else { outputs }
    }

    /// Attributes given, else their defaults; values that refer to the caller's own are looked up there.
    fn frame_of(&self, node: &NodeProto, f: &FunctionProto) -> Frame {
        let mut frame = Frame::new(&f.opset_import);
        let caller = self.frames.last();
        for a in &f.attribute_proto {
            frame.attributes.insert(a.name.clone(), a.clone());
        }
        for a in &node.attribute {
            let given = match a.ref_attr_name.is_empty() {
                true => Some(a.clone()),
                false => caller.and_then(|c| c.attributes.get(&a.ref_attr_name)).cloned(),
            };
            if let Some(value) = given {
                frame.attributes.insert(a.name.clone(), value);
            }
        }
        frame
    }
}

/// The nodes of `f` with the names of absent inputs blanked.
fn without_absent(f: &FunctionProto, given: usize, inputs: &[Option<ValueId>]) -> Vec<NodeProto> {
    let absent: Vec<&String> =
        f.input.iter().enumerate().filter(|(i, _)| *i >= given || inputs[*i].is_none()).map(|(_, n)| n).collect();
    let mut nodes = f.node.clone();
    if !absent.is_empty() {
        for name in nodes.iter_mut().flat_map(|n| &mut n.input) {
            if absent.contains(&&*name) {
                name.clear();
            }
        }
    }
    nodes
}
