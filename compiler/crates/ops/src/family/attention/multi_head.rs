//! Attention of many heads at once, which reads and writes projections as they lie.

use super::loop_form;
use super::strided::{MatrixView, StridedAttention};
use crate::define::BASE;
use crate::product::{Matrix, product};
use crate::real::{Evaluated, reals, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{AttrDecl, AttrKind, DType, DTypeSet, OpDecl, OpError, Operand, Tensor, TensorType};
use rayon::prelude::*;

const F32: DTypeSet = DTypeSet::only(DType::F32);

/// Attention over strided views.
pub static MULTI_HEAD_ATTENTION: OpDecl = OpDecl {
    name: "multi_head_attention",
    family: "attention",
    doc: "y = softmax(scale * q k' + sum of masks) v for every index of the batch loops (batch elements, heads). q, k, v, the \
          masks and y are matrices inside tensors of any shape, given by views, so that projections with heads side by \
          side need no transposed copy. A view is: first element, step of each batch loop, step of rows, step of columns, \
          in elements. Made by the compiler only.",
    inputs: &[
        Operand::required("q", F32),
        Operand::required("k", F32),
        Operand::required("v", F32),
        Operand::variadic("masks", F32),
    ],
    outputs: &[Operand::required("y", F32)],
    attrs: &[
        AttrDecl::optional("batch", AttrKind::Ints, "extents of the batch loops"),
        AttrDecl::optional("sizes", AttrKind::Ints, "queries, keys, columns of q and k, columns of v and y"),
        AttrDecl::optional("q_view", AttrKind::Ints, "view of q, [queries, depth]"),
        AttrDecl::optional("k_view", AttrKind::Ints, "view of k, [keys, depth]"),
        AttrDecl::optional("v_view", AttrKind::Ints, "view of v, [keys, width]"),
        AttrDecl::optional(
            "mask_views",
            AttrKind::Ints,
            "views of the masks, [queries, keys] each, one behind the other",
        ),
        AttrDecl::optional("y_view", AttrKind::Ints, "view of y, [queries, width]; covers it once"),
        AttrDecl::optional("dims", AttrKind::Ints, "shape of y"),
        AttrDecl::with_default("scale", AttrKind::Float, AttrDefault::Float(1.0), "factor of the scores"),
        AttrDecl::with_default(
            "is_causal",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "a query sees keys up to its own position only",
        ),
        AttrDecl::with_default(
            "zero_blind",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "a query that sees no key gives 0, not NaN",
        ),
    ],
    infer: |ctx, _| {
        let a = StridedAttention::read(ctx)?;
        Ok(vec![TensorType::new(DType::F32, a.dims)])
    },
    eval,
    compute: Some(|ctx| Ok(loop_form::compute(ctx, &StridedAttention::read(ctx)?))),
    flops: |ctx| StridedAttention::read(ctx).map_or(0, |a| flops(&a)),
    samples,
    ..BASE
};

/// Two for each multiply-add of both products.
pub fn flops(a: &StridedAttention) -> u64 {
    let n = a.matrices().unwrap_or(usize::MAX);
    [n, a.queries, a.keys, a.depth.saturating_add(a.width)].into_iter().fold(2, |x: u64, n| x.saturating_mul(n as u64))
}

/// The matrix of a view at `start`, dense.
fn gather(x: &[f32], m: &MatrixView, start: usize, rows: usize, cols: usize) -> Vec<f32> {
    (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(|(i, j)| x[start + i * m.row + j * m.col]).collect()
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let a = StridedAttention::read(&ctx.op)?;
    let tensor = |i: usize| ctx.input(i).map(reals::<f32>);
    let (q, k, v) = (tensor(0)?, tensor(1)?, tensor(2)?);
    let masks = (0..a.masks.len()).map(|i| tensor(3 + i)).collect::<Result<Vec<_>, OpError>>()?;
    let (s, l, e, f) = (a.queries, a.keys, a.depth, a.width);
    let mut y = zeros::<f32>(&a.dims)?;
    let one = |n: usize| {
        let (k, v) = (gather(&k, &a.k, a.k.start(&a.batch, n), l, e), gather(&v, &a.v, a.v.start(&a.batch, n), l, f));
        let q = gather(&q, &a.q, a.q.start(&a.batch, n), s, e);
        let mut scores = vec![0f32; s * l];
        let right = Matrix::dense(&k, e).t();
        product((s, l, e), Matrix::dense(&q, e), |p, j, out| right.read_row(p, j, out), &mut scores);
        for (i, line) in scores.chunks_exact_mut(l).enumerate() {
            let mut wide: Vec<f64> = line.iter().map(|&x| f64::from(x) * f64::from(a.scale)).collect();
            for (m, values) in a.masks.iter().zip(&masks) {
                let start = m.start(&a.batch, n) + i * m.row;
                wide.iter_mut().enumerate().for_each(|(j, x)| *x += f64::from(values[start + j * m.col]));
            }
            if a.causal {
                wide.iter_mut().skip(i + 1).for_each(|x| *x = f64::NEG_INFINITY);
            }
            softmax(&mut wide, a.zero_blind);
            line.iter_mut().zip(wide).for_each(|(x, w)| *x = w as f32);
        }
        let mut y = vec![0f32; s * f];
        let right = Matrix::dense(&v, f);
        product((s, f, l), Matrix::dense(&scores, l), |p, j, out| right.read_row(p, j, out), &mut y);
        y
    };
    let count = a.matrices().unwrap_or(0);
    let results: Vec<Vec<f32>> = (0..count).into_par_iter().map(one).collect();
    for (n, result) in results.into_iter().enumerate() {
        let start = a.y.start(&a.batch, n);
        for (i, x) in result.into_iter().enumerate() {
            y[start + i / f * a.y.row + i % f * a.y.col] = x;
        }
    }
    Ok(vec![Tensor::new(a.dims, y)])
}

fn softmax(row: &mut [f64], zero_blind: bool) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY && zero_blind {
        row.fill(0.0);
        return;
    }
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..8).map(|case| sample(&mut g, case)).collect()
}

/// Heads side by side in one projection of q, k and v, or in three; keys and values shared by groups of heads; masks.
fn sample(g: &mut Gen, case: usize) -> Sample {
    let (n, groups, each) = (1 + g.below(2), 1 + g.below(3), 1 + g.below(2));
    let heads = groups * each;
    let (s, e) = (1 + g.below(40), 1 + g.below(24));
    let packed = case.is_multiple_of(2);
    let (l, f) = if packed { (s, e) } else { (1 + g.below(40), 1 + g.below(24)) };
    // [n, s, (heads + 2 groups) * e], or a tensor for each.
    let total = if packed { (heads + 2 * groups) * e } else { 0 };
    let width = |own: usize| if packed { total } else { own };
    let view = |offset: usize, length: usize, own: usize, of: usize, group: usize, head: usize| MatrixView {
        offset: if packed { offset } else { 0 },
        batch: vec![length * width(own), group * of, head * of],
        row: width(own),
        col: 1,
    };
    let mut a = StridedAttention {
        batch: vec![n, groups, each],
        queries: s,
        keys: l,
        depth: e,
        width: f,
        q: view(0, s, heads * e, e, each, 1),
        k: view(heads * e, l, groups * e, e, 1, 0),
        v: view((heads + groups) * e, l, groups * f, f, 1, 0),
        masks: Vec::new(),
        y: MatrixView { offset: 0, batch: vec![s * heads * f, each * f, f], row: heads * f, col: 1 },
        dims: vec![n, s, heads * f],
        scale: 1.0 / (e as f32).sqrt(),
        causal: case == 2,
        zero_blind: case == 5,
    };
    let mut d = draft();
    if packed {
        let x = g.f32s(&[n, s, total]);
        d = d.data(x.clone()).data(x.clone()).data(x);
    } else {
        d = d.data(g.f32s(&[n, s, heads * e])).data(g.f32s(&[n, l, groups * e])).data(g.f32s(&[n, l, groups * f]));
    }
    if case % 4 == 3 {
        // One mask [keys, queries] for each head, turned; the other one row for each batch element.
        a.masks.push(MatrixView { offset: 0, batch: vec![0, each * s * l, s * l], row: 1, col: s });
        a.masks.push(MatrixView { offset: 0, batch: vec![l, 0, 0], row: 0, col: 1 });
        d = d.data(g.f32s(&[heads, l, s])).data(g.f32s(&[n, 1, 1, l]));
    }
    if case == 5 {
        // Some keys, at times all, are out of sight.
        a.masks.push(MatrixView { offset: 0, batch: vec![0, 0, 0], row: 1, col: s });
        let mask = (0..l * s).map(|_| if g.below(l) < l / 2 + 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
        d = d.data(Tensor::new(vec![l, s], mask));
    }
    let attrs = a.attrs();
    let mut sample = d.done();
    sample.attrs = attrs;
    sample
}
