//! Ops with bodies: `if`, `loop`, `scan`, and `fused`, a group of nodes that is compiled as one kernel.

use crate::axes::normalize_axis;
use crate::define::BASE;
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::bytes::Bytes;
use mnnc_ir::decl::{EvalCtx, RegionSig};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

const VALUES: &[Operand] = &[Operand::variadic("values", DTypeSet::ANY)];
/// A loop that runs longer is taken for one that never ends.
const MAX_TRIPS: usize = 10_000_000;

/// One of two bodies, chosen at run time.
pub static IF: OpDecl = OpDecl {
    name: "if",
    family: "structured",
    doc: "Runs the first region if `cond` holds, else the second, and yields its results. The regions take no \
          parameters; they read values of the enclosing region. ONNX If.",
    inputs: &[Operand::required("cond", DTypeSet::BOOL)],
    outputs: VALUES,
    regions: 2,
    infer: infer_if,
    eval: eval_if,
    ..BASE
};

/// Counted and conditional repetition.
pub static LOOP: OpDecl = OpDecl {
    name: "loop",
    family: "structured",
    doc: "Repeats the region at most `trip_count` times while its condition holds. Region parameters: iteration number \
          (i64), condition, carried values; results: condition, carried values, then elements that are stacked along a \
          new dimension 0. Outputs: carried values, then the stacks. ONNX Loop.",
    inputs: &[
        Operand::optional("trip_count", DTypeSet::I64),
        Operand::optional("cond", DTypeSet::BOOL),
        Operand::variadic("carried", DTypeSet::ANY),
    ],
    outputs: VALUES,
    regions: 1,
    infer: infer_loop,
    eval: eval_loop,
    ..BASE
};

/// Iteration over slices.
pub static SCAN: OpDecl = OpDecl {
    name: "scan",
    family: "structured",
    doc: "Runs the region once for each slice of the scanned inputs. Region parameters: states, then one slice of each \
          scanned input; results: states, then slices that are stacked. Inputs: initial states, scanned inputs; outputs: \
          final states, stacks. ONNX Scan.",
    inputs: VALUES,
    outputs: VALUES,
    attrs: &[
        AttrDecl::with_default(
            "num_scan_inputs",
            AttrKind::Int,
            AttrDefault::Int(1),
            "how many of the inputs are scanned",
        ),
        AttrDecl::optional(
            "scan_input_axes",
            AttrKind::Ints,
            "dimension that each scanned input is sliced along; 0 when unset",
        ),
        AttrDecl::optional("scan_input_directions", AttrKind::Ints, "1 to slice an input from the end; 0 when unset"),
        AttrDecl::optional(
            "scan_output_axes",
            AttrKind::Ints,
            "dimension that each output is stacked along; 0 when unset",
        ),
        AttrDecl::optional("scan_output_directions", AttrKind::Ints, "1 to stack an output from the end; 0 when unset"),
    ],
    regions: 1,
    infer: infer_scan,
    eval: eval_scan,
    ..BASE
};

/// A fusion group.
pub static FUSED: OpDecl = OpDecl {
    name: "fused",
    family: "structured",
    doc: "Runs its region on the inputs: nodes that are to become one kernel. Made by the compiler only.",
    inputs: VALUES,
    outputs: VALUES,
    regions: 1,
    infer: infer_fused,
    eval: eval_fused,
    ..BASE
};

fn region<'a>(ctx: &OpCtx<'a>, i: usize) -> Result<&'a RegionSig, OpError> {
    ctx.regions.get(i).ok_or_else(|| OpError::invalid(format!("{} lacks region {i}", ctx.op.name)))
}

fn is_true(t: &Tensor) -> Result<bool, OpError> {
    match (t.dtype(), t.bytes().first()) {
        (DType::Bool, Some(&b)) if t.len() == 1 => Ok(b != 0),
        _ => Err(OpError::invalid(format!("a condition must be one bool, not {}{:?}", t.dtype(), t.dims()))),
    }
}

/// The type that covers both: equal sizes stay, others become unknown.
fn joined(a: &TensorType, b: &TensorType, what: &str, syms: &mut SymTable) -> Result<TensorType, OpError> {
    if a.dtype != b.dtype {
        return Err(OpError::invalid(format!("{what} is {} on one path and {} on the other", a.dtype, b.dtype)));
    }
    if a.rank() != b.rank() {
        return Err(OpError::unsupported(format!(
            "{what} has rank {} on one path and {} on the other",
            a.rank(),
            b.rank()
        )));
    }
    let dims: Vec<Dim> = a.dims.iter().zip(&b.dims).map(|(&x, &y)| if x == y { x } else { syms.fresh() }).collect();
    Ok(a.with_dims(dims))
}

fn infer_if(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let cond = ctx.input(0)?;
    if cond.num_elements().is_some_and(|n| n != 1) {
        return Err(OpError::invalid("the condition must be one bool"));
    }
    let (yes, no) = (&region(ctx, 0)?.results, &region(ctx, 1)?.results);
    if yes.len() != no.len() {
        return Err(OpError::invalid(format!("the branches yield {} and {} values", yes.len(), no.len())));
    }
    if let Some(c) = ctx.const_input(0) {
        return Ok(if is_true(c)? { yes.clone() } else { no.clone() });
    }
    yes.iter().zip(no).enumerate().map(|(i, (a, b))| joined(a, b, &format!("result {i}"), syms)).collect()
}

fn eval_if(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    (ctx.run_region)(if is_true(ctx.input(0)?)? { 0 } else { 1 }, &[])
}

fn infer_loop(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let body = region(ctx, 0)?;
    let carried = ctx.inputs.len().saturating_sub(2);
    if body.params.len() != carried + 2 {
        return Err(OpError::invalid(format!(
            "the body takes {} parameters; with {carried} carried values it must take {}",
            body.params.len(),
            carried + 2
        )));
    }
    if body.results.len() < carried + 1 {
        return Err(OpError::invalid(format!(
            "the body yields {} values; the condition and {carried} carried values are needed",
            body.results.len()
        )));
    }
    if body.results[0].dtype != DType::Bool {
        return Err(OpError::invalid(format!("the body yields a condition of {}, not bool", body.results[0].dtype)));
    }
    let mut out = Vec::new();
    for i in 0..carried {
        out.push(joined(ctx.input(i + 2)?, &body.results[i + 1], &format!("carried value {i}"), syms)?);
    }
    for r in &body.results[carried + 1..] {
        let dims = std::iter::once(syms.fresh()).chain(r.dims.iter().copied());
        out.push(r.with_dims(dims.collect::<Vec<_>>()));
    }
    Ok(out)
}

fn eval_loop(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let body = region(&ctx.op, 0)?;
    let trips = ctx.opt_input(0).map(|t| t.to_i64s().and_then(|v| v.first().copied()).unwrap_or(0).max(0) as usize);
    let mut cond = match ctx.opt_input(1) {
        Some(t) => is_true(t)?,
        None => true,
    };
    let mut carried: Vec<Tensor> = (2..ctx.inputs.len()).map(|i| ctx.input(i).cloned()).collect::<Result<_, _>>()?;
    let n = carried.len();
    let mut stacks: Vec<Vec<Tensor>> = vec![Vec::new(); body.results.len().saturating_sub(n + 1)];
    let mut i = 0;
    while cond && trips.is_none_or(|t| i < t) {
        if i == MAX_TRIPS {
            return Err(OpError::unsupported(format!("the loop does not end within {MAX_TRIPS} iterations")));
        }
        let mut params = vec![Tensor::scalar(i as i64), Tensor::bools(vec![], vec![cond])];
        params.append(&mut carried);
        let mut results = (ctx.run_region)(0, &params)?.into_iter();
        cond = is_true(&results.next().ok_or_else(|| OpError::invalid("the body yields no condition"))?)?;
        carried = results.by_ref().take(n).collect();
        for (stack, t) in stacks.iter_mut().zip(results) {
            stack.push(t);
        }
        i += 1;
    }
    for (stack, ty) in stacks.iter().zip(&body.results[n + 1..]) {
        carried.push(stacked(stack, 0, ty)?);
    }
    Ok(carried)
}

/// One entry of a per-operand list attribute of `scan`; 0 when unset.
fn scan_attr(ctx: &OpCtx, name: &str, i: usize, n: usize) -> Result<i64, OpError> {
    match ctx.ints(name) {
        None => Ok(0),
        Some(list) if list.len() == n => Ok(list[i]),
        Some(list) => Err(OpError::invalid(format!("{name} has {} entries; {n} are needed", list.len()))),
    }
}

/// Numbers of states, scanned inputs and stacked outputs of a `scan`.
fn scan_counts(ctx: &OpCtx) -> Result<(usize, usize, usize), OpError> {
    let body = region(ctx, 0)?;
    let scanned = ctx.int("num_scan_inputs").unwrap_or(1);
    let total = ctx.inputs.len();
    let scanned = usize::try_from(scanned)
        .ok()
        .filter(|&m| m >= 1 && m <= total)
        .ok_or_else(|| OpError::invalid(format!("num_scan_inputs is {scanned}, with {total} inputs")))?;
    let states = total - scanned;
    if body.params.len() != total || body.results.len() < states {
        return Err(OpError::invalid(format!(
            "the body takes {} and yields {} values; {states} states and {scanned} slices go in",
            body.params.len(),
            body.results.len()
        )));
    }
    Ok((states, scanned, body.results.len() - states))
}

/// Input axis of each scanned input.
fn scan_axes(ctx: &OpCtx, states: usize, scanned: usize) -> Result<Vec<usize>, OpError> {
    (0..scanned)
        .map(|i| normalize_axis(scan_attr(ctx, "scan_input_axes", i, scanned)?, ctx.input(states + i)?.rank()))
        .collect()
}

fn infer_scan(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let (states, scanned, stacked) = scan_counts(ctx)?;
    let body = region(ctx, 0)?;
    let axes = scan_axes(ctx, states, scanned)?;
    let mut length: Option<Dim> = None;
    for (i, &axis) in axes.iter().enumerate() {
        let d = ctx.input(states + i)?.dims[axis];
        match (length, d) {
            (Some(Dim::Const(a)), Dim::Const(b)) if a != b => {
                return Err(OpError::invalid(format!("scanned inputs have lengths {a} and {b}")));
            }
            (Some(Dim::Const(_)), _) => {}
            _ => length = Some(d),
        }
    }
    let length = length.unwrap_or(Dim::Const(0));
    let mut out = Vec::new();
    for i in 0..states {
        out.push(joined(ctx.input(i)?, &body.results[i], &format!("state {i}"), syms)?);
    }
    for i in 0..stacked {
        let r = &body.results[states + i];
        let axis = normalize_axis(scan_attr(ctx, "scan_output_axes", i, stacked)?, r.rank() + 1)?;
        let mut dims = r.dims.to_vec();
        dims.insert(axis, length);
        out.push(r.with_dims(dims));
    }
    Ok(out)
}

fn eval_scan(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let (states, scanned, outs) = scan_counts(&ctx.op)?;
    let body = region(&ctx.op, 0)?;
    let axes = scan_axes(&ctx.op, states, scanned)?;
    let length = ctx.input(states)?.dims()[axes[0]];
    let mut carried: Vec<Tensor> = (0..states).map(|i| ctx.input(i).cloned()).collect::<Result<_, _>>()?;
    let mut stacks: Vec<Vec<Tensor>> = vec![Vec::new(); outs];
    for step in 0..length {
        let mut params = std::mem::take(&mut carried);
        for (i, &axis) in axes.iter().enumerate() {
            let back = scan_attr(&ctx.op, "scan_input_directions", i, scanned)? != 0;
            params.push(slice(ctx.input(states + i)?, axis, if back { length - 1 - step } else { step })?);
        }
        let mut results = (ctx.run_region)(0, &params)?.into_iter();
        carried = results.by_ref().take(states).collect();
        for (stack, t) in stacks.iter_mut().zip(results) {
            stack.push(t);
        }
    }
    for (i, stack) in stacks.iter_mut().enumerate() {
        let ty = &body.results[states + i];
        if scan_attr(&ctx.op, "scan_output_directions", i, outs)? != 0 {
            stack.reverse();
        }
        carried.push(stacked(
            stack,
            normalize_axis(scan_attr(&ctx.op, "scan_output_axes", i, outs)?, ty.rank() + 1)?,
            ty,
        )?);
    }
    Ok(carried)
}

/// The sub-tensor at index `i` of dimension `axis`, without that dimension.
fn slice(t: &Tensor, axis: usize, i: usize) -> Result<Tensor, OpError> {
    let dims = t.dims();
    let inner = dims[axis + 1..].iter().product::<usize>() * t.dtype().size();
    let row = dims[axis] * inner;
    let bytes: Vec<u8> = match row {
        0 => Vec::new(),
        _ => t.bytes().chunks_exact(row).flat_map(|r| &r[i * inner..(i + 1) * inner]).copied().collect(),
    };
    let rest = [&dims[..axis], &dims[axis + 1..]].concat();
    raw(t.dtype(), rest, bytes)
}

/// The tensors, which are of one type, side by side along a new dimension `axis`. `ty` is their type where there are none.
fn stacked(ts: &[Tensor], axis: usize, ty: &TensorType) -> Result<Tensor, OpError> {
    let mut dims = match ts.first() {
        Some(t) => t.dims().to_vec(),
        None => ty.static_dims().ok_or_else(|| OpError::unsupported("a body of unknown shape ran zero times"))?,
    };
    if let Some(t) = ts.iter().find(|t| t.dims() != dims || t.dtype() != ty.dtype) {
        return Err(OpError::invalid(format!("stacked results have shapes {dims:?} and {:?}", t.dims())));
    }
    let inner = dims[axis..].iter().product::<usize>() * ty.dtype.size();
    let outer: usize = dims[..axis].iter().product();
    let mut bytes = Vec::with_capacity(inner * outer * ts.len());
    for o in 0..outer {
        for t in ts {
            bytes.extend_from_slice(&t.bytes()[o * inner..(o + 1) * inner]);
        }
    }
    dims.insert(axis, ts.len());
    raw(ty.dtype, dims, bytes)
}

fn raw(dtype: DType, dims: Vec<usize>, bytes: Vec<u8>) -> Result<Tensor, OpError> {
    Tensor::from_bytes(dtype, dims, Bytes::from_vec(bytes)).ok_or_else(|| OpError::invalid("sizes do not fit"))
}

fn infer_fused(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let body = region(ctx, 0)?;
    if body.params.len() != ctx.inputs.len() {
        return Err(OpError::invalid(format!(
            "the region takes {} values, {} are given",
            body.params.len(),
            ctx.inputs.len()
        )));
    }
    Ok(body.results.clone())
}

fn eval_fused(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let params: Vec<Tensor> = (0..ctx.inputs.len()).map(|i| ctx.input(i).cloned()).collect::<Result<_, _>>()?;
    (ctx.run_region)(0, &params)
}
