//! Ops that choose by position: triangles, one-hot rows, reversal, positions of non-zeros.

use crate::axes::normalize_axis;
use crate::define::{BASE, X_ANY};
use crate::dims::{const_scalar, product};
use crate::loops;
use crate::num::for_dtype;
use crate::sample::{Gen, draft};
use crate::separable::retyped;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType,
};

const FAMILY: &str = "index";

/// `trilu`.
pub static TRILU: OpDecl = OpDecl {
    name: "trilu",
    family: FAMILY,
    doc: "The upper or lower triangle of the matrices in the last two dimensions, from diagonal `k`; zero elsewhere.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::optional("k", DTypeSet::I64)],
    attrs: &[AttrDecl::with_default("upper", AttrKind::Bool, AttrDefault::Bool(true), "The upper triangle.")],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        if x.rank() < 2 {
            return Err(OpError::invalid(format!("the input must hold matrices, it has rank {}", x.rank())));
        }
        if let Some(k) = ctx.opt_input(1)
            && (k.rank() > 1 || k.num_elements().is_some_and(|n| n != 1))
        {
            return Err(OpError::invalid("k must be one number"));
        }
        Ok(vec![x.clone()])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let k = diagonal(&ctx.op)?;
        let upper = ctx.op.flag("upper");
        let (rows, columns) = (x.dims()[x.dims().len() - 2], x.dims()[x.dims().len() - 1]);
        let out = for_dtype!(x.dtype(), T => {
            let mut v = x.to_vec::<T>();
            for (at, e) in v.iter_mut().enumerate() {
                let (i, j) = (at / columns % rows, at % columns);
                let distance = j as i64 - i as i64;
                if if upper { distance < k } else { distance > k } {
                    *e = T::default();
                }
            }
            Tensor::new(x.dims(), v)
        });
        Ok(vec![filled(out, x.dtype(), x.dims())?])
    },
    compute: Some(|ctx| {
        let (dims, d) = (ctx.static_dims(0)?, ctx.input(0)?.dtype);
        let mut b = ScalarBuilder::new();
        let at = loops::axes(&mut b, dims.len());
        let (i, j) = (at[dims.len() - 2], at[dims.len() - 1]);
        let distance = b.sub(j, i);
        let k = b.int(diagonal(ctx)?);
        let inside = b.compare(if ctx.flag("upper") { Cmp::Ge } else { Cmp::Le }, distance, k);
        let zero = b.constant(0.0, d);
        let x = b.load(Source::Input(0), at, d);
        let body = b.select(inside, x, zero);
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        let mut out = vec![
            draft().data(g.f32s(&[2, 4, 5])).done(),
            draft().attr("upper", false).data(g.tensor(DType::I64, &[4, 4], 1.0, 9.0)).done(),
        ];
        for k in [-6, -2, 1, 7] {
            for upper in [true, false] {
                out.push(draft().attr("upper", upper).data(g.f32s(&[5, 4])).param(Tensor::scalar(k as i64)).done());
            }
        }
        out
    },
    ..BASE
};

/// The diagonal, kept where index arithmetic and literals are exact.
fn diagonal(ctx: &OpCtx) -> Result<i64, OpError> {
    if ctx.opt_input(1).is_none() {
        return Ok(0);
    }
    let k =
        const_scalar(ctx, 1)?.ok_or_else(|| OpError::unsupported("k must be constant, it is computed at run time"))?;
    Ok(k.clamp(-(1 << 52), 1 << 52))
}

fn filled(t: Tensor, dtype: DType, dims: &[usize]) -> Result<Tensor, OpError> {
    retyped(t, dtype, dims).ok_or_else(|| OpError::invalid("elements do not fill their shape"))
}

/// `one_hot`.
pub static ONE_HOT: OpDecl = OpDecl {
    name: "one_hot",
    family: FAMILY,
    doc: "A new dimension of size `depth` at `axis`, with `values[1]` at the position that `indices` says and `values[0]` \
          elsewhere. Negative indices count from the back; those out of range mark nothing.",
    inputs: &[
        Operand::required("indices", DTypeSet::NUMERIC),
        Operand::required("depth", DTypeSet::NUMERIC),
        Operand::required("values", DTypeSet::ANY),
    ],
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(-1), "Where the new dimension stands.")],
    infer: |ctx, syms| {
        let (x, values) = (ctx.input(0)?, ctx.input(2)?);
        if values.rank() != 1 || values.num_elements().is_some_and(|n| n != 2) {
            return Err(OpError::invalid(format!("values must be [off, on], they are {}", values.show(syms))));
        }
        let axis = normalize_axis(ctx.int("axis").unwrap_or(-1), x.rank() + 1)?;
        let mut dims = x.dims.clone();
        dims.insert(axis, if ctx.const_input(1).is_some() { depth(ctx)?.into() } else { syms.fresh() });
        Ok(vec![TensorType::new(values.dtype, dims)])
    },
    eval: eval_one_hot,
    compute: Some(one_hot_loops),
    samples: |seed| {
        let mut g = Gen::new(seed);
        let values = || Tensor::new(vec![2], vec![-1.0f32, 3.0]);
        let x = g.tensor(DType::I64, &[2, 3], -6.0, 6.0);
        vec![
            draft().data(x.clone()).param(Tensor::scalar(5i64)).param(values()).done(),
            draft().attr("axis", 0i64).data(x.clone()).param(Tensor::ints(&[4])).param(values()).done(),
            draft().attr("axis", 1i64).data(x).param(Tensor::scalar(3i64)).param(Tensor::ints(&[0, 1])).done(),
            draft()
                .data(g.tensor(DType::I32, &[2], 0.0, 2.0))
                .param(Tensor::scalar(3i32))
                .param(Tensor::ints(&[0, 1]))
                .done(),
        ]
    },
    ..BASE
};

fn depth(ctx: &OpCtx) -> Result<usize, OpError> {
    let t =
        ctx.const_input(1).ok_or_else(|| OpError::unsupported("depth must be constant, it is computed at run time"))?;
    match t.to_f64s()[..] {
        [d] if (1.0..1e15).contains(&d) => Ok(d as usize),
        [d] => Err(OpError::invalid(format!("depth is {d}, it must be at least 1"))),
        _ => Err(OpError::invalid("depth must be one number")),
    }
}

fn eval_one_hot(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let (x, values) = (ctx.input(0)?, ctx.input(2)?);
    let depth = depth(&ctx.op)?;
    let axis = normalize_axis(ctx.op.int("axis").unwrap_or(-1), x.dims().len() + 1)?;
    let mut dims = x.dims().to_vec();
    dims.insert(axis, depth);
    let inner: usize = x.dims()[axis..].iter().product();
    let marks: Vec<i64> = match x.to_i64s() {
        Some(v) => v,
        None => x.to_f64s().into_iter().map(|v| v as i64).collect(),
    };
    let n = product(&dims)?;
    let out = for_dtype!(values.dtype(), T => {
        let v = values.view::<T>();
        let mut out = vec![v[0]; n];
        for (at, &mark) in marks.iter().enumerate() {
            let k = if mark < 0 { mark.saturating_add(depth as i64) } else { mark };
            if (0..depth as i64).contains(&k) {
                out[(at / inner * depth + k as usize) * inner + at % inner] = v[1];
            }
        }
        Tensor::new(vec![n], out)
    });
    Ok(vec![filled(out, values.dtype(), &dims)?])
}

fn one_hot_loops(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (mut dims, depth) = (ctx.static_dims(0)?, depth(ctx)?);
    let axis = normalize_axis(ctx.int("axis").unwrap_or(-1), dims.len() + 1)?;
    dims.insert(axis, depth);
    let mut b = ScalarBuilder::new();
    let mut at = loops::axes(&mut b, dims.len());
    let here = at.remove(axis);
    let mark = b.load(Source::Input(0), at, ctx.input(0)?.dtype);
    let mark = b.cast(mark, DType::I64);
    let from_back = loops::affine(&mut b, &[(here, 1)], -(depth as i64));
    let (front, back) = (b.compare(Cmp::Eq, mark, here), b.compare(Cmp::Eq, mark, from_back));
    let hit = b.binary(mnnc_ir::scalar::Binary::Or, front, back);
    let (zero, one) = (b.int(0), b.int(1));
    let which = b.select(hit, one, zero);
    let body = b.load(Source::Input(2), vec![which], ctx.input(2)?.dtype);
    Ok(loops::compute(vec![loops::map(dims, b, body)]))
}

/// `reverse_sequence`.
pub static REVERSE_SEQUENCE: OpDecl = OpDecl {
    name: "reverse_sequence",
    family: FAMILY,
    doc: "For each batch `b`, the first `sequence_lens[b]` steps in reverse order; the others stay.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::required("sequence_lens", DTypeSet::I64)],
    attrs: &[
        AttrDecl::with_default("batch_axis", AttrKind::Int, AttrDefault::Int(1), "0 or 1."),
        AttrDecl::with_default("time_axis", AttrKind::Int, AttrDefault::Int(0), "0 or 1, the other one."),
    ],
    infer: |ctx, syms| {
        let (x, lens) = (ctx.input(0)?, ctx.input(1)?);
        let (batch, time) = sequence_axes(ctx)?;
        match (&lens.dims[..], x.dims[batch]) {
            ([Dim::Const(n)], Dim::Const(m)) if *n != m => {
                return Err(OpError::invalid(format!("{n} sequence lengths for {m} batches")));
            }
            ([_], _) => {}
            _ => return Err(OpError::invalid(format!("sequence_lens must be a list, it is {}", lens.show(syms)))),
        }
        if let (Some(v), Some(n)) = (ctx.const_input(1).and_then(Tensor::to_i64s), x.dims[time].known())
            && let Some(l) = v.iter().find(|&&l| l < 0 || l as u64 > n)
        {
            return Err(OpError::invalid(format!("sequence length {l} is not in 0..={n}")));
        }
        Ok(vec![x.clone()])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let lens = ctx.op.const_ints(1)?;
        let (batch, _) = sequence_axes(&ctx.op)?;
        let (d0, d1) = (x.dims()[0], x.dims()[1]);
        let inner = x.dims()[2..].iter().product::<usize>() * x.dtype().size();
        let mut bytes = Vec::with_capacity(x.bytes().len());
        for i in 0..d0 {
            for j in 0..d1 {
                let (b, t) = if batch == 0 { (i, j) } else { (j, i) };
                let n = lens[b] as usize;
                let t = if t < n { n - 1 - t } else { t };
                let row = if batch == 0 { i * d1 + t } else { t * d1 + j };
                bytes.extend_from_slice(&x.bytes()[row * inner..(row + 1) * inner]);
            }
        }
        let out = Tensor::from_bytes(x.dtype(), x.dims(), mnnc_ir::bytes::Bytes::from_vec(bytes));
        Ok(vec![out.ok_or_else(|| OpError::invalid("steps do not fill their shape"))?])
    },
    compute: Some(|ctx| {
        let (dims, d) = (ctx.static_dims(0)?, ctx.input(0)?.dtype);
        let (batch, time) = sequence_axes(ctx)?;
        let mut b = ScalarBuilder::new();
        let mut at = loops::axes(&mut b, dims.len());
        let n = b.load(Source::Input(1), vec![at[batch]], DType::I64);
        let inside = b.compare(Cmp::Lt, at[time], n);
        let mirrored = b.sub(n, at[time]);
        let mirrored = loops::affine(&mut b, &[(mirrored, 1)], -1);
        at[time] = b.select(inside, mirrored, at[time]);
        let body = b.load(Source::Input(0), at, d);
        Ok(loops::compute(vec![loops::map(dims, b, body)]))
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[4, 3, 2])).ints(&[4, 1, 0]).done(),
            draft().attr("batch_axis", 0i64).attr("time_axis", 1i64).data(g.f32s(&[2, 5])).ints(&[3, 5]).done(),
        ]
    },
    ..BASE
};

fn sequence_axes(ctx: &OpCtx) -> Result<(usize, usize), OpError> {
    let rank = ctx.input(0)?.rank();
    match (ctx.int("batch_axis").unwrap_or(1), ctx.int("time_axis").unwrap_or(0)) {
        (b @ 0..=1, t @ 0..=1) if b != t && rank >= 2 => Ok((b as usize, t as usize)),
        (b, t) => Err(OpError::invalid(format!(
            "batch_axis {b} and time_axis {t} must be 0 and 1 of rank 2 or more, the rank is {rank}"
        ))),
    }
}

/// `non_zero`.
pub static NON_ZERO: OpDecl = OpDecl {
    name: "non_zero",
    family: FAMILY,
    doc: "The indices of the elements that are not zero: one row for each dimension, one column for each element, in \
          row-major order. The shape depends on the values.",
    inputs: X_ANY,
    outputs: &[Operand::required("output", DTypeSet::I64)],
    infer: |ctx, syms: &mut SymTable| {
        Ok(vec![TensorType::new(DType::I64, [ctx.input(0)?.rank().into(), syms.fresh()])])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        let hits: Vec<usize> = for_dtype!(x.dtype(), T => {
            let zero = T::default();
            x.view::<T>().iter().enumerate().filter(|(_, v)| **v != zero).map(|(i, _)| i).collect()
        });
        let mut out = Vec::with_capacity(hits.len() * x.dims().len());
        for (d, step) in x.dims().iter().zip(crate::broadcast::strides(x.dims())) {
            out.extend(hits.iter().map(|i| (i / step % d) as i64));
        }
        Ok(vec![Tensor::new(vec![x.dims().len(), hits.len()], out)])
    },
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.tensor(DType::Bool, &[2, 3, 4], 0.0, 1.0)).done(),
            draft().data(g.tensor(DType::I64, &[9], 0.0, 2.0)).done(),
            draft().data(g.f32s(&[3, 3])).done(),
        ]
    },
    ..BASE
};

/// `compress`.
pub static COMPRESS: OpDecl = OpDecl {
    name: "compress",
    family: FAMILY,
    doc: "The slices along `axis` (without it, the elements of the flattened input) where `condition` holds. The shape \
          depends on the values; a condition that is too short is false beyond its end.",
    inputs: &[Operand::required("input", DTypeSet::ANY), Operand::required("condition", DTypeSet::BOOL)],
    attrs: &[AttrDecl::optional("axis", AttrKind::Int, "Dimension to choose along; flattens if unset.")],
    infer: |ctx, syms| {
        let (x, condition) = (ctx.input(0)?, ctx.input(1)?);
        if condition.rank() != 1 {
            return Err(OpError::invalid(format!("condition must be a list, it is {}", condition.show(syms))));
        }
        let chosen = syms.fresh();
        let Some(axis) = ctx.int("axis") else { return Ok(vec![x.with_dims([chosen])]) };
        let axis = normalize_axis(axis, x.rank())?;
        let mut dims = x.dims.clone();
        dims[axis] = chosen;
        Ok(vec![x.with_dims(dims)])
    },
    eval: |ctx| {
        let (x, condition) = (ctx.input(0)?, ctx.input(1)?);
        let (mut dims, axis) = match ctx.op.int("axis") {
            Some(axis) => (x.dims().to_vec(), normalize_axis(axis, x.dims().len())?),
            None => (vec![x.len()], 0),
        };
        let holds = condition.view::<u8>();
        let chosen: Vec<usize> = (0..holds.len().min(dims[axis])).filter(|&i| holds[i] != 0).collect();
        if holds.iter().skip(dims[axis]).any(|&c| c != 0) {
            return Err(OpError::invalid(format!("condition chooses beyond the {} slices there are", dims[axis])));
        }
        let step = crate::broadcast::strides(&dims);
        dims[axis] = chosen.len();
        let along = |i: usize| {
            crate::separable::offsets(dims[i], step[i], |k| if i == axis { chosen.get(k).copied() } else { Some(k) })
        };
        Ok(vec![crate::separable::separable(x, &dims, along, None)?])
    },
    samples: |seed| {
        let mut g = Gen::new(seed);
        let x = g.f32s(&[3, 4]);
        let mut c = |n: usize| g.tensor(DType::Bool, &[n], 0.0, 1.0);
        vec![
            draft().data(x.clone()).data(c(12)).done(),
            draft().attr("axis", 0i64).data(x.clone()).data(c(3)).done(),
            draft().attr("axis", -1i64).data(x).data(c(2)).done(),
        ]
    },
    ..BASE
};
