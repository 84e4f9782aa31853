//! Scaled matrix product with a bias.

use crate::broadcast::{broadcast, broadcast_strides};
use crate::define::BASE;
use crate::family::conv::same_types;
use crate::loops::{self, load_wide, map, reduce, wide};
use crate::product::{Matrix, product};
use crate::real::{Evaluated, Real, eval_real, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};
use mnnc_ir::{AttrDecl, AttrKind, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType};

/// General matrix product.
pub static GEMM: OpDecl = OpDecl {
    name: "gemm",
    family: "linear",
    doc: "y = alpha * a' * b' + beta * c, with a' and b' optionally transposed and c broadcast to [M,N]. a': [M,K], \
          b': [K,N]. ONNX Gemm.",
    inputs: &[
        Operand::required("a", DTypeSet::FLOAT),
        Operand::required("b", DTypeSet::FLOAT),
        Operand::optional("c", DTypeSet::FLOAT),
    ],
    outputs: &[Operand::required("y", DTypeSet::FLOAT)],
    attrs: &[
        AttrDecl::with_default("alpha", AttrKind::Float, AttrDefault::Float(1.0), "factor of the product"),
        AttrDecl::with_default("beta", AttrKind::Float, AttrDefault::Float(1.0), "factor of c"),
        AttrDecl::with_default("transA", AttrKind::Bool, AttrDefault::Bool(false), "a is given as [K,M]"),
        AttrDecl::with_default("transB", AttrKind::Bool, AttrDefault::Bool(false), "b is given as [N,K]"),
    ],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    compute: Some(compute),
    flops: |ctx| {
        sizes(ctx)
            .map_or(0, |(m, n, k)| 2u64.saturating_mul(m as u64).saturating_mul(n as u64).saturating_mul(k as u64))
    },
    samples,
    ..BASE
};

fn matrix(ctx: &OpCtx, i: usize, transpose: &str) -> Result<(Dim, Dim), OpError> {
    let t = ctx.input(i)?;
    let &[p, q] = t.dims.as_slice() else {
        return Err(OpError::invalid(format!(
            "operand {} has rank {}; a matrix is needed",
            ctx.op.inputs[i].name,
            t.rank()
        )));
    };
    Ok(if ctx.flag(transpose) { (q, p) } else { (p, q) })
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    same_types(ctx, &[0, 1, 2])?;
    let (m, k1) = matrix(ctx, 0, "transA")?;
    let (k2, n) = matrix(ctx, 1, "transB")?;
    if let (Dim::Const(p), Dim::Const(q)) = (k1, k2)
        && p != q
    {
        return Err(OpError::invalid(format!(
            "{p} columns on the left meet {q} rows on the right; check transA and transB"
        )));
    }
    if let Some(c) = ctx.opt_input(2) {
        let out = broadcast([&[m, n][..], &c.dims], syms)?;
        let grown = out.iter().zip([m, n]).any(|(&o, d)| matches!((o, d), (Dim::Const(x), Dim::Const(y)) if x != y));
        if out.len() != 2 || grown {
            return Err(OpError::invalid("c does not broadcast to the product's shape"));
        }
    }
    Ok(vec![TensorType::new(ctx.input(0)?.dtype, [m, n])])
}

/// Rows, columns, inner extent.
fn sizes(ctx: &OpCtx) -> Result<(usize, usize, usize), OpError> {
    let (a, b) = (ctx.static_dims(0)?, ctx.static_dims(1)?);
    let (&[p, q], &[r, s]) = (a.as_slice(), b.as_slice()) else {
        return Err(OpError::invalid("matrices are needed"));
    };
    let (m, k) = if ctx.flag("transA") { (q, p) } else { (p, q) };
    Ok((m, if ctx.flag("transB") { r } else { s }, k))
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let (m, n, k) = sizes(&ctx.op)?;
    let op = &ctx.op;
    let (alpha, beta) = (op.float("alpha").unwrap_or(1.0).into(), op.float("beta").unwrap_or(1.0).into());
    let (a, b) = (ctx.input(0)?.view::<T>(), ctx.input(1)?.view::<T>());
    let left = if op.flag("transA") { Matrix::dense(&a, m).t() } else { Matrix::dense(&a, k) };
    let right = if op.flag("transB") { Matrix::dense(&b, k).t() } else { Matrix::dense(&b, n) };
    let mut y = zeros::<T>(&[m, n])?;
    product((m, n, k), left, |p, j, out| right.read_row(p, j, out), &mut y);
    if alpha != 1.0 {
        y.iter_mut().for_each(|y| *y = T::of(alpha) * *y);
    }
    if let Some(c) = ctx.opt_input(2) {
        let s = broadcast_strides(c.dims(), &[m, n]);
        let c = c.view::<T>();
        for (i, y) in y.iter_mut().enumerate() {
            *y += T::of(beta) * c[i / n * s[0] + i % n * s[1]];
        }
    }
    Ok(vec![Tensor::new(vec![m, n], y)])
}

fn scaled(b: &mut ScalarBuilder, x: Expr, factor: f32) -> Expr {
    if factor == 1.0 {
        return x;
    }
    let f = b.lit(f64::from(factor), x);
    b.mul(f, x)
}

fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (m, n, k) = sizes(ctx)?;
    let d = ctx.input(0)?.dtype;
    let (alpha, beta) = (ctx.float("alpha").unwrap_or(1.0), ctx.float("beta").unwrap_or(1.0));
    let mut b = ScalarBuilder::new();
    let (i, j, p) = (b.axis(0), b.axis(1), b.axis(2));
    let left = if ctx.flag("transA") { vec![p, i] } else { vec![i, p] };
    let right = if ctx.flag("transB") { vec![j, p] } else { vec![p, j] };
    let x = load_wide(&mut b, Source::Input(0), left, d, None, 0.0);
    let y = load_wide(&mut b, Source::Input(1), right, d, None, 0.0);
    let product = b.mul(x, y);
    let mut stages = vec![reduce(vec![m, n], vec![k], Combine::Sum, b, product)];
    if alpha != 1.0 || ctx.opt_input(2).is_some() || wide(d) != d {
        let mut b = ScalarBuilder::new();
        let index = loops::axes(&mut b, 2);
        let y = b.load(Source::Stage(0), index.clone(), wide(d));
        let mut y = scaled(&mut b, y, alpha);
        if ctx.opt_input(2).is_some() {
            let dims = ctx.static_dims(2)?;
            let skip = 2 - dims.len();
            let at = dims.iter().enumerate().map(|(i, &n)| if n == 1 { b.int(0) } else { index[skip + i] }).collect();
            let c = load_wide(&mut b, Source::Input(2), at, d, None, 0.0);
            let c = scaled(&mut b, c, beta);
            y = b.add(y, c);
        }
        let y = b.cast(y, d);
        stages.push(map(vec![m, n], b, y));
    }
    Ok(loops::compute(stages))
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..8)
        .map(|case| {
            let (m, n, k) = (1 + g.below(9), 1 + g.below(20), 1 + g.below(30));
            let (ta, tb) = (case & 1 != 0, case & 2 != 0);
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            let mut d = draft().data(g.f32s(&a)).param(g.f32s(&b)).attr("transA", ta).attr("transB", tb);
            d = match case {
                0 => d,
                1 | 6 => d.param(g.f32s(&[n])),
                2 => d.data(g.f32s(&[m, n])).attr("beta", -0.5f32),
                3 => d.param(g.f32s(&[m, 1])).attr("alpha", 1.5f32),
                4 => d.param(g.f32s(&[1, n])).attr("alpha", 0.25f32).attr("beta", 2.0f32),
                5 => d.param(g.f32s(&[])),
                _ => d.param(g.f32s(&[1])),
            };
            d.done()
        })
        .collect()
}
