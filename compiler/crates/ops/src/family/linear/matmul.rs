//! Matrix product with broadcast batch dimensions.

use crate::broadcast::{broadcast, broadcast_static, broadcast_strides};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, reduce, wide};
use crate::product::{Matrix, product};
use crate::real::{Evaluated, Real, eval_real, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};
use mnnc_ir::{DType, DTypeSet, Dim, Element, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};
use rayon::prelude::*;

const TYPES: DTypeSet =
    DTypeSet::FLOAT.union(DTypeSet::INDEX).union(DTypeSet::only(DType::U32)).union(DTypeSet::only(DType::U64));

/// Matrix product.
pub static MATMUL: OpDecl = OpDecl {
    name: "matmul",
    family: "linear",
    doc: "Matrix product of the last two dimensions, the others broadcast; a vector is a row on the left and a column on \
          the right. a: [.., M, K], b: [.., K, N], y: [.., M, N]. ONNX MatMul, NumPy matmul.",
    inputs: &[Operand::required("a", TYPES), Operand::required("b", TYPES)],
    outputs: &[Operand::required("y", TYPES)],
    infer,
    eval,
    compute: Some(compute),
    flops: |ctx| MatmulShape::new(ctx, 0, 1).map_or(0, |s| s.flops()),
    samples,
    ..BASE
};

/// Shape with a vector made a matrix.
fn matrix_dims(dims: &[Dim], left: bool) -> Vec<Dim> {
    match (dims, left) {
        ([d], true) => vec![Dim::Const(1), *d],
        ([d], false) => vec![*d, Dim::Const(1)],
        _ => dims.to_vec(),
    }
}

/// Output dims of a matrix product of inputs `a` and `b` of a node.
pub(crate) fn infer_dims(ctx: &OpCtx, a: usize, b: usize, syms: &mut SymTable) -> Result<Vec<Dim>, OpError> {
    let (at, bt) = (ctx.input(a)?, ctx.input(b)?);
    if at.rank() == 0 || bt.rank() == 0 {
        return Err(OpError::invalid("a matrix product takes no scalars"));
    }
    let (x, y) = (matrix_dims(&at.dims, true), matrix_dims(&bt.dims, false));
    let (k1, k2) = (x[x.len() - 1], y[y.len() - 2]);
    if let (Dim::Const(p), Dim::Const(q)) = (k1, k2)
        && p != q
    {
        return Err(OpError::invalid(format!("{p} columns on the left meet {q} rows on the right")));
    }
    let mut dims = broadcast([&x[..x.len() - 2], &y[..y.len() - 2]], syms)?.to_vec();
    if at.rank() > 1 {
        dims.push(x[x.len() - 2]);
    }
    if bt.rank() > 1 {
        dims.push(y[y.len() - 1]);
    }
    Ok(dims)
}

/// A batched matrix product with every size known.
#[derive(Clone, Debug)]
pub(crate) struct MatmulShape {
    /// Batch dimensions of the result.
    pub batch: Vec<usize>,
    /// Steps in matrices along the batch dimensions, for each operand.
    pub steps: [Vec<usize>; 2],
    /// Rows, columns, inner extent.
    pub mnk: (usize, usize, usize),
    /// Shape of the result.
    pub dims: Vec<usize>,
}

impl MatmulShape {
    /// The product of inputs `a` and `b` of a node.
    pub fn new(ctx: &OpCtx, a: usize, b: usize) -> Result<MatmulShape, OpError> {
        infer_dims(ctx, a, b, &mut SymTable::default())?;
        let (mut x, mut y) = (ctx.static_dims(a)?, ctx.static_dims(b)?);
        let (vector_left, vector_right) = (x.len() == 1, y.len() == 1);
        if vector_left {
            x.insert(0, 1);
        }
        if vector_right {
            y.push(1);
        }
        let (m, k, n) = (x[x.len() - 2], x[x.len() - 1], y[y.len() - 1]);
        let (bx, by) = (&x[..x.len() - 2], &y[..y.len() - 2]);
        let batch = broadcast_static(&[bx, by])?;
        let steps = [broadcast_strides(bx, &batch), broadcast_strides(by, &batch)];
        let mut dims = batch.clone();
        if !vector_left {
            dims.push(m);
        }
        if !vector_right {
            dims.push(n);
        }
        Ok(MatmulShape { batch, steps, mnk: (m, n, k), dims })
    }
    /// Two for each multiply-add.
    pub fn flops(&self) -> u64 {
        let (m, n, k) = self.mnk;
        [m, n, k].into_iter().chain(self.batch.iter().copied()).fold(2, |a: u64, x| a.saturating_mul(x as u64))
    }
    /// Index of an operand's matrix for batch index `i` of the result.
    pub fn matrix(&self, operand: usize, mut i: usize) -> usize {
        let mut at = 0;
        for (&n, &s) in self.batch.iter().zip(&self.steps[operand]).rev() {
            at += i % n * s;
            i /= n;
        }
        at
    }
    /// Evaluates on dense operands.
    pub fn evaluate<T: Real>(&self, a: &[T], b: &[T]) -> Result<Vec<T>, OpError> {
        let (m, n, k) = self.mnk;
        let mut y = zeros::<T>(&self.dims)?;
        if y.is_empty() || k == 0 {
            return Ok(y);
        }
        let one = |m: usize, a: &[T], b: &[T], y: &mut [T]| {
            let right = Matrix::dense(b, n);
            product((m, n, k), Matrix::dense(a, k), |p, j, out| right.read_row(p, j, out), y);
        };
        if self.steps[1].iter().all(|&s| s == 0) && a.len() == y.len() / n * k {
            one(y.len() / n, a, b, &mut y); // One right matrix: the batch is more rows.
        } else {
            y.par_chunks_mut(m * n).enumerate().for_each(|(i, y)| {
                let (a, b) = (&a[self.matrix(0, i) * m * k..], &b[self.matrix(1, i) * k * n..]);
                one(m, &a[..m * k], &b[..k * n], y);
            });
        }
        Ok(y)
    }
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    crate::family::conv::same_types(ctx, &[0, 1])?;
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, infer_dims(ctx, 0, 1, syms)?)])
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let d = ctx.input(0)?.dtype();
    match d {
        DType::I32 => eval_int::<i32>(ctx, |x| x as i32),
        DType::U32 => eval_int::<u32>(ctx, |x| x as u32),
        DType::I64 => eval_int::<i64>(ctx, |x| x),
        DType::U64 => eval_int::<u64>(ctx, |x| x as u64),
        _ => eval_real!(ctx, d, eval_real_as),
    }
}

fn eval_real_as<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let s = MatmulShape::new(&ctx.op, 0, 1)?;
    let y = s.evaluate(&ctx.input(0)?.view::<T>(), &ctx.input(1)?.view::<T>())?;
    Ok(vec![Tensor::new(s.dims, y)])
}

/// Integers wrap, so that 64 bits hold the sum for every narrower type.
fn eval_int<T: Element + Default>(ctx: &EvalCtx, narrow: fn(i64) -> T) -> Evaluated {
    let s = MatmulShape::new(&ctx.op, 0, 1)?;
    let ints = |i| ctx.input(i)?.to_i64s().ok_or_else(|| OpError::invalid("integers are needed"));
    let (a, b): (Vec<i64>, Vec<i64>) = (ints(0)?, ints(1)?);
    let (m, n, k) = s.mnk;
    let mut y = zeros::<T>(&s.dims)?;
    for (i, y) in y.iter_mut().enumerate() {
        let (batch, row, col) = (i / (m * n), i / n % m, i % n);
        let a = &a[s.matrix(0, batch) * m * k + row * k..][..k];
        let b = b[s.matrix(1, batch) * k * n..].iter().skip(col).step_by(n);
        *y = narrow(a.iter().zip(b).fold(0, |acc: i64, (&a, &b)| acc.wrapping_add(a.wrapping_mul(b))));
    }
    Ok(vec![Tensor::new(s.dims, y)])
}

/// Index of an operand's element in the loop nest over the result.
fn operand_index(b: &mut ScalarBuilder, dims: &[usize], out_batch: usize, last: &[Expr]) -> Vec<Expr> {
    let batch = dims.len().saturating_sub(2);
    let mut index: Vec<Expr> =
        (0..batch).map(|i| if dims[i] == 1 { b.int(0) } else { b.axis(out_batch - batch + i) }).collect();
    index.extend_from_slice(last);
    index
}

/// The sums over the inner dimension, for operands of these shapes. Each is loaded at an index; the left one's closure also
/// gets the row, the right one's the column.
pub(crate) fn sums(
    s: &MatmulShape,
    [x, y]: [&[usize]; 2],
    left: impl FnOnce(&mut ScalarBuilder, Vec<Expr>, Expr) -> Expr,
    right: impl FnOnce(&mut ScalarBuilder, Vec<Expr>, Expr) -> Expr,
) -> loops::Stage {
    let (rank, batch) = (s.dims.len(), s.batch.len());
    let mut b = ScalarBuilder::new();
    let k = b.axis(rank);
    // A vector has no rows or columns: its only one is number 0.
    let row = if x.len() == 1 { b.int(0) } else { b.axis(batch) };
    let col = if y.len() == 1 { b.int(0) } else { b.axis(rank.saturating_sub(1)) };
    let p: &[Expr] = if x.len() == 1 { &[k] } else { &[row, k] };
    let q: &[Expr] = if y.len() == 1 { &[k] } else { &[k, col] };
    let (p, q) = (operand_index(&mut b, x, batch, p), operand_index(&mut b, y, batch, q));
    let (p, q) = (left(&mut b, p, row), right(&mut b, q, col));
    let product = b.mul(p, q);
    reduce(s.dims.clone(), vec![s.mnk.2], Combine::Sum, b, product)
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let s = MatmulShape::new(ctx, 0, 1)?;
    let (x, y) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let d = ctx.input(0)?.dtype;
    let load = |i: usize| move |b: &mut ScalarBuilder, index, _| load_wide(b, Source::Input(i), index, d, None, 0.0);
    let mut stages = vec![sums(&s, [&x, &y], load(0), load(1))];
    if wide(d) != d {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, s.dims.len());
        let y = b.load(Source::Stage(0), index, wide(d));
        let y = b.cast(y, d);
        stages.push(map(s.dims, b, y));
    }
    Ok(loops::compute(stages))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let (m, n, k, p, q) = (1 + g.below(9), 1 + g.below(17), 1 + g.below(20), 2 + g.below(3), 2 + g.below(2));
    let cases: [(&[usize], &[usize]); 8] = [
        (&[m, k], &[k, n]),
        (&[p, m, k], &[k, n]),
        (&[p, m, k], &[p, k, n]),
        (&[q, 1, m, k], &[p, k, n]),
        (&[k], &[k, n]),
        (&[p, m, k], &[k]),
        (&[k], &[k]),
        (&[m, k], &[q, p, k, n]),
    ];
    let mut out: Vec<Sample> = cases
        .iter()
        .enumerate()
        .map(|(i, (a, b))| {
            let d = draft().data(g.f32s(a));
            if i % 2 == 0 { d.param(g.f32s(b)).done() } else { d.data(g.f32s(b)).done() }
        })
        .collect();
    let ints = [g.tensor(DType::I32, &[m, k], -9.0, 9.0), g.tensor(DType::I32, &[k, n], -9.0, 9.0)];
    let [a, b] = ints;
    out.push(draft().data(a).data(b).done());
    out
}
