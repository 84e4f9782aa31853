//! Slices at index tuples.

use super::{indices, load_index, raw, resolve};
use crate::broadcast::strides;
use crate::define::BASE;
use crate::loops;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// Gather at index tuples.
pub static GATHER_ND: OpDecl = OpDecl {
    name: "gather_nd",
    family: "gather",
    doc: "The last dimension of `indices` holds tuples that name positions in the dimensions of `data` behind the first \
          `batch_dims`, which both share. y: indices[..-1] ++ data[batch_dims + tuple length ..]. ONNX GatherND.",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::required("indices", DTypeSet::INDEX)],
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[AttrDecl::with_default(
        "batch_dims",
        AttrKind::Int,
        AttrDefault::Int(0),
        "leading dimensions that data and indices share",
    )],
    infer,
    eval,
    compute: Some(compute),
    samples,
    ..BASE
};

/// Number of batch dimensions, length of the tuples.
fn params(ctx: &OpCtx) -> Result<(usize, usize), OpError> {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let batch = ctx.int("batch_dims").unwrap_or(0);
    let (r, q) = (data.rank(), index.rank());
    let batch = usize::try_from(batch).ok().filter(|&b| b < r.min(q)).ok_or_else(|| {
        OpError::invalid(format!("batch_dims is {batch}, for data of rank {r} and indices of rank {q}"))
    })?;
    let tuple =
        index.dims[q - 1].known().ok_or_else(|| OpError::unsupported("the length of the index tuples is dynamic"))?;
    if tuple == 0 || tuple > (r - batch) as u64 {
        return Err(OpError::invalid(format!("index tuples of {tuple} for {} dimensions", r - batch)));
    }
    for (i, (a, b)) in data.dims.iter().zip(&index.dims).enumerate().take(batch) {
        if let (Dim::Const(a), Dim::Const(b)) = (a, b)
            && a != b
        {
            return Err(OpError::invalid(format!("batch dimension {i} is {a} in the data, {b} in the indices")));
        }
    }
    Ok((batch, tuple as usize))
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let (batch, tuple) = params(ctx)?;
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let dims = index.dims[..index.rank() - 1].iter().chain(&data.dims[batch + tuple..]);
    Ok(vec![TensorType::new(data.dtype, dims.copied().collect::<Vec<_>>())])
}

/// The flat position of each tuple's slice in data of shape `dims`, batch dimensions included.
pub(super) fn offsets(dims: &[usize], index: &[i64], tuple: usize, batch: usize) -> Result<Vec<usize>, OpError> {
    let steps = strides(dims);
    let batches: usize = dims[..batch].iter().product();
    let per_batch = (index.len() / tuple).checked_div(batches).unwrap_or(0);
    let batch_step: usize = dims[batch..].iter().product();
    let one = |(i, t): (usize, &[i64])| {
        let mut at = i.checked_div(per_batch).unwrap_or(0) * batch_step;
        for (j, &v) in t.iter().enumerate() {
            at += resolve(v, dims[batch + j])? * steps[batch + j];
        }
        Ok(at)
    };
    index.chunks(tuple).enumerate().map(one).collect()
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let (batch, tuple) = params(&ctx.op)?;
    let size = data.dtype().size();
    let slice = data.dims()[batch + tuple..].iter().product::<usize>() * size;
    let mut out = Vec::new();
    for at in offsets(data.dims(), &indices(index)?, tuple, batch)? {
        out.extend_from_slice(&data.bytes()[at * size..][..slice]);
    }
    let dims = [&index.dims()[..index.dims().len() - 1], &data.dims()[batch + tuple..]].concat();
    Ok(vec![raw(data.dtype(), dims, out)?])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (data, index) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let (batch, tuple) = params(ctx)?;
    let d = ctx.input(0)?.dtype;
    let head = index.len() - 1;
    let dims = [&index[..head], &data[batch + tuple..]].concat();
    let mut b = ScalarBuilder::new();
    let axes = loops::axes(&mut b, dims.len());
    let mut at = axes[..batch].to_vec();
    let mut conditions = Vec::new();
    for j in 0..tuple {
        let mut own = axes[..head].to_vec();
        own.push(b.int(j as i64));
        let (position, inside) = load_index(&mut b, ctx, 1, own, data[batch + j])?;
        at.push(position);
        conditions.push(inside);
    }
    at.extend_from_slice(&axes[head..]);
    let guard = loops::all(&mut b, &conditions).ok_or_else(|| OpError::invalid("empty index tuples"))?;
    let zero = b.constant(0.0, d);
    let e = b.load_or(Source::Input(0), at, guard, zero);
    Ok(loops::compute(vec![loops::map(dims, b, e)]))
}

/// Random index tuples into the dimensions `dims`, as a tensor of shape `head ++ [dims.len()]`.
pub(super) fn random_tuples(g: &mut Gen, head: &[usize], dims: &[usize]) -> Tensor {
    let count: usize = head.iter().product();
    let draw = |i: usize| dims[i % dims.len()] as i64;
    let values = (0..count * dims.len()).map(|i| g.int(-draw(i), draw(i) - 1)).collect::<Vec<i64>>();
    Tensor::new([head, &[dims.len()]].concat(), values)
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(2 + case % 3, 5);
            let batch = usize::from(case % 3 == 2);
            let tuple = 1 + g.below(dims.len() - batch);
            let extra = g.dims(1 + case % 2, 3);
            let head = [&dims[..batch], &extra[..]].concat();
            let index = random_tuples(&mut g, &head, &dims[batch..batch + tuple]);
            draft().data(g.f32s(&dims)).data(index).attr("batch_dims", batch as i64).done()
        })
        .collect()
}
