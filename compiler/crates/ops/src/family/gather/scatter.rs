//! Writing at computed positions.

use super::elements::{axis, positions};
use super::nd::{offsets, random_tuples};
use super::{indices, raw};
use crate::define::BASE;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use half::{bf16, f16};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

const INPUTS: &[Operand] = &[
    Operand::required("data", DTypeSet::ANY),
    Operand::required("indices", DTypeSet::INDEX),
    Operand::required("updates", DTypeSet::ANY),
];
const REDUCTION: AttrDecl = AttrDecl::with_default(
    "reduction",
    AttrKind::Str,
    AttrDefault::Str("none"),
    "how an update meets what is there: none (replaces), add, mul, max, min",
);

/// Scatter single elements.
pub static SCATTER_ELEMENTS: OpDecl = OpDecl {
    name: "scatter_elements",
    family: "gather",
    doc: "A copy of `data` with each element of `updates` written at its own position, index `axis` replaced by that in \
          `indices`, in order. ONNX ScatterElements.",
    inputs: INPUTS,
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(0), "the indexed dimension"), REDUCTION],
    infer: infer_elements,
    eval: eval_elements,
    samples: samples_elements,
    ..BASE
};

/// Scatter slices at index tuples.
pub static SCATTER_ND: OpDecl = OpDecl {
    name: "scatter_nd",
    family: "gather",
    doc: "A copy of `data` with slices of `updates` written at the index tuples in the last dimension of `indices`, in \
          order. updates: indices[..-1] ++ data[tuple length ..]. ONNX ScatterND.",
    inputs: INPUTS,
    outputs: &[Operand::required("y", DTypeSet::ANY)],
    attrs: &[REDUCTION],
    infer: infer_nd,
    eval: eval_nd,
    samples: samples_nd,
    ..BASE
};

/// How an update meets what is there.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Reduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

fn reduction(ctx: &OpCtx) -> Result<Reduction, OpError> {
    let (data, updates) = (ctx.input(0)?, ctx.input(2)?);
    if data.dtype != updates.dtype {
        return Err(OpError::invalid(format!("updates are {}, the data is {}", updates.dtype, data.dtype)));
    }
    Ok(match ctx.string("reduction").unwrap_or_default().as_str() {
        "none" => Reduction::None,
        _ if data.dtype == DType::Bool => return Err(OpError::invalid("bools have no reduction but none")),
        "add" => Reduction::Add,
        "mul" => Reduction::Mul,
        "max" => Reduction::Max,
        "min" => Reduction::Min,
        other => return Err(OpError::invalid(format!("reduction is '{other}'"))),
    })
}

fn same_dims(a: &[Dim], b: &[Dim]) -> bool {
    let differ = |(x, y): (&Dim, &Dim)| matches!((x, y), (Dim::Const(p), Dim::Const(q)) if p != q);
    a.len() == b.len() && !a.iter().zip(b).any(differ)
}

fn infer_elements(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    axis(ctx)?;
    reduction(ctx)?;
    if !same_dims(&ctx.input(1)?.dims, &ctx.input(2)?.dims) {
        return Err(OpError::invalid("updates and indices differ in shape"));
    }
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, ctx.input(0)?.dims.iter().copied())])
}

fn infer_nd(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    reduction(ctx)?;
    let tuple = tuple_length(ctx)?;
    let (data, index, updates) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
    let want: Vec<Dim> = index.dims[..index.rank() - 1].iter().chain(&data.dims[tuple..]).copied().collect();
    if !same_dims(&want, &updates.dims) {
        return Err(OpError::invalid("updates do not have the shape indices[..-1] ++ data[tuple length ..]"));
    }
    Ok(vec![TensorType::new(data.dtype, data.dims.iter().copied())])
}

fn tuple_length(ctx: &OpCtx) -> Result<usize, OpError> {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let last = index.dims.last().ok_or_else(|| OpError::invalid("indices are a scalar"))?;
    let n = last.known().ok_or_else(|| OpError::unsupported("the length of the index tuples is dynamic"))?;
    if n == 0 || n > data.rank() as u64 {
        return Err(OpError::invalid(format!("index tuples of {n} for data of rank {}", data.rank())));
    }
    Ok(n as usize)
}

/// Combines elements `to` of a type with `from`, element by element.
fn combine(dtype: DType, r: Reduction, to: &mut [u8], from: &[u8]) {
    if r == Reduction::None {
        return to.copy_from_slice(from);
    }
    macro_rules! with {
        ($t:ty, $add:expr, $mul:expr) => {
            for (to, from) in to.chunks_exact_mut(size_of::<$t>()).zip(from.chunks_exact(size_of::<$t>())) {
                let (a, b): ($t, $t) = (bytemuck::pod_read_unaligned(to), bytemuck::pod_read_unaligned(from));
                let c: $t = match r {
                    Reduction::Add => $add(a, b),
                    Reduction::Mul => $mul(a, b),
                    Reduction::Max => {
                        if b > a {
                            b
                        } else {
                            a
                        }
                    }
                    Reduction::Min => {
                        if b < a {
                            b
                        } else {
                            a
                        }
                    }
                    Reduction::None => b,
                };
                to.copy_from_slice(bytemuck::bytes_of(&c));
            }
        };
    }
    macro_rules! int {
        ($t:ty) => {
            with!($t, <$t>::wrapping_add, <$t>::wrapping_mul)
        };
    }
    macro_rules! float {
        ($t:ty) => {
            with!($t, |a: $t, b: $t| a + b, |a: $t, b: $t| a * b)
        };
    }
    match dtype {
        DType::F32 => float!(f32),
        DType::F64 => float!(f64),
        DType::F16 => float!(f16),
        DType::BF16 => float!(bf16),
        DType::I8 => int!(i8),
        DType::I16 => int!(i16),
        DType::I32 => int!(i32),
        DType::I64 => int!(i64),
        DType::U8 | DType::Bool => int!(u8),
        DType::U16 => int!(u16),
        DType::U32 => int!(u32),
        DType::U64 => int!(u64),
    }
}

/// Writes slices of `slice` elements at flat positions.
fn scatter(ctx: &EvalCtx, positions: &[usize], slice: usize) -> Evaluated {
    let (data, updates) = (ctx.input(0)?, ctx.input(2)?);
    let r = reduction(&ctx.op)?;
    let size = data.dtype().size();
    let mut out = data.bytes().to_vec();
    if slice > 0 {
        for (&at, part) in positions.iter().zip(updates.bytes().chunks_exact(slice * size)) {
            combine(data.dtype(), r, &mut out[at * size..(at + slice) * size], part);
        }
    }
    Ok(vec![raw(data.dtype(), data.dims().to_vec(), out)?])
}

fn eval_elements(ctx: &EvalCtx) -> Evaluated {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let positions = positions(data.dims(), index.dims(), &indices(index)?, axis(&ctx.op)?)?;
    scatter(ctx, &positions, 1)
}

fn eval_nd(ctx: &EvalCtx) -> Evaluated {
    let (data, index) = (ctx.input(0)?, ctx.input(1)?);
    let tuple = tuple_length(&ctx.op)?;
    let positions = offsets(data.dims(), &indices(index)?, tuple, 0)?;
    scatter(ctx, &positions, data.dims()[tuple..].iter().product())
}

const MODES: [&str; 5] = ["none", "add", "mul", "max", "min"];

fn samples_elements(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(1 + case % 3, 5);
            let axis = g.below(dims.len());
            // Without a reduction, an index that stands twice would leave the order of writing open.
            let n = dims[axis];
            let index = if case % 5 == 0 {
                let order = g.permutation(n);
                let inner: usize = dims[axis + 1..].iter().product();
                let values = (0..dims.iter().product()).map(|i: usize| order[i / inner % n] as i64).collect::<Vec<_>>();
                Tensor::new(dims.clone(), values)
            } else {
                g.tensor(DType::I64, &dims, -(n as f64), n as f64 - 1.0)
            };
            let updates = g.f32s(&dims);
            let d = draft().data(g.f32s(&dims)).data(index).data(updates);
            d.attr("axis", axis as i64).attr("reduction", MODES[case % 5]).done()
        })
        .collect()
}

fn samples_nd(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(1 + case % 3, 5);
            let tuple = 1 + g.below(dims.len());
            let head = if case % 5 == 0 { vec![1] } else { g.dims(1 + case % 2, 4) };
            let index = random_tuples(&mut g, &head, &dims[..tuple]);
            let updates = g.f32s(&[&head[..], &dims[tuple..]].concat());
            draft().data(g.f32s(&dims)).data(index).data(updates).attr("reduction", MODES[case % 5]).done()
        })
        .collect()
}
