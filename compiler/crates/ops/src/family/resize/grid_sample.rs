//! Sampling at given coordinates.

use super::coordinate::cubic;
use crate::define::BASE;
use crate::real::{Evaluated, Real, eval_real, reals, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};
use rayon::prelude::*;

/// Grid sample.
pub static GRID_SAMPLE: OpDecl = OpDecl {
    name: "grid_sample",
    family: "resize",
    doc: "y[n,c,o] is x[n,c] interpolated at grid[n,o], coordinates from -1 to 1 over the image, innermost dimension first. \
          x: [N,C,D1..Dr], grid: [N,O1..Or,r], r = 2 or 3. ONNX GridSample.",
    inputs: &[Operand::required("x", DTypeSet::FLOAT), Operand::required("grid", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[
        AttrDecl::with_default(
            "mode",
            AttrKind::Str,
            AttrDefault::Str("linear"),
            "linear, nearest or (in two dimensions) cubic",
        ),
        AttrDecl::with_default(
            "padding_mode",
            AttrKind::Str,
            AttrDefault::Str("zeros"),
            "what lies outside the image: zeros, border or reflection",
        ),
        AttrDecl::with_default(
            "align_corners",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "-1 and 1 are the centres of the corner pixels, not their corners",
        ),
    ],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    flops: |ctx| {
        let taps = |r: usize| 1u64 << r;
        let rank = ctx.input(0).map_or(0, TensorType::rank).saturating_sub(2);
        ctx.outputs.first().and_then(TensorType::num_elements).map_or(0, |n| 2 * taps(rank) * n as u64)
    },
    samples,
    ..BASE
};

#[derive(Copy, Clone, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// Mode (number of samples along a dimension), padding, corner alignment.
fn params(ctx: &OpCtx) -> Result<(usize, Padding, bool), OpError> {
    let rank = ctx.input(0)?.rank();
    let taps = match ctx.string("mode").unwrap_or_default().as_str() {
        "nearest" => 1,
        "linear" | "bilinear" => 2,
        "cubic" | "bicubic" if rank == 4 => 4,
        other => return Err(OpError::invalid(format!("mode is '{other}' for rank {rank}"))),
    };
    let padding = match ctx.string("padding_mode").unwrap_or_default().as_str() {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(OpError::invalid(format!("padding_mode is '{other}'"))),
    };
    Ok((taps, padding, ctx.flag("align_corners")))
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    params(ctx)?;
    let (x, grid) = (ctx.input(0)?, ctx.input(1)?);
    if !(4..=5).contains(&x.rank()) || grid.rank() != x.rank() {
        return Err(OpError::invalid(format!(
            "the image has rank {}, the grid {}; both must be 4 or 5",
            x.rank(),
            grid.rank()
        )));
    }
    let r = x.rank() - 2;
    if grid.dims[r + 1].known().is_some_and(|n| n != r as u64) {
        return Err(OpError::invalid(format!("the grid's last dimension must be {r}")));
    }
    if let (Dim::Const(a), Dim::Const(b)) = (x.dims[0], grid.dims[0])
        && a != b
    {
        return Err(OpError::invalid(format!("the batch is {a} in the image, {b} in the grid")));
    }
    if x.dims[2..].contains(&Dim::Const(0)) {
        return Err(OpError::invalid("the image is empty"));
    }
    let dims = x.dims[..2].iter().chain(&grid.dims[1..=r]);
    Ok(vec![TensorType::new(x.dtype, dims.copied().collect::<Vec<_>>())])
}

/// `x` mirrored into `lo..=hi` as often as needed.
fn reflect(x: f64, lo: f64, hi: f64) -> f64 {
    let range = hi - lo;
    if range <= 0.0 || !x.is_finite() {
        return lo;
    }
    let off = (x - lo).abs() % (2.0 * range);
    lo + if off > range { 2.0 * range - off } else { off }
}

/// Samples along one dimension: positions (`None` reads zero) and weights.
fn along(x: f64, n: usize, taps: usize, padding: Padding, align: bool) -> Vec<(Option<usize>, f64)> {
    let (lo, hi) = if align { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64 - 0.5) };
    let last = n as f64 - 1.0;
    let mut x = if align { (x + 1.0) / 2.0 * last } else { ((x + 1.0) * n as f64 - 1.0) / 2.0 };
    if taps != 4 {
        match padding {
            Padding::Zeros => {}
            Padding::Border => x = x.clamp(0.0, last),
            Padding::Reflection => x = reflect(x, lo, hi),
        }
    }
    let place = |p: f64| {
        let p = match padding {
            Padding::Zeros => p,
            Padding::Border => p.clamp(0.0, last),
            Padding::Reflection => reflect(p, lo, hi).round_ties_even().clamp(0.0, last),
        };
        (p >= 0.0 && p <= last).then_some(p as usize)
    };
    match taps {
        1 => vec![(place(x.round_ties_even()), 1.0)],
        2 => {
            let low = x.floor();
            vec![(place(low), 1.0 - (x - low)), (place(low + 1.0), x - low)]
        }
        _ => {
            let low = x.floor();
            (-1..3).map(|k| low + f64::from(k)).map(|p| (place(p), f64::from(cubic((x - p) as f32, -0.75)))).collect()
        }
    }
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let (x, grid) = (ctx.input(0)?, ctx.input(1)?);
    let (taps, padding, align) = params(&ctx.op)?;
    let r = x.dims().len() - 2;
    let (channels, size) = (x.dims()[1], &x.dims()[2..]);
    let plane: usize = size.iter().product();
    let points: usize = grid.dims()[1..=r].iter().product();
    let dims = [&x.dims()[..2], &grid.dims()[1..=r]].concat();
    let mut y = zeros::<T>(&dims)?;
    if y.is_empty() {
        return Ok(vec![Tensor::new(dims, y)]);
    }
    let (data, grid) = (reals::<T>(x), grid.to_f64s());
    y.par_chunks_mut(points).enumerate().for_each(|(i, y)| {
        let data = &data[i * plane..(i + 1) * plane];
        let image = i / channels;
        for (o, y) in y.iter_mut().enumerate() {
            let at = &grid[(image * points + o) * r..][..r];
            let mut sum = vec![(Some(0), 1.0)];
            for (d, &n) in size.iter().enumerate() {
                let next = along(at[r - 1 - d], n, taps, padding, align);
                let join = |&(p, w): &(Option<usize>, f64)| {
                    let next = next.iter();
                    next.map(move |&(q, v)| (p.zip(q).map(|(p, q)| p * n + q), w * v)).collect::<Vec<_>>()
                };
                sum = sum.iter().flat_map(join).collect();
            }
            *y = T::of(sum.iter().map(|&(p, w)| p.map_or(0.0, |p| data[p].wide() * w)).sum());
        }
    });
    Ok(vec![Tensor::new(dims, y)])
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for mode in ["linear", "nearest", "cubic"] {
        for padding in ["zeros", "border", "reflection"] {
            let n = 1 + g.below(2);
            let r = if mode == "linear" && g.coin() { 3 } else { 2 };
            let x = [vec![n, 1 + g.below(3)], g.dims(r, 4).iter().map(|d| d + 1).collect()].concat();
            let grid = [vec![n], g.dims(r, 4), vec![r]].concat();
            let grid = g.tensor(DType::F32, &grid, -1.4, 1.4);
            let d = draft().data(g.f32s(&x)).data(grid).attr("mode", mode).attr("padding_mode", padding);
            out.push(d.attr("align_corners", g.coin()).done());
        }
    }
    out
}
