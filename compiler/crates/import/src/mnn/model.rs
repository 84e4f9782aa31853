//! The whole file: verified bytes in, graph out.

use super::activation::Scales;
use super::format::Format;
use super::op::{OpCx, TensorId};
use super::table;
use super::tensor;
use crate::build::Builder;
use crate::source::Source;
use crate::{ImportOptions, Imported, Rounding, Warning};
use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::diag::{Diagnostic, Diagnostics};
use mnnc_ir::{Def, Dim, Graph, OpError, TensorType, ValueId};
use mnnc_schema::mnn::{self, Input, Net, Op, OpType, Usage};
use std::collections::{HashMap, HashSet};

/// What stands for a tensor of the file.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) enum Slot {
    /// No op has made it so far.
    Unmade,
    /// Made.
    Value(ValueId, Format),
    /// The op that makes it could not be read, or one that this follows from.
    Failed,
}

/// Everything that an import builds up.
pub(crate) struct Importer<'a> {
    pub(crate) build: Builder,
    pub(crate) source: &'a mut Source,
    /// The model's bytes, which the views of it borrow.
    pub(crate) file: mnnc_schema::onnx::Bytes,
    pub(crate) slots: Vec<Slot>,
    /// Quantisation of activations.
    pub(crate) scales: Scales,
    /// Elements of weights decoded so far, against a file whose ops share one blob over and over.
    pub(crate) decoded: u64,
    pub(crate) findings: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Warning>,
}

/// More findings than anyone reads.
const MAX_FINDINGS: usize = 1000;
const AGAIN: &str = "fetch or convert the model again";

/// Verifies and imports a file of MNN's.
pub(crate) fn import(source: &mut Source, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let path = source.path().to_path_buf();
    let here = |d: Diagnostic| Diagnostics::from(d.file(path.display()));
    let file = source.bytes().clone();
    let net = mnn::root(&file).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().next().unwrap_or_default();
        here(Diagnostic::bad_input(format!("the file is no valid FlatBuffer of MNN's: {why}")).remedy(AGAIN))
    })?;
    let names = check(&net, options).map_err(here)?;
    let source_hash = blake3::hash(&file).into();
    let producer = net.extra_info().and_then(|info| info.version()).map(|v| format!("MNN {v}")).unwrap_or_default();
    let mut importer = Importer {
        build: Builder::new(Graph::new(""), options.limits),
        source,
        file: file.clone(),
        slots: vec![Slot::Unmade; names.len()],
        scales: Scales::default(),
        decoded: 0,
        findings: Vec::new(),
        warnings: Vec::new(),
    };
    importer.scales = Scales::read(&net, &names).map_err(here)?;
    importer.inputs(&net, &names, &options.shapes);
    for op in net.oplists().into_iter().flatten() {
        importer.op(&op, &names);
    }
    importer.outputs(&net, &names);
    Diagnostics(std::mem::take(&mut importer.findings)).in_file(path.display()).into_result()?;
    let rounding = if importer.scales.computes_in_int8() { Rounding::Mnn } else { Rounding::Onnx };
    let Importer { build, warnings, source, .. } = importer;
    Ok(Imported {
        graph: build.graph,
        warnings,
        source_hash,
        source_bytes: source.total_bytes(),
        format: crate::Format::Mnn,
        opset: None,
        rounding,
        producer,
    })
}

/// What MNN's loader demands of a file, beyond the FlatBuffer being one. Returns the names of the tensors.
fn check<'a>(net: &Net<'a>, options: &ImportOptions) -> Result<Vec<&'a str>, Diagnostic> {
    let bad = |what: String| Diagnostic::bad_input(what).remedy(AGAIN);
    let ops = net.oplists().ok_or_else(|| bad("the file has no ops".into()))?;
    let names = net.tensor_name().ok_or_else(|| bad("the file has no tensor table".into()))?;
    if ops.len() > options.limits.max_nodes {
        let max = options.limits.max_nodes;
        return Err(Diagnostic::bad_input(format!("the model has {} ops, the limit is {max}", ops.len()))
            .remedy("if the file is sound, raise the limit with --max-nodes"));
    }
    if net.usage() == Usage::INFERENCE_STATIC {
        return Err(Diagnostic::unsupported(
            "the file is a static model, in which ops are lowered to copies of regions",
        )
        .remedy("convert the model without --saveStaticModel"));
    }
    let mut makers: HashMap<i32, String> = HashMap::new();
    for (at, op) in ops.iter().enumerate() {
        let shown = op_name(&op, at);
        let Some(outputs) = op.output_indexes() else { return Err(bad(format!("op {shown} has no outputs"))) };
        for index in op.input_indexes().into_iter().flatten().chain(outputs) {
            if usize::try_from(index).map_or(true, |i| i >= names.len()) {
                return Err(bad(format!("op {shown} refers to tensor {index}, the file has {}", names.len())));
            }
        }
        for index in outputs {
            if let Some(other) = makers.insert(index, shown.clone()) {
                return Err(bad(format!("tensor {index} is made by two ops, {other} and {shown}")));
            }
        }
    }
    Ok(names.iter().collect())
}

/// What an op is called; some have no name.
fn op_name(op: &Op, at: usize) -> String {
    match op.name() {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => format!("number {at}"),
    }
}

/// What the format calls an op of this type.
pub(crate) fn type_name(ty: OpType) -> String {
    ty.variant_name().map_or_else(|| format!("type {}", ty.0), str::to_string)
}

impl Importer<'_> {
    /// Records a finding about the model.
    pub(crate) fn report(&mut self, d: Diagnostic) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(d);
        }
    }

    /// The graph's inputs, in order of their ops.
    fn inputs(&mut self, net: &Net, names: &[&str], shapes: &[(String, Vec<u64>)]) {
        let mut known = Vec::new();
        for op in net.oplists().into_iter().flatten().filter(|op| op.type_() == OpType::Input) {
            let outputs = op.output_indexes().map(|v| v.iter().collect::<Vec<_>>()).unwrap_or_default();
            let ([index], Some(input)) = (outputs.as_slice(), op.main_as_input()) else {
                let name = op.name().unwrap_or_default();
                self.report(Diagnostic::bad_input(format!("input {name} lacks its description, or its one tensor")));
                continue;
            };
            let index = *index as usize;
            let name = names.get(index).copied().unwrap_or_default();
            known.push(name);
            if self.build.graph.find_value(name).is_some() || name.is_empty() {
                self.report(Diagnostic::bad_input(format!("there is no, or another, input called \"{name}\"")));
                continue;
            }
            let given = shapes.iter().find(|(n, _)| n == name).map(|(_, s)| s.as_slice());
            let ty = self.input_type(&input, given).and_then(|ty| self.build.within_limits(&ty).map(|()| ty));
            match ty {
                Ok(ty) => {
                    let v = self.build.graph.add_input(name, ty);
                    self.set_slot(index, Slot::Value(v, Format::of(input.dformat())));
                }
                Err(e) => {
                    let mut d = Diagnostic::from(e);
                    d.message = format!("input {name}: {}", d.message);
                    self.report(d);
                    self.set_slot(index, Slot::Failed);
                }
            }
        }
        for (name, _) in shapes.iter().filter(|(n, _)| !known.contains(&n.as_str())) {
            let d = Diagnostic::bad_input(format!("--shape names {name}, which is no input of the model"));
            self.report(d.remedy(format!("its inputs are: {}", known.join(", "))));
        }
    }

    fn input_type(&mut self, input: &Input, given: Option<&[u64]>) -> Result<TensorType, OpError> {
        let dtype = tensor::run_time_type(input.dtype())?;
        let stated: Vec<i32> = input.dims().into_iter().flatten().collect();
        if stated.len() > tensor::MAX_RANK {
            return Err(OpError::invalid(format!("rank {} is more than {}", stated.len(), tensor::MAX_RANK)));
        }
        if let Some(given) = given {
            let fits = stated.is_empty()
                || stated.len() == given.len()
                    && stated.iter().zip(given).all(|(&s, &g)| s < 0 || u64::from(s.unsigned_abs()) == g);
            if !fits {
                return Err(OpError::invalid(format!("--shape gives {given:?}, the model has {stated:?}")));
            }
            return Ok(TensorType::new(dtype, given.iter().copied()));
        }
        let syms = &mut self.build.graph.syms;
        let dims: Vec<Dim> =
            stated.iter().map(|&d| u64::try_from(d).map_or_else(|_| syms.fresh(), Dim::Const)).collect();
        Ok(TensorType::new(dtype, dims))
    }

    pub(crate) fn set_slot(&mut self, index: usize, slot: Slot) {
        if let Some(s) = self.slots.get_mut(index) {
            *s = slot;
        }
    }

    /// Reads an op. Whatever is wrong is recorded.
    fn op(&mut self, op: &Op, names: &[&str]) {
        if op.type_() == OpType::Input {
            return;
        }
        let outputs: Vec<usize> = op.output_indexes().into_iter().flatten().map(|i| i as usize).collect();
        let inputs: Vec<TensorId> = op.input_indexes().into_iter().flatten().map(|i| TensorId(i as usize)).collect();
        let row = table::find(op.type_());
        let slots: Vec<Slot> = inputs.iter().filter_map(|t| self.slots.get(t.0).copied()).collect();
        let follows = slots.contains(&Slot::Failed);
        let result = match row {
            None => Err(OpError::unsupported("this operator is not supported")),
            Some(_) if follows => Err(OpError::invalid("")),
            Some(_) if slots.contains(&Slot::Unmade) => Err(OpError::invalid(
                "it reads a tensor that no op before it makes; the ops of a file stand in order of execution",
            )),
            Some(row) => {
                let mut cx = OpCx::new(self, *op, &inputs, &outputs, names);
                cx.run(row)
            }
        };
        match result {
            Ok(made) => {
                for (i, &index) in outputs.iter().enumerate() {
                    let slot = made.get(i).map_or(Slot::Failed, |&(v, f)| Slot::Value(v, f));
                    self.set_slot(index, slot);
                }
            }
            Err(e) => {
                if !e.message.is_empty() {
                    let d = self.about(op, &slots, &e);
                    self.report(d);
                }
                outputs.iter().for_each(|&index| self.set_slot(index, Slot::Failed));
            }
        }
    }

    /// A finding about an op.
    fn about(&self, op: &Op, slots: &[Slot], e: &OpError) -> Diagnostic {
        let mut d = Diagnostic::from(e.clone());
        d.node = Some(op.name().unwrap_or_default().to_string());
        d.op = Some(type_name(op.type_()));
        d.shapes = slots
            .iter()
            .filter_map(|s| match s {
                Slot::Value(v, _) => Some(*v),
                _ => None,
            })
            .take(16)
            .map(|v| {
                format!("{} {}", self.build.graph.value(v).name, self.build.graph.ty(v).show(&self.build.graph.syms))
            })
            .collect();
        if e.kind == OpErrorKind::Unsupported && table::find(op.type_()).is_none() {
            d.remedy("convert the original model with mnnc, which reads ONNX")
        } else {
            d
        }
    }

    /// The graph's outputs, in the file's order; where it names none, whatever nobody reads, as MNN has it.
    fn outputs(&mut self, net: &Net, names: &[&str]) {
        let mut wanted: Vec<(String, usize)> = Vec::new();
        let mut seen = HashSet::new();
        let stated: Vec<&str> = net.output_name().into_iter().flatten().collect();
        if stated.is_empty() {
            let ops = || net.oplists().into_iter().flatten();
            let read: HashSet<i32> = ops().flat_map(|op| op.input_indexes().into_iter().flatten()).collect();
            let mut made: Vec<i32> = ops().flat_map(|op| op.output_indexes().into_iter().flatten()).collect();
            made.sort_unstable();
            for index in made.into_iter().filter(|i| !read.contains(i)) {
                let index = index as usize;
                wanted.push((names.get(index).copied().unwrap_or_default().to_string(), index));
            }
        }
        let places: HashMap<&str, usize> = names.iter().enumerate().map(|(i, &name)| (name, i)).collect();
        for name in stated {
            if !seen.insert(name) {
                self.report(Diagnostic::bad_input(format!("output {name} is listed twice")));
                continue;
            }
            match places.get(name) {
                Some(&index) => wanted.push((name.to_string(), index)),
                None => self.report(Diagnostic::bad_input(format!("output {name} is not in the tensor table"))),
            }
        }
        let mut results = Vec::new();
        for (name, index) in wanted {
            match self.slots.get(index) {
                Some(&Slot::Value(v, _)) => results.push((v, name)),
                Some(Slot::Failed) => {}
                _ => self.report(Diagnostic::bad_input(format!("output {name} is not made by any op"))),
            }
        }
        if results.is_empty() && self.findings.is_empty() {
            self.report(Diagnostic::bad_input("the model has no outputs"));
        }
        let mut values: Vec<ValueId> = Vec::new();
        let mut taken = HashSet::new();
        for (v, name) in results {
            let v = self.named_result(v, &name, taken.contains(&v));
            taken.insert(v);
            values.push(v);
        }
        let main = self.build.graph.main();
        self.build.graph.set_results(main, values);
    }

    /// The value that becomes output `name`: one that bears that name, and is no other output.
    fn named_result(&mut self, v: ValueId, name: &str, is_other: bool) -> ValueId {
        let own = matches!(self.build.graph.value(v).def, Def::Node(..)) && !is_other;
        if own && self.build.graph.value(v).name == name {
            return v;
        }
        if own {
            let name = self.build.claim(name);
            self.build.graph.rename_value(v, &name);
            return v;
        }
        match self.build.place_named("identity", &[v], name) {
            Ok(v) => v,
            Err(e) => {
                self.report(Diagnostic::from(e));
                v
            }
        }
    }

    /// Whether the file may make the reader decode `elements` more weights.
    pub(crate) fn spend(&mut self, elements: u64) -> Result<(), OpError> {
        self.decoded = self.decoded.saturating_add(elements);
        // Eight weights to a byte is the densest coding there is; the rest is room for weights that ops share.
        let most = (self.source.total_bytes() + (1 << 16)).saturating_mul(64);
        if self.decoded > most {
            return Err(OpError::invalid(format!(
                "the weights decode to more than {most} elements, for a file of this size"
            )));
        }
        Ok(())
    }
}
