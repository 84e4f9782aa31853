//! Einstein summation.

use super::equation::{Equation, Label};
use crate::define::BASE;
use crate::loops::{self, load_wide, map, reduce, wide};
use crate::real::{Evaluated, Real, eval_real, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};
use rayon::prelude::*;

/// Einstein summation.
pub static EINSUM: OpDecl = OpDecl {
    name: "einsum",
    family: "linear",
    doc: "Sum of products over the dimensions that the equation does not name in its result, as in `bij,bjk->bik`; `...` \
          stands for broadcast dimensions. ONNX Einsum, NumPy einsum.",
    inputs: &[Operand::variadic("operands", DTypeSet::FLOAT)],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[AttrDecl::optional("equation", AttrKind::Str, "operand and result dimensions by letters")],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops,
    samples,
    ..BASE
};

fn equation(ctx: &OpCtx) -> Result<Equation, OpError> {
    let text = ctx.string("equation").ok_or_else(|| OpError::invalid("the equation is missing"))?;
    let ranks = (0..ctx.inputs.len()).map(|i| ctx.input(i).map(TensorType::rank)).collect::<Result<Vec<_>, _>>()?;
    Equation::parse(&text, &ranks)
}

/// The size of a label: that of any dimension which carries it, 1 stretching.
fn label_dim(ctx: &OpCtx, e: &Equation, label: Label) -> Result<Dim, OpError> {
    let mut size = Dim::Const(1);
    for (i, labels) in e.inputs.iter().enumerate() {
        for (&l, &d) in labels.iter().zip(&ctx.input(i)?.dims) {
            if l != label {
                continue;
            }
            size = match (size, d) {
                (Dim::Const(1), d) => d,
                (s, Dim::Const(1)) => s,
                (Dim::Const(a), Dim::Const(b)) if a != b => {
                    return Err(OpError::invalid(format!("{label:?} has sizes {a} and {b}")));
                }
                (Dim::Sym(_), d @ Dim::Const(_)) => d,
                (s, _) => s,
            };
        }
    }
    Ok(size)
}

fn infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let first = ctx.input(0)?;
    for i in 1..ctx.inputs.len() {
        if ctx.input(i)?.dtype != first.dtype {
            return Err(OpError::invalid("operands are of different types; cast them to one"));
        }
    }
    let e = equation(ctx)?;
    for &l in &e.summed {
        label_dim(ctx, &e, l)?;
    }
    let dims = e.output.iter().map(|&l| label_dim(ctx, &e, l)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![TensorType::new(first.dtype, dims)])
}

/// The loop nest: labels of the result, then summed ones, with their sizes.
struct Nest {
    labels: Vec<Label>,
    sizes: Vec<usize>,
    /// How many of the labels are the result's.
    outer: usize,
    equation: Equation,
}

impl Nest {
    fn new(ctx: &OpCtx) -> Result<Nest, OpError> {
        let equation = equation(ctx)?;
        let labels = [equation.output.clone(), equation.summed.clone()].concat();
        let size = |&l: &Label| {
            let n = label_dim(ctx, &equation, l)?.known().and_then(|n| usize::try_from(n).ok());
            n.ok_or_else(|| OpError::unsupported("a dimension is dynamic; fix it with --shape NAME=1x3x224x224"))
        };
        let sizes = labels.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        Ok(Nest { labels, sizes, outer: equation.output.len(), equation })
    }
    /// For each loop, the step in elements of operand `i`.
    fn steps(&self, i: usize, dims: &[usize]) -> Vec<usize> {
        let mut steps = vec![0; self.labels.len()];
        let mut step = 1;
        for (l, &n) in self.equation.inputs[i].iter().zip(dims).rev() {
            if let Some(p) = self.labels.iter().position(|x| x == l)
                && n != 1
            {
                steps[p] += step; // A label that stands twice walks the diagonal.
            }
            step *= n;
        }
        steps
    }
}

/// Adds to `f` over all indices of loops of these sizes; `at` holds each operand's offset.
fn walk(sizes: &[usize], steps: &[&[usize]], at: &mut [usize], f: &mut impl FnMut(&[usize])) {
    let Some((&n, sizes)) = sizes.split_first() else { return f(at) };
    let inner: Vec<&[usize]> = steps.iter().map(|s| &s[1..]).collect();
    let start = at.to_vec();
    for _ in 0..n {
        walk(sizes, &inner, at, f);
        at.iter_mut().zip(steps).for_each(|(a, s)| *a += s[0]);
    }
    at.copy_from_slice(&start);
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let nest = Nest::new(&ctx.op)?;
    let operands: Vec<_> = (0..ctx.inputs.len()).map(|i| ctx.input(i)).collect::<Result<Vec<_>, _>>()?;
    let data: Vec<_> = operands.iter().map(|t| t.view::<T>()).collect();
    let steps: Vec<Vec<usize>> = operands.iter().enumerate().map(|(i, t)| nest.steps(i, t.dims())).collect();
    let (dims, over) = nest.sizes.split_at(nest.outer);
    let mut y = zeros::<T>(dims)?;
    let row = dims.last().copied().unwrap_or(1).max(1);
    y.par_chunks_mut(row).enumerate().for_each(|(r, y)| {
        for (c, y) in y.iter_mut().enumerate() {
            let mut i = r * row + c;
            let mut at = vec![0; steps.len()];
            for (p, &n) in dims.iter().enumerate().rev() {
                at.iter_mut().zip(&steps).for_each(|(a, s)| *a += i % n * s[p]);
                i /= n;
            }
            let inner: Vec<&[usize]> = steps.iter().map(|s| &s[nest.outer..]).collect();
            let mut sum = 0.0;
            walk(over, &inner, &mut at, &mut |at| {
                sum += data.iter().zip(at).fold(1.0, |p, (x, &i)| p * x[i].wide());
            });
            *y = T::of(sum);
        }
    });
    Ok(vec![Tensor::new(dims, y)])
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let nest = Nest::new(ctx)?;
    let d = ctx.input(0)?.dtype;
    let mut b = ScalarBuilder::new();
    let mut product: Option<Expr> = None;
    for (i, labels) in nest.equation.inputs.iter().enumerate() {
        let dims = ctx.static_dims(i)?;
        let mut index = Vec::new();
        for (l, &n) in labels.iter().zip(&dims) {
            let p = nest.labels.iter().position(|x| x == l).unwrap_or(0);
            index.push(if n == 1 { b.int(0) } else { b.axis(p) });
        }
        let x = load_wide(&mut b, Source::Input(i), index, d, None, 0.0);
        product = Some(match product {
            Some(p) => b.mul(p, x),
            None => x,
        });
    }
    let product = product.ok_or_else(|| OpError::invalid("einsum has no operands"))?;
    let (dims, over) = nest.sizes.split_at(nest.outer);
    let mut stages = vec![reduce(dims.to_vec(), over.to_vec(), Combine::Sum, b, product)];
    if over.is_empty() {
        stages[0].reduce = None;
    }
    if wide(d) != d {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, nest.outer);
        let y = b.load(Source::Stage(0), index, wide(d));
        let y = b.cast(y, d);
        stages.push(map(dims.to_vec(), b, y));
    }
    Ok(loops::compute(stages))
}

fn flops(ctx: &OpCtx) -> u64 {
    Nest::new(ctx).map_or(0, |n| n.sizes.iter().fold(ctx.inputs.len() as u64, |a, &x| a.saturating_mul(x as u64)))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let (p, q, r, s) = (2 + g.below(3), 1 + g.below(6), 2 + g.below(5), 1 + g.below(4));
    let cases: [(&str, &[&[usize]]); 9] = [
        ("ij,jk->ik", &[&[p, q], &[q, r]]),
        ("bij,bkj->bik", &[&[s, p, q], &[s, r, q]]),
        ("bhid,bhjd->bhij", &[&[s, 2, p, q], &[s, 2, r, q]]),
        ("...ij,...jk->...ik", &[&[s, p, q], &[q, r]]),
        ("ij->ji", &[&[p, q]]),
        ("ij->i", &[&[p, q]]),
        ("i,j->ij", &[&[p], &[q]]),
        ("ij,ij", &[&[p, q], &[p, q]]),
        ("abc,cd,db->ad", &[&[p, q, r], &[r, s], &[s, q]]),
    ];
    cases
        .iter()
        .map(|(e, shapes)| {
            let d = draft().attr("equation", *e);
            shapes.iter().fold(d, |d, shape| d.data(g.f32s(shape))).done()
        })
        .collect()
}
