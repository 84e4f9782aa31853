//! Scaled dot-product attention.

mod loop_form;
pub mod multi_head;
pub mod strided;

use crate::broadcast::{broadcast, broadcast_strides};
use crate::define::BASE;
use crate::product::{Matrix, product};
use crate::real::{Evaluated, Real, eval_real, reals, zeros};
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};
use rayon::prelude::*;

/// Attention.
pub static ATTENTION: OpDecl = OpDecl {
    name: "attention",
    family: "attention",
    doc: "y = softmax(q k' * scale + mask) v for each head. q: [N,H,S,E], k: [N,G,L,E], v: [N,G,L,F], y: [N,H,S,F]; each of \
          the G heads of k and v serves H/G of q. Or all of rank 3, heads side by side in the last dimension. A bool mask \
          lets through where true; a query that sees no key gives 0. ONNX Attention; nonpad_kv_seqlen and the output of \
          scores are not supported.",
    inputs: &[
        Operand::required("q", DTypeSet::FLOAT),
        Operand::required("k", DTypeSet::FLOAT),
        Operand::required("v", DTypeSet::FLOAT),
        Operand::optional("attn_mask", DTypeSet::FLOAT.union(DTypeSet::BOOL)),
        Operand::optional("past_key", DTypeSet::FLOAT),
        Operand::optional("past_value", DTypeSet::FLOAT),
        Operand::optional("nonpad_kv_seqlen", DTypeSet::I64),
    ],
    outputs: &[
        Operand::required("y", DTypeSet::FLOAT),
        Operand::optional("present_key", DTypeSet::FLOAT),
        Operand::optional("present_value", DTypeSet::FLOAT),
        Operand::optional("qk_matmul_output", DTypeSet::FLOAT),
    ],
    attrs: &[
        AttrDecl::with_default(
            "is_causal",
            AttrKind::Bool,
            AttrDefault::Bool(false),
            "a query sees keys up to its own position only",
        ),
        AttrDecl::optional("q_num_heads", AttrKind::Int, "heads of q, for rank 3"),
        AttrDecl::optional("kv_num_heads", AttrKind::Int, "heads of k and v, for rank 3"),
        AttrDecl::optional("scale", AttrKind::Float, "factor of the scores; 1 / sqrt(E) when unset"),
        AttrDecl::with_default(
            "softcap",
            AttrKind::Float,
            AttrDefault::Float(0.0),
            "scores become softcap * tanh(score / softcap); 0 for not",
        ),
        AttrDecl::with_default(
            "qk_matmul_output_mode",
            AttrKind::Int,
            AttrDefault::Int(0),
            "which scores the fourth output holds",
        ),
        AttrDecl::optional(
            "softmax_precision",
            AttrKind::Int,
            "ONNX element type of the softmax; it is computed at least as precisely",
        ),
    ],
    infer,
    eval: |ctx| eval_real!(ctx, ctx.input(0)?.dtype(), eval),
    flops,
    samples,
    ..BASE
};

/// Batch, heads, length, features of an operand of rank 3 or 4.
fn heads(ctx: &OpCtx, i: usize) -> Result<[Dim; 4], OpError> {
    let (t, name) = (ctx.input(i)?, ctx.op.inputs[i].name);
    match *t.dims.as_slice() {
        [n, h, s, e] => Ok([n, h, s, e]),
        [n, s, e] => {
            let attr = if i == 0 { "q_num_heads" } else { "kv_num_heads" };
            let h = ctx.int(attr).and_then(|h| u64::try_from(h).ok()).filter(|&h| h > 0);
            let h = h.ok_or_else(|| OpError::invalid(format!("{name} has rank 3, which needs a positive {attr}")))?;
            match e.known() {
                Some(e) if e % h == 0 => Ok([n, Dim::Const(h), s, Dim::Const(e / h)]),
                Some(e) => Err(OpError::invalid(format!("{e} features of {name} do not split into {h} heads"))),
                None => Err(OpError::unsupported(format!("the number of features of {name} is dynamic"))),
            }
        }
        _ => Err(OpError::invalid(format!("{name} has rank {}; 3 or 4 is needed", t.rank()))),
    }
}

fn equal(a: Dim, b: Dim, what: &str) -> Result<(), OpError> {
    match (a, b) {
        (Dim::Const(x), Dim::Const(y)) if x != y => Err(OpError::invalid(format!("{what}: {x} and {y} differ"))),
        _ => Ok(()),
    }
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    if ctx.opt_input(6).is_some() {
        return Err(OpError::unsupported("nonpad_kv_seqlen is not supported; give a mask"));
    }
    if ctx.num_outputs > 3 {
        return Err(OpError::unsupported("the output of scores (qk_matmul_output) is not supported"));
    }
    let (q, k, v) = (heads(ctx, 0)?, heads(ctx, 1)?, heads(ctx, 2)?);
    let rank = ctx.input(0)?.rank();
    let dtype = ctx.input(0)?.dtype;
    if ctx.input(1)?.rank() != rank || ctx.input(2)?.rank() != rank {
        return Err(OpError::invalid("q, k and v are of different ranks"));
    }
    if ctx.input(1)?.dtype != dtype || ctx.input(2)?.dtype != dtype {
        return Err(OpError::unsupported("q, k and v are of different types; cast them to one"));
    }
    for (a, b, what) in [
        (q[0], k[0], "batch of q and k"),
        (q[0], v[0], "batch of q and v"),
        (q[3], k[3], "features of q and k"),
        (k[1], v[1], "heads of k and v"),
        (k[2], v[2], "lengths of k and v"),
    ] {
        equal(a, b, what)?;
    }
    if let (Some(h), Some(g)) = (q[1].known(), k[1].known())
        && (g == 0 || h % g != 0)
    {
        return Err(OpError::invalid(format!("{g} heads of k do not serve {h} heads of q evenly")));
    }
    let mut total = k[2];
    match (ctx.opt_input(4), ctx.opt_input(5)) {
        (None, None) => {}
        (Some(pk), Some(pv)) => {
            let (&[n, g, p, e], &[n2, g2, p2, f]) = (pk.dims.as_slice(), pv.dims.as_slice()) else {
                return Err(OpError::invalid("past_key and past_value must have rank 4"));
            };
            let pairs = [(n, k[0]), (n2, k[0]), (g, k[1]), (g2, k[1]), (e, k[3]), (f, v[3]), (p, p2)];
            pairs.iter().try_for_each(|&(a, b)| equal(a, b, "shape of past_key or past_value"))?;
            if pk.dtype != dtype || pv.dtype != dtype {
                return Err(OpError::invalid("past_key and past_value must be of the type of k"));
            }
            if ctx.flag("is_causal") {
                return Err(OpError::unsupported("is_causal with past keys is not supported; give a mask"));
            }
            total = syms.add(p, total);
        }
        _ => return Err(OpError::invalid("past_key and past_value go together")),
    }
    if let Some(mask) = ctx.opt_input(3) {
        if ctx.float("softcap").is_some_and(|c| c != 0.0) {
            return Err(OpError::unsupported("softcap with a mask is not supported"));
        }
        let scores = [q[0], q[1], q[2], total];
        let out = broadcast([&scores[..], &mask.dims], syms)?;
        if out.len() != 4 {
            return Err(OpError::invalid("the mask has more than 4 dimensions"));
        }
        out.iter().zip(scores).try_for_each(|(&a, b)| equal(a, b, "mask and scores"))?;
    }
    let y = if rank == 4 { vec![q[0], q[1], q[2], v[3]] } else { vec![q[0], q[2], syms.mul(q[1], v[3])] };
    let present = |t: [Dim; 4]| TensorType::new(dtype, [t[0], t[1], total, t[3]]);
    Ok(vec![TensorType::new(dtype, y), present(k), present(v)])
}

/// An operand as `[N, heads, length, features]`.
fn by_heads<T: Real>(t: &Tensor, heads: usize) -> (Vec<usize>, Vec<T>) {
    let x = reals::<T>(t);
    let &[n, s, e] = t.dims() else { return (t.dims().to_vec(), x.into_owned()) };
    let f = e / heads;
    let mut out = Vec::with_capacity(x.len());
    for (n, h, s0) in (0..n).flat_map(|n| (0..heads).flat_map(move |h| (0..s).map(move |i| (n, h, i)))) {
        out.extend_from_slice(&x[(n * s + s0) * e + h * f..][..f]);
    }
    (vec![n, heads, s, f], out)
}

/// `past` and `now`, both `[N, heads, length, features]`, one behind the other.
fn joined<T: Real>(past: Option<&Tensor>, now: (Vec<usize>, Vec<T>)) -> (Vec<usize>, Vec<T>) {
    let Some(past) = past else { return now };
    let (mut dims, x) = now;
    let p = reals::<T>(past);
    let (a, b) = (past.dims()[2] * dims[3], dims[2] * dims[3]);
    let mut out = Vec::with_capacity(p.len() + x.len());
    for i in 0..dims[0] * dims[1] {
        out.extend_from_slice(&p[i * a..(i + 1) * a]);
        out.extend_from_slice(&x[i * b..(i + 1) * b]);
    }
    dims[2] += past.dims()[2];
    (dims, out)
}

fn eval<T: Real>(ctx: &EvalCtx) -> Evaluated {
    let op = &ctx.op;
    let count = |i: usize| heads(op, i).map(|h| h[1].known().unwrap_or(0) as usize);
    let (qd, q) = by_heads::<T>(ctx.input(0)?, count(0)?);
    let (kd, k) = joined(ctx.opt_input(4), by_heads::<T>(ctx.input(1)?, count(1)?));
    let (vd, v) = joined(ctx.opt_input(5), by_heads::<T>(ctx.input(2)?, count(2)?));
    let (s, e, l, f) = (qd[2], qd[3], kd[2], vd[3]);
    let scale = op.float("scale").map_or(1.0 / (e as f64).sqrt(), f64::from);
    let softcap = f64::from(op.float("softcap").unwrap_or(0.0));
    let causal = op.flag("is_causal");
    let mask = ctx.opt_input(3).map(|m| {
        let allowed = m.dtype() == DType::Bool;
        let values = m.to_f64s().into_iter();
        let values: Vec<f64> =
            values.map(|x| if allowed { if x != 0.0 { 0.0 } else { f64::NEG_INFINITY } } else { x }).collect();
        (values, broadcast_strides(m.dims(), &[qd[0], qd[1], s, l]))
    });
    let mut y = zeros::<T>(&[qd[0], qd[1], s, f])?;
    if !y.is_empty() {
        y.par_chunks_mut(s * f).enumerate().for_each(|(i, y)| {
            let (n, h) = (i / qd[1], i % qd[1]);
            let group = n * kd[1] + h / (qd[1] / kd[1]);
            let (k, v) = (&k[group * l * e..(group + 1) * l * e], &v[group * l * f..(group + 1) * l * f]);
            let mut scores = vec![T::ZERO; s * l];
            let right = Matrix::dense(k, e).t();
            product(
                (s, l, e),
                Matrix::dense(&q[i * s * e..(i + 1) * s * e], e),
                |p, j, out| right.read_row(p, j, out),
                &mut scores,
            );
            for (row, line) in scores.chunks_mut(l.max(1)).enumerate() {
                let score = |(col, x): (usize, &T)| {
                    let mut x = x.wide() * scale;
                    if let Some((m, st)) = &mask {
                        x += m[n * st[0] + h * st[1] + row * st[2] + col * st[3]];
                    }
                    if causal && col > row {
                        x = f64::NEG_INFINITY;
                    }
                    if softcap != 0.0 && x.is_finite() { softcap * (x / softcap).tanh() } else { x }
                };
                let values: Vec<f64> = line.iter().enumerate().map(score).collect();
                let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if max == f64::NEG_INFINITY {
                    line.fill(T::ZERO); // This query sees no key.
                    continue;
                }
                let exp: Vec<f64> = values.iter().map(|x| (x - max).exp()).collect();
                let sum: f64 = exp.iter().sum();
                line.iter_mut().zip(exp).for_each(|(x, e)| *x = T::of(e / sum));
            }
            let right = Matrix::dense(v, f);
            product((s, f, l), Matrix::dense(&scores, l), |p, j, out| right.read_row(p, j, out), y);
        });
    }
    let y = if ctx.input(0)?.dims().len() == 4 {
        Tensor::new(vec![qd[0], qd[1], s, f], y)
    } else {
        let mut flat = Vec::with_capacity(y.len());
        for (n, i, h) in
            (0..qd[0]).flat_map(|n| (0..s).flat_map(move |i| (0..count(0).unwrap_or(0)).map(move |h| (n, i, h))))
        {
            flat.extend_from_slice(&y[((n * qd[1] + h) * s + i) * f..][..f]);
        }
        Tensor::new(vec![qd[0], s, qd[1] * f], flat)
    };
    Ok(vec![y, Tensor::new(kd, k), Tensor::new(vd, v)])
}

fn flops(ctx: &OpCtx) -> u64 {
    let (Ok(q), Ok(k), Ok(v)) = (heads(ctx, 0), heads(ctx, 1), heads(ctx, 2)) else { return 0 };
    let n = |d: Dim| d.known().unwrap_or(0);
    [n(q[0]), n(q[1]), n(q[2]), n(k[2]), n(q[3]).saturating_add(n(v[3]))].into_iter().fold(2, u64::saturating_mul)
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let (n, kv, s, l, e, f) =
                (1 + g.below(2), 1 + g.below(2), 1 + g.below(5), 1 + g.below(6), 1 + g.below(5), 1 + g.below(4));
            let h = kv * (1 + g.below(2));
            let (l, f) = if case == 1 { (s, f) } else { (l, f) };
            let d = if case == 2 {
                let d =
                    draft().data(g.f32s(&[n, s, h * e])).data(g.f32s(&[n, l, kv * e])).data(g.f32s(&[n, l, kv * f]));
                d.attr("q_num_heads", h as i64).attr("kv_num_heads", kv as i64)
            } else {
                draft().data(g.f32s(&[n, h, s, e])).data(g.f32s(&[n, kv, l, e])).data(g.f32s(&[n, kv, l, f]))
            };
            match case {
                1 => d.attr("is_causal", true),
                3 => d.data(g.f32s(&[s, l])).attr("scale", 0.7f32),
                4 => d.data(g.f32s(&[n, 1, s, l])),
                5 => d.absent().data(g.f32s(&[n, kv, 2, e])).data(g.f32s(&[n, kv, 2, f])).outputs(3),
                _ => d,
            }
            .done()
        })
        .collect()
}
