//! Nodes without a tuned kernel: the op's loop form, one step a stage, over whatever storages the operands have.

use crate::family::{Epilogue, View, Wish};
use crate::lowering::{Forms, Lowering, Placed};
use crate::schedule::{LoopKernel, Operand};
use crate::storage::Storage;
use mnnc_ir::compute::{Compute, Stage};
use mnnc_ir::scalar::{Expr, ScalarBuilder, ScalarFn, ScalarNode, Source};
use mnnc_ir::{DType, OpCtx, OpError, Tensor, TensorType, ValueId};

/// Units that a step should have at least, so that threads can share it.
const MIN_UNITS: usize = 64;

/// Lowers any node whose op has a loop form.
///
/// # Errors
/// The op has none, or it cannot be made for these operands.
pub(crate) fn lower(view: &View, lo: &mut Lowering) -> Result<(), OpError> {
    match (&view.anchor, &view.epilogue) {
        (Some(_), None) => {
            let flops = flops(view);
            lower_anchor(view, lo, Target::Outputs(&view.outputs), flops).map(|_| ())
        }
        (Some(_), Some(e)) => {
            let placed = lower_anchor(view, lo, Target::Temp, flops(view))?;
            lower_epilogue(view, lo, Some(placed), e)
        }
        (None, Some(e)) => lower_epilogue(view, lo, None, e),
        (None, None) => Err(OpError::unsupported("the node has nothing to compute")),
    }
}

/// How many leading dims make up the units: enough of them for the threads, the rest inside.
pub(crate) fn unit_dims(dims: &[usize]) -> usize {
    let mut units = 1usize;
    for (i, &d) in dims.iter().enumerate() {
        if units >= MIN_UNITS {
            return i;
        }
        units = units.saturating_mul(d);
    }
    dims.len()
}

enum Target<'a> {
    Outputs(&'a [ValueId]),
    Temp,
}

/// Operations of the anchor.
fn flops(view: &View) -> u64 {
    with_ctx(view, |ctx| Ok((ctx.op.flops)(ctx))).unwrap_or(0)
}

/// The anchor's context. A region parameter is seen as the value of the main region that it stands for, so that
/// constants are known.
fn with_ctx<T>(view: &View, f: impl FnOnce(&OpCtx) -> Result<T, OpError>) -> Result<T, OpError> {
    let (Some(node), Some(id)) = (view.anchor, view.anchor_id) else {
        return Err(OpError::unsupported("there is no anchor"));
    };
    let facts = view.graph.facts(id);
    let consts: Vec<Option<Tensor>> =
        view.inputs.iter().map(|v| v.and_then(|v| view.graph.constant(v).cloned())).collect();
    let mut types: Vec<Option<TensorType>> = view.inputs.iter().map(|v| v.map(|v| view.graph.ty(v).clone())).collect();
    if let (Some(f), Some(Some(ty))) = (&view.prologue, types.first_mut()) {
        ty.dtype = f.dtype(f.result);
    }
    f(&OpCtx { consts: &consts, inputs: &types, ..facts.of(node) })
}

fn lower_anchor(view: &View, lo: &mut Lowering, target: Target, flops: u64) -> Result<Placed, OpError> {
    let op = view.anchor.map_or("", |a| a.op.name);
    let compute: Compute = with_ctx(view, |ctx| match ctx.op.compute {
        Some(f) => f(ctx),
        None => Err(OpError::unsupported(format!(
            "{op} has no native code yet; `mnnc ops` lists what has, `--emit mnn` may still do"
        ))),
    })?;
    let mut inputs: Vec<Option<Placed>> = vec![None; view.inputs.len()];
    for (i, v) in view.inputs.iter().enumerate() {
        let read = compute.stages.iter().any(|s| reads(&s.body, Source::Input(i)));
        if let (Some(v), true) = (v, read) {
            inputs[i] = Some(lo.input(*v, Wish::Any)?);
        }
    }
    if let (Some(f), Some(Some(x))) = (&view.prologue, inputs.first_mut()) {
        let dims = x.storage.dims.clone();
        let body = broadcast_loads(f, std::slice::from_ref(&dims), dims.len())?;
        let stage = Stage { dims, dtype: f.dtype(f.result), reduce: None, body };
        let place = temp(lo, "operand", stage.dtype, &stage.dims)?;
        emit(lo, op, &stage, &[Some(x.clone())], &[], &place, 0)?;
        *x = place;
    }
    let mut stages: Vec<Placed> = Vec::new();
    let last = compute.stages.len().saturating_sub(1);
    for (s, stage) in compute.stages.iter().enumerate() {
        let result = compute.outputs.iter().position(|&o| o == s);
        let place = match (&target, result) {
            (Target::Outputs(out), Some(i)) if i < out.len() => lo.output(out[i], Forms::BOTH)?,
            _ => temp(lo, &format!("stage{s}"), stage.dtype, &stage.dims)?,
        };
        emit(lo, op, stage, &inputs, &stages, &place, if s == last { flops } else { 0 })?;
        stages.push(place);
    }
    // The same stage may yield two results.
    if let Target::Outputs(out) = target {
        for (i, (&s, &v)) in compute.outputs.iter().zip(out).enumerate() {
            if compute.outputs[..i].contains(&s) {
                let from = stages.get(s).cloned().ok_or_else(no_stage)?;
                let to = lo.output(v, Forms::BOTH)?;
                lo.copy(v, &from, &to);
            }
        }
    }
    let first = compute.outputs.first().copied().ok_or_else(no_stage)?;
    stages.into_iter().nth(first).ok_or_else(no_stage)
}

fn no_stage() -> OpError {
    OpError::unsupported("the op's loop form lacks a stage")
}

fn temp(lo: &mut Lowering, name: &str, dtype: DType, dims: &[usize]) -> Result<Placed, OpError> {
    let storage = Storage::plain(dtype, dims).ok_or_else(|| OpError::unsupported("an intermediate is too large"))?;
    Ok(Placed { buffer: lo.temp(name, storage.bytes), storage })
}

fn lower_epilogue(view: &View, lo: &mut Lowering, anchor: Option<Placed>, e: &Epilogue) -> Result<(), OpError> {
    let out = *view.outputs.first().ok_or_else(|| OpError::invalid("the node has no result"))?;
    let ty = view.graph.ty(out);
    let dims = ty.static_dims().ok_or_else(|| OpError::unsupported("the result has a dynamic shape"))?;
    let mut inputs: Vec<Option<Placed>> = Vec::new();
    inputs.extend(anchor.map(Some));
    for &v in &e.sides {
        inputs.push(Some(lo.input(v, Wish::Any)?));
    }
    let shapes: Vec<Vec<usize>> = inputs.iter().flatten().map(|p| p.storage.dims.clone()).collect();
    let stage = Stage { dims, dtype: ty.dtype, reduce: None, body: broadcast_loads(&e.f, &shapes, ty.rank())? };
    let place = lo.output(out, Forms::BOTH)?;
    let work = stage.dims.iter().product::<usize>() as u64 * operations(&e.f);
    let name = lo.graph().node(view.node).op.name;
    emit(lo, name, &stage, &inputs, &[], &place, work)
}

/// Number of arithmetic nodes.
fn operations(f: &ScalarFn) -> u64 {
    let work = |n: &ScalarNode| matches!(n, ScalarNode::Unary(..) | ScalarNode::Binary(..));
    f.nodes.iter().filter(|(n, _)| work(n)).count() as u64
}

/// An element-wise formula as a loop body: argument `i` becomes a load of input `i`, stretched where its size is 1.
fn broadcast_loads(f: &ScalarFn, shapes: &[Vec<usize>], rank: usize) -> Result<ScalarFn, OpError> {
    let mut b = ScalarBuilder::new();
    let mut args = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        let skip = rank
            .checked_sub(shape.len())
            .ok_or_else(|| OpError::invalid("an operand has a higher rank than the result"))?;
        let index: Vec<Expr> =
            shape.iter().enumerate().map(|(d, &n)| if n == 1 { b.int(0) } else { b.axis(skip + d) }).collect();
        let dtype = f.nodes.iter().find(|(n, _)| *n == ScalarNode::Arg(i)).map(|(_, d)| *d);
        // An argument that the formula does not use after all is not loaded either.
        args.push(match dtype {
            Some(d) => b.load(Source::Input(i), index, d),
            None => b.int(0),
        });
    }
    let e = b.inline(f, &args);
    Ok(b.finish(e))
}

fn reads(f: &ScalarFn, what: Source) -> bool {
    f.nodes.iter().any(|(n, _)| matches!(n, ScalarNode::Load { source, .. } if *source == what))
}

/// Adds the step of one stage.
fn emit(
    lo: &mut Lowering,
    op: &str,
    stage: &Stage,
    inputs: &[Option<Placed>],
    stages: &[Placed],
    out: &Placed,
    flops: u64,
) -> Result<(), OpError> {
    let mut sources: Vec<(Source, Placed)> = Vec::new();
    let mut body = stage.body.clone();
    for (node, _) in &mut body.nodes {
        let ScalarNode::Load { source, .. } = node else {
            continue;
        };
        let at = match sources.iter().position(|(s, _)| s == source) {
            Some(at) => at,
            None => {
                let place = match *source {
                    Source::Input(i) => inputs.get(i).cloned().flatten(),
                    Source::Stage(i) => stages.get(i).cloned(),
                };
                sources
                    .push((*source, place.ok_or_else(|| OpError::invalid("the loop form reads an absent operand"))?));
                sources.len() - 1
            }
        };
        *source = Source::Input(at);
    }
    if stage.dims.contains(&0) {
        return Ok(());
    }
    let unit_dims = unit_dims(&stage.dims);
    let units = stage.dims[..unit_dims].iter().product();
    let mut operands: Vec<Operand> = sources.iter().map(|(_, p)| p.read()).collect();
    operands.push(out.write());
    let kernel = LoopKernel {
        stage: Stage { body, ..stage.clone() },
        inputs: sources.into_iter().map(|(_, p)| p.storage).collect(),
        output: out.storage.clone(),
        unit_dims,
    };
    let id = lo.loop_kernel(op, kernel);
    lo.step(id, operands, units, flops);
    Ok(())
}
