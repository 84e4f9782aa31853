//! One node: what it reads, the row of its op, and what a row's function has to work with.

pub(crate) use crate::build::op;

use super::model::Importer;
use super::scope::{Frame, Slot, domain};
use super::sort::node_name;
use super::table::{self, Convert};
use super::{attrs, tensor};
use crate::build::scalar;
use mnnc_ir::diag::{Diagnostic, Kind};
use mnnc_ir::{Attrs, DType, NodeSpec, OpDecl, OpError, Tensor, TensorType, ValueId};
use mnnc_schema::onnx::{AttributeProto, GraphProto, NodeProto};
use std::rc::Rc;

/// What a conversion gives: one value for each output of the node.
pub(crate) type Converted = Result<Vec<ValueId>, OpError>;

/// A node being converted.
pub(crate) struct NodeCx<'i, 's, 'n> {
    pub(crate) imp: &'i mut Importer<'s>,
    pub(crate) node: &'n NodeProto,
    frame: Rc<Frame>,
    /// Version of the operator set that the node's op belongs to.
    pub(crate) opset: i64,
    /// Inputs, absent ones `None`; trailing absent ones are cut off.
    pub(crate) inputs: Vec<Option<ValueId>>,
}

impl Importer<'_> {
    /// Imports a node. Whatever is wrong is recorded; `false` means that there is no point in going on.
    pub(crate) fn node(&mut self, node: &NodeProto) -> bool {
        self.count += 1;
        if self.count > self.build.limits.max_nodes {
            let max = self.build.limits.max_nodes;
            self.report(
                Diagnostic::bad_input(format!("the model has more than {max} nodes"))
                    .remedy("if the file is sound, raise the limit with --max-nodes"),
            );
            return false;
        }
        let before = self.findings.len();
        let mut inputs = Vec::with_capacity(node.input.len());
        let mut tainted = false;
        let mut unknown = false;
        for name in &node.input {
            inputs.push(match self.scopes.get(name) {
                _ if name.is_empty() => None,
                Some(Slot::Value(v)) => {
                    tainted |= self.tainted.contains(&v);
                    Some(v)
                }
                Some(Slot::Unknown) | None => {
                    unknown = true;
                    None
                }
            });
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let result = match self.convert(node, inputs.clone(), unknown) {
            Err(_) if unknown && self.findings.len() > before => Err(()),
            Err(e) => {
                // What follows from an earlier failure is not worth a line of its own.
                let follows = (unknown || tainted) && e.kind == mnnc_ir::decl::OpErrorKind::Invalid;
                if !follows && !e.message.is_empty() {
                    let mut d = self.about(node, &inputs, e.into());
                    if d.kind == Kind::Unsupported && table::find(domain(&node.domain), &node.op_type).is_none() {
                        d = d
                            .remedy("`mnnc ops` lists the operators that are; have the exporter spell it out in those");
                    }
                    self.report(d);
                }
                Err(())
            }
            Ok(values) => Ok(values),
        };
        match result {
            Ok(values) => self.bind_outputs(node, &values, tainted),
            Err(()) => self.stand_in(node),
        }
        self.check_stated(node);
        true
    }

    /// Completes a diagnostic with what it is about.
    pub(crate) fn about(&self, node: &NodeProto, inputs: &[Option<ValueId>], mut d: Diagnostic) -> Diagnostic {
        if d.node.is_some() {
            return d;
        }
        d.node = Some(node_name(node).to_string());
        d.op = Some(match domain(&node.domain) {
            "" => node.op_type.clone(),
            other => format!("{other}.{}", node.op_type),
        });
        d.shapes = inputs
            .iter()
            .flatten()
            .take(16)
            .map(|&v| {
                format!("{} {}", self.build.graph.value(v).name, self.build.graph.ty(v).show(&self.build.graph.syms))
            })
            .collect();
        d
    }

    fn convert(&mut self, node: &NodeProto, inputs: Vec<Option<ValueId>>, unknown: bool) -> Converted {
        let frame = self.frames.last().cloned().unwrap_or_default();
        let ops = domain(&node.domain);
        if let Some(f) = self.function(node) {
            return if unknown { silent() } else { self.inline(node, &f, inputs) };
        }
        let Some(opset) = frame.opsets.get(ops).copied().or(table::implied_version(ops)) else {
            return Err(OpError::invalid(format!("the model does not import operator set \"{ops}\"")));
        };
        let Some(row) = table::find(ops, &node.op_type) else {
            return Err(match table::is_known_domain(ops) {
                true => OpError::unsupported("this operator is not supported"),
                false => OpError::unsupported(format!("operators of domain \"{ops}\" are not supported")),
            });
        };
        // Known but without an IR op: said even when inputs are unknown.
        if let Convert::Plain(name) = row.convert {
            op(name)?;
        }
        if unknown {
            return silent();
        }
        let mut cx = NodeCx { imp: self, node, frame, opset, inputs };
        match row.convert {
            Convert::Plain(name) => cx.plain(name),
            Convert::With(f) => f(&mut cx),
        }
    }

    fn bind_outputs(&mut self, node: &NodeProto, values: &[ValueId], tainted: bool) {
        for (i, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            match values.get(i) {
                Some(&v) => {
                    if tainted {
                        self.tainted.insert(v);
                    }
                    self.scopes.bind(name, Slot::Value(v));
                }
                None => {
                    let e = Diagnostic::bad_input(format!(
                        "the node has {} outputs, its operator gives {}",
                        node.output.len(),
                        values.len()
                    ));
                    let d = self.about(node, &[], e);
                    self.report(d);
                    self.scopes.bind(name, Slot::Unknown);
                }
            }
        }
    }

    /// Binds the outputs of a node that failed: to stand-ins where the model states their types, so that the nodes
    /// behind it are looked at too.
    fn stand_in(&mut self, node: &NodeProto) {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            let slot = match self.stated_type(name) {
                Some(ty) => {
                    let scratch = *self.scratch.get_or_insert_with(|| self.build.graph.new_region());
                    let v = self.build.graph.add_param(scratch, "unknown", ty);
                    self.tainted.insert(v);
                    Slot::Value(v)
                }
                None => Slot::Unknown,
            };
            self.scopes.bind(name, slot);
        }
    }
}

/// A failure that has been reported already, or follows from one.
fn silent() -> Converted {
    Err(OpError::invalid(""))
}

impl NodeCx<'_, '_, '_> {
    // --- Reading ---------------------------------------------------------------------------------------------

    /// A required input.
    pub(crate) fn input(&self, i: usize) -> Result<ValueId, OpError> {
        self.opt(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }
    /// An input that may be absent.
    pub(crate) fn opt(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }
    /// Type of a value.
    pub(crate) fn ty(&self, v: ValueId) -> &TensorType {
        self.imp.build.graph.ty(v)
    }
    /// Rank of input `i`.
    pub(crate) fn rank(&self, i: usize) -> Result<usize, OpError> {
        Ok(self.ty(self.input(i)?).rank())
    }
    /// Element type of input `i`.
    pub(crate) fn dtype(&self, i: usize) -> Result<DType, OpError> {
        Ok(self.ty(self.input(i)?).dtype)
    }
    /// Value of input `i`, if it is a constant.
    pub(crate) fn constant(&self, i: usize) -> Option<&Tensor> {
        self.imp.build.graph.constant(self.opt(i)?)
    }
    /// An attribute, that of the enclosing function where this one refers to it.
    pub(crate) fn attr(&self, name: &str) -> Option<&AttributeProto> {
        let a = self.node.attribute.iter().find(|a| a.name == name)?;
        if a.ref_attr_name.is_empty() { Some(a) } else { self.frame.attributes.get(&a.ref_attr_name) }
    }
    /// An integer attribute.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, OpError> {
        self.attr(name).map(attrs::int).transpose()
    }
    /// A float attribute.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, OpError> {
        self.attr(name).map(attrs::float).transpose()
    }
    /// An integer-list attribute.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        self.attr(name).map(attrs::ints).transpose()
    }
    /// A float-list attribute.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, OpError> {
        self.attr(name).map(attrs::floats).transpose()
    }
    /// A text attribute.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, OpError> {
        self.attr(name).map(attrs::string).transpose()
    }
    /// A tensor attribute.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Option<Tensor>, OpError> {
        let Some(a) = self.attr(name) else { return Ok(None) };
        let Some(t) = &a.t else { return Err(OpError::invalid(format!("attribute {name} is not a tensor"))) };
        let mut t = t.clone();
        tensor::convert(&mut t, self.imp.source, &self.imp.build.limits).map(Some)
    }
    /// A sub-graph attribute.
    pub(crate) fn sub_graph(&self, name: &str) -> Result<GraphProto, OpError> {
        self.attr(name)
            .and_then(|a| a.g.clone())
            .ok_or_else(|| OpError::invalid(format!("attribute {name} is missing, or no graph")))
    }
    /// The node's attributes as those of `op`, but for those in `except`.
    ///
    /// # Errors
    /// If an attribute has the wrong type, or `op` has none of that name.
    pub(crate) fn attrs(&self, op: &'static OpDecl, except: &[&str]) -> Result<Attrs, OpError> {
        let mut out = Attrs::new();
        for a in &self.node.attribute {
            if except.contains(&a.name.as_str()) {
                continue;
            }
            let Some(value) = self.attr(&a.name) else { continue };
            let Some(decl) = op.attr(&a.name) else {
                return Err(OpError::unsupported(format!("attribute {} is not supported", a.name)));
            };
            out.set(decl.name, attrs::convert(value, decl.kind)?);
        }
        Ok(out)
    }
    /// Number of outputs that are asked for.
    pub(crate) fn num_outputs(&self) -> usize {
        self.node.output.iter().rposition(|n| !n.is_empty()).map_or(1, |i| i + 1)
    }

    // --- Building --------------------------------------------------------------------------------------------

    /// Adds a constant.
    pub(crate) fn add_const(&mut self, t: Tensor) -> ValueId {
        let name = format!("{}.const", node_name(self.node));
        self.imp.build.graph.add_const(&name, t)
    }
    /// Adds a vector of integers, as shapes and axes are.
    pub(crate) fn add_ints(&mut self, values: &[i64]) -> ValueId {
        self.add_const(Tensor::ints(values))
    }
    /// Adds a rank-0 constant of the element type of `like`.
    pub(crate) fn add_scalar(&mut self, value: f64, like: ValueId) -> Result<ValueId, OpError> {
        let t = scalar(value, self.ty(like).dtype)?;
        Ok(self.add_const(t))
    }
    /// Adds a node of one output between the model's own.
    pub(crate) fn emit(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId, OpError> {
        let op = op(name)?;
        let hint = format!("{}.{name}", node_name(self.node));
        let spec = NodeSpec::new(op, inputs.iter().copied()).attrs(attrs).named(hint.clone()).outputs([hint]);
        let out = self.imp.build.place(spec)?;
        out.first().copied().ok_or_else(|| OpError::invalid(format!("{name} gives no output")))
    }
    /// [`emit`](Self::emit) with operands that may be absent.
    pub(crate) fn emit_some(
        &mut self,
        name: &str,
        inputs: &[Option<ValueId>],
        attrs: Attrs,
    ) -> Result<ValueId, OpError> {
        let hint = format!("{}.{name}", node_name(self.node));
        let given = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let spec = NodeSpec {
            inputs: inputs[..given].to_vec(),
            ..NodeSpec::new(op(name)?, []).attrs(attrs).named(hint.clone())
        };
        let out = self.imp.build.place(spec.outputs([hint]))?;
        out.first().copied().ok_or_else(|| OpError::invalid(format!("{name} gives no output")))
    }
    /// Adds a node of several outputs between the model's own.
    pub(crate) fn emit_all(&mut self, name: &str, inputs: &[ValueId], outputs: usize) -> Result<Vec<ValueId>, OpError> {
        let hint = format!("{}.{name}", node_name(self.node));
        let names: Vec<String> = (0..outputs).map(|i| format!("{hint}.{i}")).collect();
        self.imp.build.place(NodeSpec::new(op(name)?, inputs.iter().copied()).named(hint).outputs(names))
    }
    /// Adds the node that bears the name and the outputs of the model's.
    pub(crate) fn finish(&mut self, name: &str, inputs: Vec<Option<ValueId>>, attrs: Attrs) -> Converted {
        self.finish_with(op(name)?, inputs, attrs, self.num_outputs(), Vec::new())
    }
    /// [`finish`](Self::finish) with regions and another number of outputs.
    pub(crate) fn finish_with(
        &mut self,
        op: &'static OpDecl,
        inputs: Vec<Option<ValueId>>,
        attrs: Attrs,
        outputs: usize,
        regions: Vec<mnnc_ir::RegionId>,
    ) -> Converted {
        let mut names = Vec::with_capacity(outputs);
        for i in 0..outputs {
            let onnx = self.node.output.get(i).map_or("", String::as_str);
            let name = self.imp.scopes.value_name(onnx);
            names.push(if name.is_empty() {
                format!("{}.{i}", node_name(self.node))
            } else {
                self.imp.build.claim(&name)
            });
        }
        let prefix = self.imp.scopes.top().prefix.clone();
        let spec =
            NodeSpec { op, name: format!("{prefix}{}", node_name(self.node)), attrs, inputs, outputs: names, regions };
        self.imp.build.place(spec)
    }
    /// [`finish`](Self::finish) with inputs that are all there.
    pub(crate) fn finish_all(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> Converted {
        self.finish(name, inputs.iter().copied().map(Some).collect(), attrs)
    }
    /// The node as it is: the same inputs, attributes of the same names.
    pub(crate) fn plain(&mut self, name: &str) -> Converted {
        let attrs = self.attrs(op(name)?, &[])?;
        self.finish(name, self.inputs.clone(), attrs)
    }
}
