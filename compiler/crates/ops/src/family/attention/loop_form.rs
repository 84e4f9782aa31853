//! The loop form: scores, softmax and weighted sum as stages.

use super::strided::{MatrixView, StridedAttention};
use crate::loops::{self, affine, map, reduce};
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::scalar::{Cmp, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, OpCtx};

const D: DType = DType::F32;

pub(super) fn compute(ctx: &OpCtx, a: &StridedAttention) -> Compute {
    let batch = a.batch.len();
    let dims = |more: &[usize]| [&a.batch[..], more].concat();
    let all = |b: &mut ScalarBuilder, n: usize| loops::axes(b, n);
    // Loops of the stages: batch, query, key; the reduction follows.
    let (query, key) = (batch, batch + 1);
    let (s, l) = (a.queries, a.keys);
    let mut stages: Vec<Stage> = Vec::new();

    let mut b = ScalarBuilder::new();
    let q = load(ctx, &mut b, a, 0, &a.q, [query, batch + 2], [s, a.depth]);
    let k = load(ctx, &mut b, a, 1, &a.k, [key, batch + 2], [l, a.depth]);
    let term = b.mul(q, k);
    stages.push(reduce(dims(&[s, l]), vec![a.depth], Combine::Sum, b, term));

    let mut b = ScalarBuilder::new();
    let at = all(&mut b, batch + 2);
    let dot = b.load(Source::Stage(0), at, D);
    let scale = b.constant(f64::from(a.scale), D);
    let mut score = b.mul(dot, scale);
    for (i, m) in a.masks.iter().enumerate() {
        let m = load(ctx, &mut b, a, 3 + i, m, [query, key], [s, l]);
        score = b.add(score, m);
    }
    if a.causal {
        let (i, j) = (b.axis(query), b.axis(key));
        let hidden = b.compare(Cmp::Gt, j, i);
        let never = b.constant(f64::NEG_INFINITY, D);
        score = b.select(hidden, never, score);
    }
    stages.push(map(dims(&[s, l]), b, score));

    let mut b = ScalarBuilder::new();
    let at = all(&mut b, batch + 2);
    let score = b.load(Source::Stage(1), at, D);
    stages.push(reduce(dims(&[s]), vec![l], Combine::Max, b, score));

    let mut b = ScalarBuilder::new();
    let (at, row) = (all(&mut b, batch + 2), all(&mut b, batch + 1));
    let score = b.load(Source::Stage(1), at, D);
    let max = b.load(Source::Stage(2), row, D);
    let below = b.sub(score, max);
    let exp = b.unary(Unary::Exp, below);
    stages.push(map(dims(&[s, l]), b, exp));

    let mut b = ScalarBuilder::new();
    let at = all(&mut b, batch + 2);
    let exp = b.load(Source::Stage(3), at, D);
    stages.push(reduce(dims(&[s]), vec![l], Combine::Sum, b, exp));

    let mut b = ScalarBuilder::new();
    let (at, row) = (all(&mut b, batch + 2), all(&mut b, batch + 1));
    let exp = b.load(Source::Stage(3), at, D);
    let sum = b.load(Source::Stage(4), row.clone(), D);
    let mut weight = b.div(exp, sum);
    if a.zero_blind {
        let max = b.load(Source::Stage(2), row, D);
        let (never, zero) = (b.constant(f64::NEG_INFINITY, D), b.constant(0.0, D));
        let blind = b.compare(Cmp::Eq, max, never);
        weight = b.select(blind, zero, weight);
    }
    stages.push(map(dims(&[s, l]), b, weight));

    let mut b = ScalarBuilder::new();
    let mut at = all(&mut b, batch + 1);
    at.push(b.axis(batch + 2));
    let weight = b.load(Source::Stage(5), at, D);
    let v = load(ctx, &mut b, a, 2, &a.v, [batch + 2, batch + 1], [l, a.width]);
    let term = b.mul(weight, v);
    stages.push(reduce(dims(&[s, a.width]), vec![l], Combine::Sum, b, term));

    let mut b = ScalarBuilder::new();
    let terms: Vec<(Expr, i64)> = (0..a.dims.len())
        .map(|d| (b.axis(d), a.dims[d + 1..].iter().product::<usize>() as i64))
        .filter(|t| t.1 != 0)
        .collect();
    let flat = affine(&mut b, &terms, 0);
    let at = a.y.loops(&a.batch, s, a.width).into_iter().map(|(n, step)| digit(&mut b, flat, n, step)).collect();
    let y = b.load(Source::Stage(6), at, D);
    stages.push(map(a.dims.clone(), b, y));
    loops::compute(stages)
}

/// `flat / step % n`.
fn digit(b: &mut ScalarBuilder, flat: Expr, n: usize, step: usize) -> Expr {
    if n == 1 {
        return b.int(0);
    }
    let quotient = loops::div(b, flat, step.max(1));
    loops::rem(b, quotient, n)
}

/// An element of input `i`: batch loops come first, then `axes` are the loops of its rows and columns.
fn load(
    ctx: &OpCtx,
    b: &mut ScalarBuilder,
    a: &StridedAttention,
    i: usize,
    m: &MatrixView,
    axes: [usize; 2],
    [rows, cols]: [usize; 2],
) -> Expr {
    let dims = ctx.static_dims(i).unwrap_or_default();
    let numbers = (0..a.batch.len()).chain(axes);
    let terms: Vec<(usize, usize, usize)> =
        numbers.zip(m.loops(&a.batch, rows, cols)).map(|(axis, (n, step))| (axis, n, step)).collect();
    let index = digits(b, &dims, m.offset, &terms);
    b.load(Source::Input(i), index, D)
}

/// The index of element `offset + Σ axis * step` of a tensor. Where each step stays within one dimension, so that nothing
/// carries, the index of that dimension is a sum; else all are digits of the sum.
fn digits(b: &mut ScalarBuilder, dims: &[usize], offset: usize, terms: &[(usize, usize, usize)]) -> Vec<Expr> {
    let steps: Vec<usize> = (0..dims.len()).map(|d| dims[d + 1..].iter().product::<usize>().max(1)).collect();
    let mut rest = offset;
    let mut left: Vec<(usize, usize, usize)> = terms.iter().copied().filter(|t| t.1 > 1 && t.2 > 0).collect();
    let mut parts: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    for (&n, &step) in dims.iter().zip(&steps) {
        let base = rest / step;
        rest %= step;
        let here: Vec<(usize, usize, usize)> = left.iter().copied().filter(|t| t.2 >= step).collect();
        left.retain(|t| t.2 < step);
        let last = here.iter().fold(base, |a, t| a + (t.1 - 1) * (t.2 / step));
        if here.iter().any(|t| t.2 % step != 0) || last >= n {
            return carried(b, dims, &steps, offset, terms);
        }
        parts.push((base, here.iter().map(|t| (t.0, t.2 / step)).collect()));
    }
    let mut out = Vec::new();
    for (base, here) in parts {
        let scaled: Vec<(Expr, i64)> = here.into_iter().map(|(axis, s)| (b.axis(axis), s as i64)).collect();
        out.push(affine(b, &scaled, base as i64));
    }
    out
}

fn carried(
    b: &mut ScalarBuilder,
    dims: &[usize],
    steps: &[usize],
    offset: usize,
    terms: &[(usize, usize, usize)],
) -> Vec<Expr> {
    let scaled: Vec<(Expr, i64)> = terms.iter().map(|t| (b.axis(t.0), t.2 as i64)).collect();
    let flat = affine(b, &scaled, offset as i64);
    dims.iter().zip(steps).map(|(&n, &step)| digit(b, flat, n, step)).collect()
}
