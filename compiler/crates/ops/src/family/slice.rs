//! Parts of a tensor, and parts put together.

use crate::axes::{normalize_axes, normalize_axis};
use crate::broadcast::strides;
use crate::define::BASE;
use crate::dims::const_list;
use crate::loops;
use crate::sample::{Gen, draft};
use crate::separable::{offsets, separable};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::types::Dims;
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType,
};

const FAMILY: &str = "slice";
const INDICES: DTypeSet = DTypeSet::INDEX;

/// `slice`.
pub static SLICE: OpDecl = OpDecl {
    name: "slice",
    family: FAMILY,
    doc: "Elements `starts[i], starts[i] + steps[i], …` before `ends[i]` of dimension `axes[i]`. Negative positions count \
          from the back, positions beyond the ends are clamped, steps may be negative.",
    inputs: &[
        Operand::required("data", DTypeSet::ANY),
        Operand::required("starts", INDICES),
        Operand::required("ends", INDICES),
        Operand::optional("axes", INDICES),
        Operand::optional("steps", INDICES),
    ],
    infer: infer_slice,
    eval: |ctx| {
        let x = ctx.input(0)?;
        let parts = parts(&ctx.op, x.dims())?;
        let dims: Vec<usize> = parts.iter().map(|p| p.len).collect();
        let step = strides(x.dims());
        let along =
            |i: usize| offsets(dims[i], step[i], |k| usize::try_from(parts[i].start + k as i64 * parts[i].step).ok());
        Ok(vec![separable(x, &dims, along, None)?])
    },
    compute: Some(|ctx| {
        let parts = parts(ctx, &ctx.static_dims(0)?)?;
        let mut b = ScalarBuilder::new();
        let index = (0..parts.len())
            .map(|i| {
                let axis = b.axis(i);
                loops::affine(&mut b, &[(axis, parts[i].step)], parts[i].start)
            })
            .collect();
        let body = b.load(Source::Input(0), index, ctx.input(0)?.dtype);
        Ok(loops::compute(vec![loops::map(parts.iter().map(|p| p.len).collect(), b, body)]))
    }),
    samples: slice_samples,
    ..BASE
};

/// The elements taken from one dimension.
#[derive(Copy, Clone, Debug, PartialEq)]
struct Part {
    start: i64,
    step: i64,
    len: usize,
}

impl Part {
    /// ONNX's rules of clamping, for a dimension of size `n`.
    fn new(n: usize, start: i64, end: i64, step: i64) -> Part {
        let n = n as i64;
        let from_back = |p: i64| if p < 0 { p.saturating_add(n) } else { p };
        if n == 0 {
            return Part { start: 0, step: 1, len: 0 };
        }
        // Unlike NumPy, a start before the first element is the first element for negative steps too.
        let (start, end) = match step {
            1.. => (from_back(start).clamp(0, n), from_back(end).clamp(0, n)),
            _ => (from_back(start).clamp(0, n - 1), from_back(end).clamp(-1, n - 1)),
        };
        let distance = if step > 0 { end - start } else { start - end };
        let stride = step.unsigned_abs();
        let len = if distance > 0 { (distance as u64).div_ceil(stride) as usize } else { 0 };
        // The step of a single element does not matter, and a huge one would overflow an index.
        let step = if len > 1 { step } else { 1 };
        Part { start: if len > 0 { start } else { 0 }, step, len }
    }
}

/// Start, end and step for each of `axes`.
type Bounds = Vec<(usize, i64, i64, i64)>;

/// The constant parameters of a slice, or `None` if they are not known.
fn bounds(ctx: &OpCtx) -> Result<Option<Bounds>, OpError> {
    let rank = ctx.input(0)?.rank();
    let (starts, ends) = (const_list(ctx, 1)?, const_list(ctx, 2)?);
    let axes = if ctx.opt_input(3).is_some() { const_list(ctx, 3)?.map(Some) } else { Some(None) };
    let steps = if ctx.opt_input(4).is_some() { const_list(ctx, 4)?.map(Some) } else { Some(None) };
    let (Some(starts), Some(ends), Some(axes), Some(steps)) = (starts, ends, axes, steps) else { return Ok(None) };
    let n = starts.len();
    if n > rank {
        return Err(OpError::invalid(format!("{n} starts given for rank {rank}")));
    }
    let axes = axes.unwrap_or_else(|| (0..n as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; n]);
    if ends.len() != n || axes.len() != n || steps.len() != n {
        let lengths = [n, ends.len(), axes.len(), steps.len()];
        return Err(OpError::invalid(format!("starts, ends, axes, steps have different lengths {lengths:?}")));
    }
    if steps.contains(&0) {
        return Err(OpError::invalid("a step is 0"));
    }
    let axes = normalize_axes(&axes, rank)?;
    Ok(Some((0..n).map(|i| (axes[i], starts[i], ends[i], steps[i])).collect()))
}

fn parts(ctx: &OpCtx, dims: &[usize]) -> Result<Vec<Part>, OpError> {
    let bounds = bounds(ctx)?.ok_or_else(|| {
        OpError::unsupported("starts, ends, axes and steps must be constants, they are computed at run time")
    })?;
    let mut parts: Vec<Part> = dims.iter().map(|&n| Part { start: 0, step: 1, len: n }).collect();
    for (axis, start, end, step) in bounds {
        parts[axis] = Part::new(dims[axis], start, end, step);
    }
    Ok(parts)
}

fn infer_slice(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let mut dims = x.dims.clone();
    match bounds(ctx)? {
        Some(bounds) => {
            for (axis, start, end, step) in bounds {
                dims[axis] = match dims[axis] {
                    Dim::Const(n) => Part::new(fit(n)?, start, end, step).len.into(),
                    // The whole dimension; anything else of an unknown size is unknown.
                    d if start == 0 && step == 1 && end >= i64::from(i32::MAX) => d,
                    _ => syms.fresh(),
                };
            }
        }
        None => {
            // The axes alone tell which sizes stay.
            let sliced = match ctx.opt_input(3) {
                Some(_) => const_list(ctx, 3)?,
                None => match ctx.input(1)?.dims[..] {
                    [Dim::Const(n)] if n <= x.rank() as u64 => Some((0..n as i64).collect()),
                    _ => None,
                },
            };
            let axes = match sliced {
                Some(axes) => normalize_axes(&axes, x.rank())?,
                None => (0..x.rank()).collect(),
            };
            for a in axes {
                dims[a] = syms.fresh();
            }
        }
    }
    Ok(vec![x.with_dims(dims)])
}

fn fit(n: u64) -> Result<usize, OpError> {
    match usize::try_from(n) {
        Ok(n) if n <= i64::MAX as usize => Ok(n),
        _ => Err(OpError::invalid(format!("size {n} is too large"))),
    }
}

fn slice_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = vec![
        draft().data(g.f32s(&[5, 6, 7])).ints(&[1, 0, -3]).ints(&[4, i64::MAX, -1]).done(),
        draft().data(g.f32s(&[5, 6])).ints(&[-1]).ints(&[i64::MIN]).ints(&[1]).ints(&[-1]).done(),
        draft().data(g.f32s(&[5, 6])).ints(&[4, 1]).ints(&[0, 5]).ints(&[0, -1]).ints(&[-2, 3]).done(),
        draft().data(g.f32s(&[5, 6])).ints(&[3]).ints(&[3]).ints(&[0]).done(),
        draft().data(g.f32s(&[5, 6])).ints(&[-100]).ints(&[100]).ints(&[0]).ints(&[2]).done(),
        draft().data(g.f32s(&[3])).ints(&[1]).ints(&[3]).ints(&[0]).ints(&[i64::MAX]).done(),
        draft().data(g.tensor(DType::I64, &[6], -9.0, 9.0)).ints(&[2]).ints(&[5]).done(),
    ];
    for _ in 0..6 {
        let n = 1 + g.below(9);
        let (start, end) = (g.int(-12, 12), g.int(-12, 12));
        let step = g.pick(&[-3, -2, -1, 1, 2, 3]);
        out.push(draft().data(g.f32s(&[2, n])).ints(&[start]).ints(&[end]).ints(&[1]).ints(&[step]).done());
    }
    out
}

/// `split`.
pub static SPLIT: OpDecl = OpDecl {
    name: "split",
    family: FAMILY,
    doc: "Consecutive parts along `axis`, of the sizes `split`, or as equal as the number of outputs allows, the last the \
          smallest.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::optional("split", INDICES)],
    outputs: &[Operand::variadic("outputs", DTypeSet::ANY)],
    attrs: &[
        AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(0), "Dimension to split."),
        AttrDecl::optional("num_outputs", AttrKind::Int, "Number of parts, if `split` is not given."),
    ],
    infer: |ctx, syms| {
        let (axis, sizes) = split_sizes(ctx, syms)?;
        let x = ctx.input(0)?;
        let part = |d: Dim| {
            let mut dims = x.dims.clone();
            dims[axis] = d;
            x.with_dims(dims)
        };
        Ok(sizes.into_iter().map(part).collect())
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let (axis, sizes) = split_sizes(&ctx.op, &mut SymTable::default())?;
        let step = strides(x.dims());
        let mut first = 0;
        let mut out = Vec::new();
        for size in known(&sizes)? {
            let mut dims = x.dims().to_vec();
            dims[axis] = size;
            let along = |i: usize| offsets(dims[i], step[i], |k| Some(if i == axis { first + k } else { k }));
            out.push(separable(x, &dims, along, None)?);
            first += size;
        }
        Ok(out)
    },
    compute: Some(|ctx| {
        let (axis, sizes) = split_sizes(ctx, &mut SymTable::default())?;
        let (x, dtype) = (ctx.static_dims(0)?, ctx.input(0)?.dtype);
        let (mut first, mut stages) = (0, Vec::new());
        for size in known(&sizes)? {
            let mut b = ScalarBuilder::new();
            let mut index = loops::axes(&mut b, x.len());
            index[axis] = loops::affine(&mut b, &[(index[axis], 1)], first);
            let body = b.load(Source::Input(0), index, dtype);
            let mut dims = x.clone();
            dims[axis] = size;
            stages.push(loops::map(dims, b, body));
            first += size as i64;
        }
        let outputs = (0..stages.len()).collect();
        Ok(Compute { stages, outputs })
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[2, 6, 3])).ints(&[1, 2, 3]).attr("axis", 1i64).outputs(3).done(),
            draft().data(g.f32s(&[7, 2])).attr("num_outputs", 3i64).outputs(3).done(),
            draft().data(g.f32s(&[2, 8])).attr("num_outputs", 2i64).attr("axis", -1i64).outputs(2).done(),
            draft().data(g.tensor(DType::I64, &[4], 0.0, 9.0)).ints(&[4, 0]).outputs(2).done(),
        ]
    },
    ..BASE
};

fn known(sizes: &[Dim]) -> Result<Vec<usize>, OpError> {
    let sizes: Option<Vec<usize>> = sizes.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect();
    sizes.ok_or_else(|| OpError::unsupported("the parts have dynamic sizes; fix them with --shape NAME=1x3x224x224"))
}

fn split_sizes(ctx: &OpCtx, syms: &mut SymTable) -> Result<(usize, Vec<Dim>), OpError> {
    let x = ctx.input(0)?;
    let axis = normalize_axis(ctx.int("axis").unwrap_or(0), x.rank())?;
    let total = x.dims[axis];
    if ctx.opt_input(1).is_some() {
        let Some(split) = const_list(ctx, 1)? else {
            return Ok((axis, (0..ctx.num_outputs).map(|_| syms.fresh()).collect()));
        };
        let sizes = crate::dims::sizes(&split, "split")?;
        if sizes.len() != ctx.num_outputs {
            let (n, m) = (sizes.len(), ctx.num_outputs);
            return Err(OpError::invalid(format!("split has {n} sizes for {m} outputs")));
        }
        let sum = sizes.iter().try_fold(0u64, |a, &s| a.checked_add(s as u64));
        if let Some(n) = total.known()
            && sum != Some(n)
        {
            return Err(OpError::invalid(format!("split sizes {sizes:?} do not sum to {n}")));
        }
        return Ok((axis, sizes.into_iter().map(Dim::from).collect()));
    }
    let n = ctx.int("num_outputs").unwrap_or(ctx.num_outputs as i64);
    if n < 1 || n != ctx.num_outputs as i64 {
        return Err(OpError::invalid(format!("num_outputs is {n}, the node has {} outputs", ctx.num_outputs)));
    }
    let n = n as u64;
    let Some(total) = total.known() else {
        let part = syms.div(total, Dim::Const(n));
        // Whether it divides evenly is not known; then the last part differs.
        let last = syms.fresh();
        return Ok((axis, (0..n).map(|i| if n > 1 && i + 1 == n { last } else { part }).collect()));
    };
    let part = total.div_ceil(n);
    let taken = |i: u64| part.saturating_mul(i).min(total);
    Ok((axis, (0..n).map(|i| Dim::Const(taken(i + 1) - taken(i))).collect()))
}

/// `concat`.
pub static CONCAT: OpDecl = OpDecl {
    name: "concat",
    family: FAMILY,
    doc: "The inputs one after another along `axis`.",
    inputs: &[Operand::variadic("inputs", DTypeSet::ANY)],
    attrs: &[AttrDecl::optional("axis", AttrKind::Int, "Dimension to join.")],
    infer: infer_concat,
    eval: eval_concat,
    compute: Some(concat_loops),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft()
                .attr("axis", 1i64)
                .data(g.f32s(&[2, 1, 3]))
                .data(g.f32s(&[2, 4, 3]))
                .data(g.f32s(&[2, 2, 3]))
                .done(),
            draft().attr("axis", -1i64).data(g.f32s(&[2, 3])).data(g.f32s(&[2, 0])).data(g.f32s(&[2, 1])).done(),
            draft().attr("axis", 0i64).data(g.f32s(&[3])).done(),
            draft().attr("axis", 0i64).data(Tensor::ints(&[1, 2])).param(Tensor::ints(&[-1])).done(),
        ]
    },
    ..BASE
};

fn concat_axis(ctx: &OpCtx) -> Result<usize, OpError> {
    let axis = ctx.int("axis").ok_or_else(|| OpError::invalid("attribute axis is missing"))?;
    normalize_axis(axis, ctx.input(0)?.rank())
}

fn infer_concat(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let first = ctx.input(0)?;
    let axis = concat_axis(ctx)?;
    let mut dims: Dims = first.dims.clone();
    for i in 1..ctx.inputs.len() {
        let x = ctx.input(i)?;
        if x.dtype != first.dtype || x.rank() != first.rank() {
            let (got, want) = (x.show(syms), first.show(syms));
            return Err(OpError::invalid(format!(
                "input {i} is {got}, the first is {want}: type and rank must be equal"
            )));
        }
        for (k, d) in dims.iter_mut().enumerate() {
            *d = match (*d, x.dims[k]) {
                (a, b) if k == axis => match (a, b) {
                    (Dim::Const(p), Dim::Const(q)) if p.checked_add(q).is_none() => {
                        return Err(OpError::invalid("the joined size overflows"));
                    }
                    _ => syms.add(a, b),
                },
                (Dim::Const(a), Dim::Const(b)) if a != b => {
                    return Err(OpError::invalid(format!(
                        "dimension {k} is {b} in input {i}, {a} before; only {axis} may differ"
                    )));
                }
                (Dim::Sym(_), b @ Dim::Const(_)) => b,
                (a, _) => a,
            };
        }
    }
    Ok(vec![first.with_dims(dims)])
}

fn eval_concat(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let axis = concat_axis(&ctx.op)?;
    let parts: Vec<&Tensor> = (0..ctx.inputs.len()).map(|i| ctx.input(i)).collect::<Result<_, _>>()?;
    let mut dims = parts[0].dims().to_vec();
    let dtype = parts[0].dtype();
    dims[axis] = parts.iter().map(|t| t.dims()[axis]).sum();
    let outer: usize = dims[..axis].iter().product();
    let mut bytes = Vec::with_capacity(crate::dims::product(&dims)? * dtype.size());
    for row in 0..outer {
        for t in &parts {
            let n = t.bytes().len() / outer;
            bytes.extend_from_slice(&t.bytes()[row * n..(row + 1) * n]);
        }
    }
    let out = Tensor::from_bytes(dtype, dims, mnnc_ir::bytes::Bytes::from_vec(bytes));
    Ok(vec![out.ok_or_else(|| OpError::invalid("joined parts do not fill the result"))?])
}

/// A chain of guarded loads: the last part that begins at or before the position has the element.
fn concat_loops(ctx: &OpCtx) -> Result<Compute, OpError> {
    let axis = concat_axis(ctx)?;
    let shapes: Vec<Vec<usize>> = (0..ctx.inputs.len()).map(|i| ctx.static_dims(i)).collect::<Result<_, _>>()?;
    let (mut b, dtype) = (ScalarBuilder::new(), ctx.input(0)?.dtype);
    let at = loops::axes(&mut b, shapes[0].len());
    let mut out = b.constant(0.0, dtype);
    let mut first = 0i64;
    for (i, shape) in shapes.iter().enumerate().filter(|(_, s)| s[axis] > 0) {
        let end = first + shape[axis] as i64;
        let mut index = at.clone();
        index[axis] = loops::affine(&mut b, &[(at[axis], 1)], -first);
        let inside = loops::within(&mut b, at[axis], first, end);
        let guard = loops::all(&mut b, &inside);
        out = match guard {
            Some(g) => b.load_or(Source::Input(i), index, g, out),
            None => b.load(Source::Input(i), index, dtype),
        };
        first = end;
    }
    let mut dims = shapes[0].clone();
    dims[axis] = first as usize;
    Ok(loops::compute(vec![loops::map(dims, b, out)]))
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn clamping_follows_the_definition() {
        let p = |n, a, b, s| {
            let p = Part::new(n, a, b, s);
            (0..p.len).map(|k| p.start + k as i64 * p.step).collect::<Vec<_>>()
        };
        assert_eq!(p(5, 1, i64::MAX, 2), [1, 3]);
        assert_eq!(p(5, -1, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(p(5, i64::MIN, i64::MAX, i64::MAX), [0]);
        assert_eq!(p(5, i64::MAX, i64::MIN, i64::MIN), [4]);
        assert_eq!(p(5, -2, -4, -1), [3, 2]);
        assert_eq!(p(2, -9, -9, -1), [0]);
        assert!(p(0, 0, 9, 1).is_empty() && p(0, -1, i64::MIN, -1).is_empty() && p(5, 4, 1, 1).is_empty());
    }
}
