//! Repetition: expand and tile.

use crate::broadcast::{broadcast, broadcast_static, broadcast_strides, strides};
use crate::define::BASE;
use crate::dims::{check_rank, const_list, sizes, unknown_dims};
use crate::elementwise::broadcast_index;
use crate::loops;
use crate::sample::{Gen, draft};
use crate::separable::{offsets, separable};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::types::Dims;
use mnnc_ir::{DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand};

const FAMILY: &str = "expand";

/// `expand`.
pub static EXPAND: OpDecl = OpDecl {
    name: "expand",
    family: FAMILY,
    doc: "The input broadcast with `shape`, in both directions: a 1 in `shape` keeps the input's size.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::required("shape", DTypeSet::I64)],
    infer: |ctx, syms| {
        let x = ctx.input(0)?;
        let dims = match const_list(ctx, 1)? {
            Some(shape) => {
                check_rank(shape.len())?;
                let shape: Dims = sizes(&shape, "shape")?.into_iter().map(Dim::from).collect();
                broadcast([&x.dims[..], &shape], syms)?
            }
            None => {
                let shape = unknown_dims(ctx, 1, syms)?;
                let rank = shape.len().max(x.rank());
                (0..rank).map(|_| syms.fresh()).collect()
            }
        };
        Ok(vec![x.with_dims(dims)])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let dims = expanded(&ctx.op, x.dims())?;
        let step = broadcast_strides(x.dims(), &dims);
        Ok(vec![separable(x, &dims, |i| offsets(dims[i], step[i], Some), None)?])
    },
    compute: Some(|ctx| {
        let x = ctx.static_dims(0)?;
        let dims = expanded(ctx, &x)?;
        let mut b = ScalarBuilder::new();
        let index = broadcast_index(&mut b, &x, &dims);
        let body = b.load(Source::Input(0), index, ctx.input(0)?.dtype);
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[3, 1])).ints(&[2, 1, 4]).done(),
            draft().data(g.f32s(&[2, 3])).ints(&[1, 1]).done(),
            draft().data(g.f32s(&[])).ints(&[2, 2]).done(),
            draft().data(g.tensor(DType::I64, &[1], 0.0, 9.0)).ints(&[0]).done(),
            draft().data(g.tensor(DType::Bool, &[1, 2], 0.0, 1.0)).ints(&[3, 2]).done(),
        ]
    },
    ..BASE
};

fn expanded(ctx: &OpCtx, x: &[usize]) -> Result<Vec<usize>, OpError> {
    broadcast_static(&[x, &sizes(&ctx.const_ints(1)?, "shape")?])
}

/// `tile`.
pub static TILE: OpDecl = OpDecl {
    name: "tile",
    family: FAMILY,
    doc: "The input `repeats[i]` times along dimension `i`.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::required("repeats", DTypeSet::I64)],
    infer: |ctx, syms| {
        let x = ctx.input(0)?;
        let dims: Dims = match const_list(ctx, 1)? {
            Some(_) => {
                let repeats = repeats(ctx, x.rank())?;
                for (d, &n) in x.dims.iter().zip(&repeats) {
                    if d.known().is_some_and(|d| d.checked_mul(n as u64).is_none()) {
                        return Err(OpError::invalid(format!("repeats {repeats:?} of {} overflow", x.show(syms))));
                    }
                }
                x.dims.iter().zip(repeats).map(|(&d, n)| syms.mul(d, Dim::from(n))).collect()
            }
            None => x.dims.iter().map(|_| syms.fresh()).collect(),
        };
        Ok(vec![x.with_dims(dims)])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let (from, step) = (x.dims(), strides(x.dims()));
        let dims: Vec<usize> = from.iter().zip(repeats(&ctx.op, from.len())?).map(|(d, n)| d * n).collect();
        Ok(vec![separable(x, &dims, |i| offsets(dims[i], step[i], |k| Some(k % from[i])), None)?])
    },
    compute: Some(|ctx| {
        let x = ctx.static_dims(0)?;
        let n = repeats(ctx, x.len())?;
        let mut b = ScalarBuilder::new();
        let index = (0..x.len())
            .map(|i| {
                let at = b.axis(i);
                if n[i] == 1 { at } else { loops::rem(&mut b, at, x[i].max(1)) }
            })
            .collect();
        let body = b.load(Source::Input(0), index, ctx.input(0)?.dtype);
        Ok(loops::compute(vec![loops::map(x.iter().zip(n).map(|(d, n)| d * n).collect(), b, body)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[2, 3])).ints(&[2, 2]).done(),
            draft().data(g.f32s(&[2, 1, 2])).ints(&[1, 4, 1]).done(),
            draft().data(g.tensor(DType::I64, &[3], 0.0, 9.0)).ints(&[0]).done(),
        ]
    },
    ..BASE
};

fn repeats(ctx: &OpCtx, rank: usize) -> Result<Vec<usize>, OpError> {
    let repeats = sizes(&ctx.const_ints(1)?, "repeats")?;
    if repeats.len() != rank {
        return Err(OpError::invalid(format!("repeats has {} entries for rank {rank}", repeats.len())));
    }
    Ok(repeats)
}
