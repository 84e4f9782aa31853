//! Permutations of dimensions, of whole ones and of parts.

use crate::axes::normalize_axes;
use crate::broadcast::strides;
use crate::define::{BASE, X_ANY};
use crate::loops;
use crate::sample::{Gen, draft};
use crate::separable::{offsets, separable};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrDefault, AttrKind, DType, Dim, OpCtx, OpDecl, OpError, TensorType};

const FAMILY: &str = "transpose";

/// `transpose`.
pub static TRANSPOSE: OpDecl = OpDecl {
    name: "transpose",
    family: FAMILY,
    doc: "Dimension `i` of the result is dimension `perm[i]` of the input; without `perm`, they are reversed.",
    inputs: X_ANY,
    attrs: &[AttrDecl::optional("perm", AttrKind::Ints, "Where each dimension comes from.")],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        Ok(vec![x.with_dims(permutation(ctx)?.iter().map(|&p| x.dims[p]))])
    },
    eval: |ctx| {
        let (x, perm) = (ctx.input(0)?, permutation(&ctx.op)?);
        let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
        let step = strides(x.dims());
        Ok(vec![separable(x, &dims, |i| offsets(dims[i], step[perm[i]], Some), None)?])
    },
    compute: Some(|ctx| {
        let (x, perm) = (ctx.static_dims(0)?, permutation(ctx)?);
        let mut b = ScalarBuilder::new();
        let mut index = vec![b.int(0); perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            index[p] = b.axis(i);
        }
        let body = b.load(Source::Input(0), index, ctx.input(0)?.dtype);
        Ok(loops::compute(vec![loops::map(perm.iter().map(|&p| x[p]).collect(), b, body)]))
    }),
    samples: transpose_samples,
    ..BASE
};

fn permutation(ctx: &OpCtx) -> Result<Vec<usize>, OpError> {
    let rank = ctx.input(0)?.rank();
    let Some(perm) = ctx.ints("perm") else { return Ok((0..rank).rev().collect()) };
    if perm.len() != rank {
        return Err(OpError::invalid(format!("perm {perm:?} has {} entries for rank {rank}", perm.len())));
    }
    normalize_axes(&perm, rank)
}

fn transpose_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = vec![draft().data(g.f32s(&[2, 3, 4])).done(), draft().data(g.f32s(&[])).done()];
    for rank in 1..6 {
        let perm: Vec<i64> = g.permutation(rank).into_iter().map(|p| p as i64).collect();
        let dims = g.dims(rank, 5);
        let dtype = g.pick(&[DType::F32, DType::I64, DType::U8, DType::F64, DType::Bool]);
        out.push(draft().attr("perm", perm).data(g.tensor(dtype, &dims, 0.0, 9.0)).done());
    }
    out.push(draft().attr("perm", vec![0, 2, 3, 1]).data(g.f32s(&[1, 40, 23, 31])).done());
    out
}

const MODE: AttrDecl = AttrDecl::with_default("mode", AttrKind::Str, AttrDefault::Str("DCR"), "`DCR` or `CRD`.");
const BLOCKSIZE: AttrDecl = AttrDecl::optional("blocksize", AttrKind::Int, "Side of a block.");

/// `depth_to_space`.
pub static DEPTH_TO_SPACE: OpDecl = OpDecl {
    name: "depth_to_space",
    family: FAMILY,
    doc: "Lays groups of channels out as `blocksize` x `blocksize` blocks of pixels. In mode `DCR` the position in the \
          block is the outer part of the channel number, in mode `CRD` the inner part.",
    inputs: X_ANY,
    attrs: &[BLOCKSIZE, MODE],
    infer: |ctx, syms| {
        let x = ctx.input(0)?;
        let (n, c, h, w) = planes(x)?;
        crd(ctx)?;
        let block = blocksize(ctx)?;
        if let Some(c) = c.known()
            && c % (block * block) != 0
        {
            return Err(OpError::invalid(format!("{c} channels are not a multiple of {block} x {block}")));
        }
        let c = syms.div(c, Dim::Const(block * block));
        Ok(vec![x.with_dims([n, c, syms.mul(h, Dim::Const(block)), syms.mul(w, Dim::Const(block))])])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let (bs, dims) = (blocksize(&ctx.op)? as usize, output_dims(ctx)?);
        let step = strides(x.dims());
        // Distance in channels of blocks' rows, of blocks' columns, and of output channels.
        let [row, column, channel] = if crd(&ctx.op)? { [bs, 1, bs * bs] } else { [bs * dims[1], dims[1], 1] };
        let along = |i: usize| match i {
            0 => offsets(dims[0], step[0], Some),
            1 => offsets(dims[1], step[1] * channel, Some),
            2 => offsets(dims[2], 1, |y| Some(y / bs * step[2] + y % bs * row * step[1])),
            _ => offsets(dims[3], 1, |x| Some(x / bs * step[3] + x % bs * column * step[1])),
        };
        Ok(vec![separable(x, &dims, along, None)?])
    },
    compute: Some(depth_to_space_loops),
    samples: |seed| {
        let mut g = Gen::new(seed);
        let mut out = Vec::new();
        for mode in ["DCR", "CRD"] {
            let d = draft().attr("mode", mode);
            out.push(d.clone().attr("blocksize", 2i64).data(g.f32s(&[2, 12, 3, 4])).done());
            out.push(d.attr("blocksize", 3i64).data(g.f32s(&[1, 18, 2, 2])).done());
        }
        out
    },
    ..BASE
};

fn depth_to_space_loops(ctx: &OpCtx) -> Result<Compute, OpError> {
    let x = ctx.static_dims(0)?;
    let bs = blocksize(ctx)? as usize;
    let dims = vec![x[0], x[1] / (bs * bs), x[2] * bs, x[3] * bs];
    let (mut b, wide) = (ScalarBuilder::new(), bs as i64);
    let at = loops::axes(&mut b, 4);
    let (i, j) = (loops::rem(&mut b, at[2], bs), loops::rem(&mut b, at[3], bs));
    let channel = if crd(ctx)? {
        loops::affine(&mut b, &[(at[1], wide * wide), (i, wide), (j, 1)], 0)
    } else {
        loops::affine(&mut b, &[(i, wide * dims[1] as i64), (j, dims[1] as i64), (at[1], 1)], 0)
    };
    let (h, w) = (loops::div(&mut b, at[2], bs), loops::div(&mut b, at[3], bs));
    let body = b.load(Source::Input(0), vec![at[0], channel, h, w], ctx.input(0)?.dtype);
    Ok(loops::compute(vec![loops::map(dims, b, body)]))
}

/// `space_to_depth`.
pub static SPACE_TO_DEPTH: OpDecl = OpDecl {
    name: "space_to_depth",
    family: FAMILY,
    doc: "Gathers `blocksize` x `blocksize` blocks of pixels into channels. In mode `DCR` the position in the block is the \
          outer part of the channel number, in mode `CRD` the inner part.",
    inputs: X_ANY,
    attrs: &[BLOCKSIZE, MODE],
    infer: |ctx, syms| {
        let x = ctx.input(0)?;
        let (n, c, h, w) = planes(x)?;
        crd(ctx)?;
        let block = blocksize(ctx)?;
        for d in [h, w] {
            if let Some(d) = d.known()
                && d % block != 0
            {
                return Err(OpError::invalid(format!("height or width {d} is not a multiple of {block}")));
            }
        }
        let b = Dim::Const(block);
        Ok(vec![x.with_dims([n, syms.mul(c, Dim::Const(block * block)), syms.div(h, b), syms.div(w, b)])])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let (bs, dims) = (blocksize(&ctx.op)? as usize, output_dims(ctx)?);
        let (step, c) = (strides(x.dims()), x.dims()[1]);
        let crd = crd(&ctx.op)?;
        let source = |k: usize| {
            let (channel, place) = if crd { (k / (bs * bs), k % (bs * bs)) } else { (k % c, k / c) };
            Some(channel * step[1] + place / bs * step[2] + place % bs * step[3])
        };
        let along = |i: usize| match i {
            0 => offsets(dims[0], step[0], Some),
            1 => offsets(dims[1], 1, source),
            2 => offsets(dims[2], step[2] * bs, Some),
            _ => offsets(dims[3], step[3] * bs, Some),
        };
        Ok(vec![separable(x, &dims, along, None)?])
    },
    compute: Some(|ctx| {
        let x = ctx.static_dims(0)?;
        let bs = blocksize(ctx)? as usize;
        let (mut b, wide, c) = (ScalarBuilder::new(), bs as i64, x[1].max(1));
        let at = loops::axes(&mut b, 4);
        let (channel, place) = if crd(ctx)? {
            (loops::div(&mut b, at[1], bs * bs), loops::rem(&mut b, at[1], bs * bs))
        } else {
            (loops::rem(&mut b, at[1], c), loops::div(&mut b, at[1], c))
        };
        let (i, j) = (loops::div(&mut b, place, bs), loops::rem(&mut b, place, bs));
        let h = loops::affine(&mut b, &[(at[2], wide), (i, 1)], 0);
        let w = loops::affine(&mut b, &[(at[3], wide), (j, 1)], 0);
        let body = b.load(Source::Input(0), vec![at[0], channel, h, w], ctx.input(0)?.dtype);
        let dims = vec![x[0], x[1] * bs * bs, x[2] / bs, x[3] / bs];
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().attr("blocksize", 2i64).data(g.f32s(&[2, 3, 4, 6])).done(),
            draft().attr("blocksize", 3i64).data(g.f32s(&[1, 2, 6, 3])).done(),
            draft().attr("blocksize", 2i64).attr("mode", "CRD").data(g.f32s(&[1, 3, 4, 6])).done(),
        ]
    },
    ..BASE
};

fn planes(x: &TensorType) -> Result<(Dim, Dim, Dim, Dim), OpError> {
    match x.dims[..] {
        [n, c, h, w] => Ok((n, c, h, w)),
        _ => Err(OpError::invalid(format!("the input must be N x C x H x W, it has rank {}", x.rank()))),
    }
}

/// At most 65536, so that products with it do not overflow.
fn blocksize(ctx: &OpCtx) -> Result<u64, OpError> {
    match ctx.int("blocksize") {
        Some(b @ 1..=65536) => Ok(b as u64),
        Some(b) => Err(OpError::invalid(format!("blocksize is {b}, it must be in 1..=65536"))),
        None => Err(OpError::invalid("attribute blocksize is missing")),
    }
}

fn crd(ctx: &OpCtx) -> Result<bool, OpError> {
    match ctx.string("mode").as_deref() {
        Some("CRD") => Ok(true),
        Some("DCR") | None => Ok(false),
        Some(other) => Err(OpError::invalid(format!("mode is \"{other}\", it must be \"DCR\" or \"CRD\""))),
    }
}

/// The inferred shape of the result.
fn output_dims(ctx: &EvalCtx) -> Result<Vec<usize>, OpError> {
    let ty = ctx.op.outputs.first().and_then(TensorType::static_dims);
    ty.ok_or_else(|| OpError::invalid("the result has no known shape"))
}
