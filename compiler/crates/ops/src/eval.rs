//! Reference evaluation: of one op, and of a whole graph.

mod frame;
mod lifetime;

use frame::Frame;
use lifetime::Lifetimes;
use mnnc_ir::decl::{EvalCtx, OpErrorKind, RegionSig, RunRegion};
use mnnc_ir::dim::Sym;
use mnnc_ir::{Attrs, Dim, Graph, NodeId, OpCtx, OpDecl, OpError, RegionId, SymTable, Tensor, TensorType, ValueId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

/// Bytes that the live tensors of an evaluation may take together, unless said otherwise.
pub const DEFAULT_MAX_BYTES: usize = 8 << 30;

/// Bodies within bodies that an evaluation goes into.
const MAX_DEPTH: usize = 64;

/// Evaluates one op on values. Fails, rather than allocates, if the results would take more than `max_bytes`.
/// The op must have no regions.
pub fn evaluate_op(
    op: &'static OpDecl,
    attrs: &Attrs,
    inputs: &[Option<Tensor>],
    num_outputs: usize,
    max_bytes: usize,
) -> Result<Vec<Tensor>, OpError> {
    let types: Vec<Option<TensorType>> = inputs.iter().map(|t| t.as_ref().map(Tensor::ty)).collect();
    let ctx = OpCtx { op, attrs, inputs: &types, consts: inputs, regions: &[], num_outputs, outputs: &[] };
    let no_region = |_: usize, _: &[Tensor]| Err(OpError::unsupported(format!("{} has bodies", op.name)));
    evaluate_ctx(ctx, SymTable::default(), inputs, max_bytes, &no_region)
}

/// Types the node for its actual inputs, evaluates it, and holds the result against the types.
fn evaluate_ctx(
    ctx: OpCtx,
    mut syms: SymTable,
    inputs: &[Option<Tensor>],
    max_bytes: usize,
    run_region: &RunRegion,
) -> Result<Vec<Tensor>, OpError> {
    let types = ctx.infer(&mut syms)?;
    let mut bytes = 0usize;
    for ty in types.iter().filter(|t| t.static_dims().is_some()) {
        bytes = ty.num_bytes().and_then(|n| bytes.checked_add(n)).unwrap_or(usize::MAX);
    }
    if bytes > max_bytes {
        let shown: Vec<String> = types.iter().map(|t| t.show(&syms)).collect();
        return Err(OpError::unsupported(format!(
            "results {} exceed the {max_bytes} bytes that evaluation may still use; raise the memory limit",
            shown.join(", ")
        )));
    }
    let ctx = OpCtx { outputs: &types, ..ctx };
    let results = (ctx.op.eval)(&EvalCtx { op: ctx, inputs, run_region })?;
    if results.len() < ctx.num_outputs {
        let (n, m) = (results.len(), ctx.num_outputs);
        return Err(OpError::invalid(format!("evaluation of {} gave {n} results, not {m}", ctx.op.name)));
    }
    for (i, (t, ty)) in results.iter().zip(&types).enumerate() {
        let fits = t.dims().len() == ty.rank()
            && t.dims().iter().zip(&ty.dims).all(|(&n, d)| d.known().is_none_or(|k| k == n as u64));
        if t.dtype() != ty.dtype || !fits {
            let (got, want) = (t.ty().show(&syms), ty.show(&syms));
            return Err(OpError::invalid(format!("result {i} of {} is {got}, inferred was {want}", ctx.op.name)));
        }
    }
    Ok(results)
}

/// Why a graph could not be evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvalError {
    /// The node at fault, if one is.
    pub node: Option<NodeId>,
    /// Kind of mistake.
    pub kind: OpErrorKind,
    /// Node, op, shapes, reason.
    pub message: String,
}

impl EvalError {
    fn of_input(message: String) -> EvalError {
        EvalError { node: None, kind: OpErrorKind::Invalid, message }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// Sees each node with its results as it is evaluated, nodes of bodies included.
pub type Observer<'a> = dyn FnMut(NodeId, &[Tensor]) + 'a;

/// Gets each node's results as it is evaluated, nodes of bodies included, and says what evaluation goes on with: tensors of the same
/// types and shapes.
pub type Interceptor<'a> = dyn FnMut(NodeId, Vec<Tensor>) -> Vec<Tensor> + 'a;

/// Runs a graph with the ops' reference functions, one node after another; a tensor is freed after its last use.
pub struct Evaluator<'g> {
    graph: &'g Graph,
    max_bytes: usize,
}

impl<'g> Evaluator<'g> {
    /// An evaluator of `graph`.
    pub fn new(graph: &'g Graph) -> Evaluator<'g> {
        Evaluator { graph, max_bytes: DEFAULT_MAX_BYTES }
    }
    /// Limits the bytes of all tensors that are live at a time.
    pub fn max_bytes(mut self, bytes: usize) -> Evaluator<'g> {
        self.max_bytes = bytes;
        self
    }
    /// The graph's outputs for these inputs, both in the model's order.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        self.run_observed(inputs, &mut |_, _| {})
    }
    /// As [`run`](Self::run), showing every node's results to `observer`.
    pub fn run_observed(&self, inputs: &[Tensor], observer: &mut Observer) -> Result<Vec<Tensor>, EvalError> {
        self.run_intercepted(inputs, &mut |n, results| {
            observer(n, &results);
            results
        })
    }
    /// As [`run`](Self::run), where `interceptor` may put other results in the place of every node's.
    pub fn run_intercepted(&self, inputs: &[Tensor], interceptor: &mut Interceptor) -> Result<Vec<Tensor>, EvalError> {
        self.check_inputs(inputs)?;
        let run = Run {
            graph: self.graph,
            max_bytes: self.max_bytes,
            live: Cell::new(inputs.iter().map(|t| t.bytes().len()).sum()),
            interceptor: RefCell::new(interceptor),
            lifetimes: RefCell::new(HashMap::new()),
            failure: RefCell::new(None),
        };
        let mut frame = Frame::new(None);
        for (&v, t) in self.graph.inputs().iter().zip(inputs) {
            frame.set(v, t.clone());
        }
        run.region(self.graph.main(), frame, 0)
    }
    /// Number, element types and shapes of inputs against the graph's; equal symbols must get equal sizes.
    fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), EvalError> {
        let g = self.graph;
        if inputs.len() != g.inputs().len() {
            let (n, m) = (inputs.len(), g.inputs().len());
            return Err(EvalError::of_input(format!("{n} inputs given, the model has {m}")));
        }
        let mut bound: HashMap<Sym, u64> = HashMap::new();
        for (&v, t) in g.inputs().iter().zip(inputs) {
            let (ty, name) = (g.ty(v), &g.value(v).name);
            let fits = t.dtype() == ty.dtype
                && t.dims().len() == ty.rank()
                && t.dims().iter().zip(&ty.dims).all(|(&n, &d)| match d {
                    Dim::Const(k) => k == n as u64,
                    Dim::Sym(s) => *bound.entry(s).or_insert(n as u64) == n as u64,
                });
            if !fits {
                let (got, want) = (t.ty().show(&g.syms), ty.show(&g.syms));
                return Err(EvalError::of_input(format!("input {name} is {got}, the model takes {want}")));
            }
        }
        Ok(())
    }
}

/// One evaluation under way.
struct Run<'r, 'o> {
    graph: &'r Graph,
    max_bytes: usize,
    live: Cell<usize>,
    interceptor: RefCell<&'r mut Interceptor<'o>>,
    lifetimes: RefCell<HashMap<RegionId, std::rc::Rc<Lifetimes>>>,
    /// The error of a node in a body, on its way out through the node that owns the body.
    failure: RefCell<Option<EvalError>>,
}

impl Run<'_, '_> {
    fn value(&self, frame: &Frame, v: ValueId) -> Result<Tensor, OpError> {
        if let Some(c) = self.graph.constant(v) {
            return Ok(c.clone());
        }
        let name = || self.graph.value(v).name.clone();
        frame.get(v).cloned().ok_or_else(|| OpError::invalid(format!("value {} is read before it is computed", name())))
    }

    fn region(&self, r: RegionId, mut frame: Frame, depth: usize) -> Result<Vec<Tensor>, EvalError> {
        let g = self.graph;
        let lifetimes = {
            let mut cache = self.lifetimes.borrow_mut();
            cache.entry(r).or_insert_with(|| std::rc::Rc::new(Lifetimes::of(g, r))).clone()
        };
        for (i, &n) in g.region(r).nodes().iter().enumerate() {
            let results = self.node(n, &frame, depth).map_err(|e| self.explain(n, &frame, e))?;
            let results = (self.interceptor.borrow_mut())(n, results);
            for (&v, t) in g.node(n).outputs().iter().zip(results) {
                self.live.set(self.live.get() + t.bytes().len());
                frame.set(v, t);
            }
            for &v in lifetimes.dead_after(i) {
                if let Some(t) = frame.remove(v) {
                    self.live.set(self.live.get().saturating_sub(t.bytes().len()));
                }
            }
        }
        let results = g.region(r).results().iter().map(|&v| self.value(&frame, v)).collect::<Result<Vec<_>, _>>();
        let results = results.map_err(|e| EvalError { node: None, kind: e.kind, message: e.message })?;
        self.live.set(self.live.get().saturating_sub(frame.bytes()));
        Ok(results)
    }

    fn node(&self, n: NodeId, frame: &Frame, depth: usize) -> Result<Vec<Tensor>, OpError> {
        let g = self.graph;
        let node = g.node(n);
        let inputs: Vec<Option<Tensor>> =
            node.inputs().iter().map(|v| v.map(|v| self.value(frame, v)).transpose()).collect::<Result<_, _>>()?;
        let types: Vec<Option<TensorType>> = node
            .inputs()
            .iter()
            .zip(&inputs)
            .map(|(v, t)| v.zip(t.as_ref()).map(|(v, t)| TensorType { quant: g.ty(v).quant.clone(), ..t.ty() }))
            .collect();
        let run_region = |i: usize, params: &[Tensor]| {
            let Some(&body) = node.regions.get(i) else {
                return Err(OpError::invalid(format!("the node has no body {i}")));
            };
            if depth == MAX_DEPTH {
                return Err(OpError::unsupported(format!("bodies are nested more than {MAX_DEPTH} deep")));
            }
            let mut inner = Frame::new(Some(frame));
            let declared = &g.region(body).params;
            if declared.len() != params.len() {
                let (p, q) = (declared.len(), params.len());
                return Err(OpError::invalid(format!("body {i} has {p} parameters, it is given {q}")));
            }
            for (&v, t) in declared.iter().zip(params) {
                inner.set(v, t.clone());
                self.live.set(self.live.get() + t.bytes().len());
            }
            self.region(body, inner, depth + 1).map_err(|e| {
                let out = OpError { kind: e.kind, message: e.message.clone() };
                self.failure.borrow_mut().get_or_insert(e);
                out
            })
        };
        let types_of = |vs: &[ValueId]| vs.iter().map(|&v| g.ty(v).clone()).collect();
        let signature = |&r: &RegionId| RegionSig {
            params: types_of(&g.region(r).params),
            results: types_of(g.region(r).results()),
        };
        let regions: Vec<RegionSig> = node.regions.iter().map(signature).collect();
        // The signatures of bodies may name symbols of the graph.
        let syms = if regions.is_empty() { SymTable::default() } else { g.syms.clone() };
        let ctx = OpCtx {
            op: node.op,
            attrs: &node.attrs,
            inputs: &types,
            consts: &inputs,
            regions: &regions,
            num_outputs: node.outputs().len(),
            outputs: &[],
        };
        evaluate_ctx(ctx, syms, &inputs, self.max_bytes.saturating_sub(self.live.get()), &run_region)
    }

    /// Adds node, op and shapes to an error, unless it comes from within a body and has them.
    fn explain(&self, n: NodeId, frame: &Frame, e: OpError) -> EvalError {
        if let Some(inner) = self.failure.borrow_mut().take() {
            return inner;
        }
        let node = self.graph.node(n);
        let shapes: Vec<String> = node
            .inputs()
            .iter()
            .map(|v| match v.map(|v| self.value(frame, v)) {
                Some(Ok(t)) => t.ty().show(&self.graph.syms),
                _ => "-".to_string(),
            })
            .collect();
        let message = format!("node {} ({}) on {}: {}", node.name, node.op.name, shapes.join(", "), e.message);
        EvalError { node: Some(n), kind: e.kind, message }
    }
}
