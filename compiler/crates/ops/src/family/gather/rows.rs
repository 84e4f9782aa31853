//! Slices along one dimension.

use super::{indices, load_index, raw, resolve};
use crate::axes::normalize_axis;
use crate::define::BASE;
use crate::loops;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// Gather.
pub static GATHER: OpDecl = OpDecl {
    name: "gather",
    family: "gather",
    doc: "Slices of `data` along `axis` at the given indices, negative ones counting from the end; the shape of `indices` \
          takes the place of dimension `axis`. ONNX Gather. An index outside is an error in evaluation, and reads 0 in \
          native code.",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::required("indices", DTypeSet::INDEX)],
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(0), "the indexed dimension")],
    infer,
    eval,
    compute: Some(compute),
    samples,
    ..BASE
};

fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    normalize_axis(ctx.int("axis").unwrap_or(0), ctx.input(0)?.rank())
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let (data, axis) = (ctx.input(0)?, axis(ctx)?);
    if let (Some(t), Some(n)) = (ctx.const_input(1), data.dims[axis].known()) {
        for i in indices(t)? {
            resolve(i, n as usize)?;
        }
    }
    let dims = data.dims[..axis].iter().chain(&ctx.input(1)?.dims).chain(&data.dims[axis + 1..]);
    Ok(vec![TensorType::new(data.dtype, dims.copied().collect::<Vec<_>>())])
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let axis = axis(&ctx.op)?;
    let n = data.dims()[axis];
    let positions = indices(index)?.into_iter().map(|i| resolve(i, n)).collect::<Result<Vec<_>, _>>()?;
    let inner = data.dims()[axis + 1..].iter().product::<usize>() * data.dtype().size();
    let outer: usize = data.dims()[..axis].iter().product();
    let mut out = Vec::with_capacity(outer * positions.len() * inner);
    for o in 0..outer {
        for p in &positions {
            out.extend_from_slice(&data.bytes()[(o * n + p) * inner..][..inner]);
        }
    }
    let dims = [&data.dims()[..axis], index.dims(), &data.dims()[axis + 1..]].concat();
    Ok(vec![raw(data.dtype(), dims, out)?])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (data, index) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let (axis, d) = (axis(ctx)?, ctx.input(0)?.dtype);
    let dims = [&data[..axis], &index[..], &data[axis + 1..]].concat();
    let mut b = ScalarBuilder::new();
    let mut at = loops::axes(&mut b, dims.len());
    let own: Vec<_> = at.splice(axis..axis + index.len(), []).collect();
    let (position, inside) = load_index(&mut b, ctx, 1, own, data[axis])?;
    at.insert(axis, position);
    let zero = b.constant(0.0, d);
    let e = b.load_or(Source::Input(0), at, inside, zero);
    Ok(loops::compute(vec![loops::map(dims, b, e)]))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(1 + case % 4, 6);
            let rank = dims.len() as i64;
            let axis = g.int(-rank, rank - 1);
            let n = dims[axis.rem_euclid(rank) as usize] as f64;
            let index = g.dims(case % 3, 4);
            let dtype = g.pick(&[DType::F32, DType::I64, DType::U8]);
            let index_type = g.pick(&[DType::I64, DType::I32]);
            let data = g.tensor(dtype, &dims, -5.0, 5.0);
            let index = g.tensor(index_type, &index, -n, n - 1.0);
            draft().data(data).data(index).attr("axis", axis).done()
        })
        .chain([draft().param(Tensor::ints(&[7, 8, 9])).param(Tensor::scalar(1i64)).done()])
        .collect()
}
