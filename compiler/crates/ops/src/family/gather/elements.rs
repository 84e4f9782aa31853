//! Single elements along one dimension.

use super::{indices, load_index, raw, resolve};
use crate::axes::normalize_axis;
use crate::broadcast::strides;
use crate::define::BASE;
use crate::loops;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, TensorType};

/// Gather elements.
pub static GATHER_ELEMENTS: OpDecl = OpDecl {
    name: "gather_elements",
    family: "gather",
    doc: "y[i,j,..] = data[i,j,..] with index `axis` replaced by indices[i,j,..]; y has the shape of `indices`. ONNX \
          GatherElements. An index outside is an error in evaluation, and reads 0 in native code.",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::required("indices", DTypeSet::INDEX)],
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(0), "the indexed dimension")],
    infer,
    eval,
    compute: Some(compute),
    samples,
    ..BASE
};

/// The checked `axis` of an op with data in input 0 and indices of the same rank in input 1, none of whose other
/// dimensions is larger.
pub(super) fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let axis = normalize_axis(ctx.int("axis").unwrap_or(0), data.rank())?;
    if index.rank() != data.rank() {
        return Err(OpError::invalid(format!("indices have rank {}, the data has rank {}", index.rank(), data.rank())));
    }
    for (i, (d, n)) in data.dims.iter().zip(&index.dims).enumerate() {
        if let (Dim::Const(d), Dim::Const(n)) = (d, n)
            && i != axis
            && n > d
        {
            return Err(OpError::invalid(format!("dimension {i} of the indices is {n}, of the data {d}")));
        }
    }
    Ok(axis)
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    axis(ctx)?;
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, ctx.input(1)?.dims.iter().copied())])
}

/// For each index element, the flat position in data of shape `dims` that it names.
pub(super) fn positions(
    dims: &[usize],
    index_dims: &[usize],
    index: &[i64],
    axis: usize,
) -> Result<Vec<usize>, OpError> {
    let steps = strides(dims);
    let mut out = Vec::with_capacity(index.len());
    for (flat, &value) in index.iter().enumerate() {
        let (mut rest, mut at) = (flat, 0);
        for (i, &n) in index_dims.iter().enumerate().rev() {
            at += steps[i] * if i == axis { resolve(value, dims[axis])? } else { rest % n };
            rest /= n;
        }
        out.push(at);
    }
    Ok(out)
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let size = data.dtype().size();
    let positions = positions(data.dims(), index.dims(), &indices(index)?, axis(&ctx.op)?)?;
    let out = positions.into_iter().flat_map(|p| data.bytes()[p * size..][..size].iter().copied()).collect();
    Ok(vec![raw(data.dtype(), index.dims().to_vec(), out)?])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (data, dims) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let (axis, d) = (axis(ctx)?, ctx.input(0)?.dtype);
    let mut b = ScalarBuilder::new();
    let mut at = loops::axes(&mut b, dims.len());
    let (position, inside) = load_index(&mut b, ctx, 1, at.clone(), data[axis])?;
    at[axis] = position;
    let zero = b.constant(0.0, d);
    let e = b.load_or(Source::Input(0), at, inside, zero);
    Ok(loops::compute(vec![loops::map(dims, b, e)]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..5)
        .map(|case| {
            let dims = g.dims(1 + case % 3, 6);
            let axis = g.below(dims.len());
            let mut index: Vec<usize> = dims.iter().map(|&d| 1 + g.below(d)).collect();
            index[axis] = 1 + g.below(7);
            let n = dims[axis] as f64;
            let index = g.tensor(g_type(case), &index, -n, n - 1.0);
            draft().data(g.f32s(&dims)).data(index).attr("axis", axis as i64).done()
        })
        .collect()
}

fn g_type(case: usize) -> DType {
    if case.is_multiple_of(2) { DType::I64 } else { DType::I32 }
}
