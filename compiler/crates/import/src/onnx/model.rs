//! The whole model: messages in, graph out.

use super::scope::{Frame, Scope, Scopes, Slot};
use super::sort::{Disorder, node_name, reads, sort};
use super::table::OPSETS;
use super::{tensor, types, wire};
use crate::build::Builder;
use crate::source::Source;
use crate::{Format, ImportOptions, Imported, Limits, Warning};
use mnnc_ir::diag::{Diagnostic, Diagnostics};
use mnnc_ir::{Graph, OpError, RegionId, ValueId};
use mnnc_schema::onnx::{FunctionProto, GraphProto, Message, ModelProto, NodeProto, TensorProto};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A function of the model, by domain, name and overload.
pub(crate) type FunctionKey = (String, String, String);

/// Everything that an import builds up.
pub(crate) struct Importer<'a> {
    pub(crate) build: Builder,
    pub(crate) source: &'a mut Source,
    pub(crate) scopes: Scopes,
    pub(crate) frames: Vec<Rc<Frame>>,
    pub(crate) functions: HashMap<FunctionKey, Rc<FunctionProto>>,
    /// Constants whose elements were packed several to a byte: how many bits each needs.
    pub(crate) narrow: HashMap<ValueId, u32>,
    /// Stand-ins for results of nodes that failed, and what was computed from them.
    pub(crate) tainted: HashSet<ValueId>,
    /// Holds the stand-ins.
    pub(crate) scratch: Option<RegionId>,
    /// Sizes that `--shape` gives to named dimensions.
    pub(crate) sizes: HashMap<String, u64>,
    /// Nodes seen so far.
    pub(crate) count: usize,
    /// Nesting of sub-graphs and functions.
    pub(crate) depth: usize,
    pub(crate) findings: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Warning>,
}

/// More findings than anyone reads.
const MAX_FINDINGS: usize = 1000;

/// Decodes and imports an ONNX model.
pub(crate) fn import(source: &mut Source, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let path = source.path().to_path_buf();
    let here = |d: Diagnostic| Diagnostics::from(d.file(path.display()));
    let mut model = decode(source, &options.limits).map_err(here)?;
    let opset = check_opsets(&model).map_err(here)?;
    let Some(graph) = model.graph.take() else {
        return Err(here(Diagnostic::bad_input("the model has no graph")));
    };
    let source_hash = blake3::hash(source.bytes()).into();
    let target = Graph::new(graph.name.clone());
    let mut importer = Importer {
        build: Builder::new(target, options.limits),
        source,
        scopes: Scopes::default(),
        frames: vec![Rc::new(Frame::new(&model.opset_import))],
        functions: HashMap::new(),
        narrow: HashMap::new(),
        tainted: HashSet::new(),
        scratch: None,
        sizes: HashMap::new(),
        count: 0,
        depth: 0,
        findings: Vec::new(),
        warnings: Vec::new(),
    };
    for p in std::mem::take(&mut model.metadata_props) {
        importer.build.graph.metadata.insert(p.key, p.value);
    }
    for f in std::mem::take(&mut model.functions) {
        let key = (super::scope::domain(&f.domain).to_string(), f.name.clone(), f.overload.clone());
        importer.functions.insert(key, Rc::new(f));
    }
    importer.main_graph(graph, &options.shapes);
    importer.finish(&path)?;
    let Importer { build, warnings, source, .. } = importer;
    Ok(Imported {
        graph: build.graph,
        warnings,
        source_hash,
        source_bytes: source.total_bytes(),
        format: Format::Onnx,
        opset: Some(opset),
        rounding: crate::Rounding::Onnx,
        producer: [model.producer_name, model.producer_version].join(" ").trim().to_string(),
    })
}

fn decode(source: &Source, limits: &Limits) -> Result<ModelProto, Diagnostic> {
    let bytes = source.bytes();
    let cost = wire::decoded_size(bytes)
        .map_err(|fault| Diagnostic::bad_input(fault.to_string()).remedy("fetch or export the model again"))?;
    if cost > limits.max_memory {
        return Err(Diagnostic::bad_input(format!(
            "decoding the model would take {cost} bytes of memory, the limit is {}",
            limits.max_memory
        ))
        .remedy("if the file is sound, raise the limit with --max-memory"));
    }
    ModelProto::decode(bytes.clone()).map_err(|e| {
        let why = e.to_string();
        let why = why.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&why).to_string();
        Diagnostic::bad_input(format!("the file is damaged: {why}")).remedy("fetch or export the model again")
    })
}

/// The version of the standard operator set, if it is one that we know.
fn check_opsets(model: &ModelProto) -> Result<i64, Diagnostic> {
    let mut seen = HashSet::new();
    for o in &model.opset_import {
        if !seen.insert(super::scope::domain(&o.domain)) {
            return Err(Diagnostic::bad_input(format!("operator set \"{}\" is imported twice", o.domain)));
        }
    }
    let standard = model.opset_import.iter().find(|o| super::scope::domain(&o.domain).is_empty());
    let version = match standard {
        Some(o) => o.version,
        // A model of local functions or contributed ops only.
        None if !model.opset_import.is_empty() => OPSETS.newest,
        None => return Err(Diagnostic::bad_input("the model imports no operator set")),
    };
    if version < 1 {
        return Err(Diagnostic::bad_input(format!("operator set version {version} does not exist")));
    }
    if !(OPSETS.oldest..=OPSETS.newest).contains(&version) {
        return Err(Diagnostic::unsupported(format!(
            "operator set {version} is not supported, {} to {} are",
            OPSETS.oldest, OPSETS.newest
        ))
        .remedy("convert the model with onnx.version_converter, or export it again with another opset_version"));
    }
    Ok(version)
}

impl Importer<'_> {
    /// Records a finding about the model.
    pub(crate) fn report(&mut self, d: Diagnostic) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(d);
        }
    }
    /// Records something that is odd but does no harm.
    pub(crate) fn warn(&mut self, node: Option<&str>, message: String) {
        if self.warnings.len() < MAX_FINDINGS {
            self.warnings.push(Warning { node: node.map(str::to_string), message });
        }
    }
    /// Records that `what` is wrong for the reason in `e`.
    pub(crate) fn report_at(&mut self, what: &str, e: &OpError) {
        let mut d = Diagnostic::from(e.clone());
        d.message = format!("{what}: {}", d.message);
        self.report(d);
    }

    fn main_graph(&mut self, mut g: GraphProto, shapes: &[(String, Vec<u64>)]) {
        self.scopes.push(Scope::default());
        self.state_types(&mut g);
        for name in g.sparse_initializer.iter().filter_map(|t| Some(&t.values.as_ref()?.name)) {
            self.report(Diagnostic::unsupported(format!("initializer {name}: sparse tensors are not supported")));
            self.scopes.bind(name, Slot::Unknown);
        }
        let initialized: HashSet<String> = g.initializer.iter().map(|t| t.name.clone()).collect();
        self.sizes = self.named_sizes(&g, shapes, &initialized);
        for v in g.input.iter().filter(|v| !initialized.contains(&v.name)) {
            if v.name.is_empty() {
                self.report(Diagnostic::bad_input("a graph input has no name"));
                continue;
            }
            if self.scopes.get(&v.name).is_some() {
                self.report(Diagnostic::bad_input(format!("input {} is defined twice", v.name)));
                continue;
            }
            let given = shapes.iter().find(|(n, _)| *n == v.name).map(|(_, s)| s.as_slice());
            match types::input_type(v.r#type.as_ref(), given, &mut self.build.graph.syms, &self.sizes)
                .and_then(|ty| self.build.within_limits(&ty).map(|()| ty))
            {
                Ok(ty) => {
                    let id = self.build.graph.add_input(&v.name, ty);
                    self.scopes.bind(&v.name, Slot::Value(id));
                }
                Err(e) => {
                    self.report_at(&format!("input {}", v.name), &e);
                    self.scopes.bind(&v.name, Slot::Unknown);
                }
            }
        }
        self.initializers(std::mem::take(&mut g.initializer));
        self.nodes(&g.node);
        let mut results = Vec::new();
        let mut names = HashSet::new();
        if g.output.is_empty() {
            self.report(Diagnostic::bad_input("the graph has no outputs"));
        }
        for o in &g.output {
            if !names.insert(&o.name) {
                self.report(Diagnostic::bad_input(format!("output {} is listed twice", o.name)));
                continue;
            }
            match self.scopes.get(&o.name) {
                Some(Slot::Value(v)) => results.push(self.named_result(v, &o.name)),
                Some(Slot::Unknown) => {}
                None => self.report(Diagnostic::bad_input(format!("output {} is not defined by any node", o.name))),
            }
        }
        let main = self.build.graph.main();
        self.build.graph.set_results(main, results);
        self.scopes.pop();
    }

    /// The value that becomes output `name`: one that bears that name.
    fn named_result(&mut self, v: ValueId, name: &str) -> ValueId {
        if self.build.graph.value(v).name == name {
            return v;
        }
        match self.build.place_named("identity", &[v], name) {
            Ok(v) => v,
            Err(e) => {
                self.report_at(&format!("output {name}"), &e);
                v
            }
        }
    }

    /// Notes the types that the graph states for its values and outputs.
    pub(crate) fn state_types(&mut self, g: &mut GraphProto) {
        let infos = std::mem::take(&mut g.value_info).into_iter().chain(g.output.iter().cloned());
        let stated = infos.filter_map(|v| Some((v.name, v.r#type?))).collect();
        self.scopes.top().stated = stated;
    }

    fn named_sizes(
        &mut self,
        g: &GraphProto,
        shapes: &[(String, Vec<u64>)],
        initialized: &HashSet<String>,
    ) -> HashMap<String, u64> {
        let mut sizes = HashMap::new();
        for (name, given) in shapes {
            let input = g.input.iter().find(|v| v.name == *name && !initialized.contains(name));
            match input.map(|v| v.r#type.as_ref()) {
                None => {
                    let names: Vec<&str> =
                        g.input.iter().map(|v| v.name.as_str()).filter(|n| !initialized.contains(*n)).collect();
                    self.report(
                        Diagnostic::bad_input(format!("--shape names {name}, which is no input of the model"))
                            .remedy(format!("its inputs are: {}", names.join(", "))),
                    );
                }
                Some(Some(t)) => {
                    if let Err(e) = types::bind_sizes(t, given, &mut sizes) {
                        self.report_at(&format!("input {name}"), &e);
                    }
                }
                Some(None) => {}
            }
        }
        sizes
    }

    /// Makes constants of initializers.
    pub(crate) fn initializers(&mut self, tensors: Vec<TensorProto>) {
        for mut t in tensors {
            let name = t.name.clone();
            if name.is_empty() {
                self.report(Diagnostic::bad_input("an initializer has no name"));
                continue;
            }
            if self.scopes.top().slots.contains_key(&name) {
                self.report(Diagnostic::bad_input(format!("initializer {name} is defined twice")));
                continue;
            }
            let slot = match tensor::convert(&mut t, self.source, &self.build.limits) {
                Ok(value) => {
                    let wanted = self.build.claim(&name);
                    let v = self.build.graph.add_const(&wanted, value);
                    self.narrow.extend(tensor::packed(t.data_type).map(|(_, bits)| (v, bits)));
                    Slot::Value(v)
                }
                Err(e) => {
                    self.report_at(&format!("initializer {name}"), &e);
                    Slot::Unknown
                }
            };
            self.scopes.bind(&name, slot);
        }
    }

    /// Notes that nothing is known of what `nodes` compute, so that it is not reported as missing.
    fn bind_unknown(&mut self, nodes: &[NodeProto]) {
        for name in nodes.iter().flat_map(|n| &n.output) {
            self.scopes.bind(name, Slot::Unknown);
        }
    }

    /// Imports the nodes of a graph into the current region.
    pub(crate) fn nodes(&mut self, nodes: &[NodeProto]) {
        let order = match sort(nodes) {
            Ok(order) => order,
            Err(Disorder::Cycle(on)) => {
                self.bind_unknown(nodes);
                let names: Vec<&str> = on.iter().take(20).map(|&i| node_name(&nodes[i])).collect();
                let more = if on.len() > names.len() { " -> …" } else { "" };
                return self.report(
                    Diagnostic::bad_input(format!(
                        "the graph has a cycle of {} node(s): {}{more}",
                        on.len(),
                        names.join(" -> ")
                    ))
                    .remedy("a node must not depend on its own output"),
                );
            }
            Err(Disorder::Twice(name, i)) => {
                self.bind_unknown(nodes);
                let mut d = Diagnostic::bad_input(format!("output {name} is defined by another node already"));
                d.node = Some(node_name(&nodes[i]).to_string());
                d.op = Some(nodes[i].op_type.clone());
                return self.report(d);
            }
        };
        let own: HashSet<&str> = nodes.iter().flat_map(|n| &n.output).map(String::as_str).collect();
        for i in order {
            let mut names = Vec::new();
            reads(&nodes[i], &mut names);
            let mut undefined: Vec<&str> =
                names.into_iter().filter(|n| !own.contains(n) && self.scopes.get(n).is_none()).collect();
            undefined.sort_unstable();
            undefined.dedup();
            for name in undefined {
                let mut d = Diagnostic::bad_input(format!("input {name} is not defined anywhere"));
                d.node = Some(node_name(&nodes[i]).to_string());
                d.op = Some(nodes[i].op_type.clone());
                self.report(d.remedy("it is neither a graph input, nor an initializer, nor the output of a node"));
                self.scopes.bind(name, Slot::Unknown);
            }
            if self.findings.len() == MAX_FINDINGS || !self.node(&nodes[i]) {
                return;
            }
        }
    }

    /// The outcome: nothing, or all findings.
    fn finish(&mut self, path: &std::path::Path) -> Result<(), Diagnostics> {
        Diagnostics(std::mem::take(&mut self.findings)).in_file(path.display()).into_result()
    }
}
