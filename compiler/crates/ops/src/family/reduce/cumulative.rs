//! Running sums and products.

use super::FAMILY;
use crate::axes::normalize_axis;
use crate::define::BASE;
use crate::dims::const_scalar;
use crate::loops;
use crate::sample::{Gen, draft};
use half::{bf16, f16};
use mnnc_ir::compute::{Combine, Compute};
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Element, OpCtx, OpDecl, OpError, Operand, Tensor, TensorType,
};

/// `cum_sum`.
pub static CUM_SUM: OpDecl = OpDecl {
    name: "cum_sum",
    doc: "Along `axis`, the sum of the elements up to each one: with it, or without if `exclusive`; from the back if \
          `reverse`.",
    eval: |ctx| eval(ctx, Combine::Sum),
    compute: Some(|ctx| compute(ctx, Combine::Sum)),
    ..CUMULATIVE
};

/// `cum_prod`.
pub static CUM_PROD: OpDecl = OpDecl {
    name: "cum_prod",
    doc: "Along `axis`, the product of the elements up to each one: with it, or without if `exclusive`; from the back if \
          `reverse`.",
    eval: |ctx| eval(ctx, Combine::Product),
    compute: Some(|ctx| compute(ctx, Combine::Product)),
    ..CUMULATIVE
};

const CUMULATIVE: OpDecl = OpDecl {
    family: FAMILY,
    inputs: &[Operand::required("x", DTypeSet::NUMERIC), Operand::required("axis", DTypeSet::INDEX)],
    attrs: &[
        AttrDecl::with_default("exclusive", AttrKind::Bool, AttrDefault::Bool(false), "Leave the element itself out."),
        AttrDecl::with_default("reverse", AttrKind::Bool, AttrDefault::Bool(false), "From the back."),
    ],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        if let Some(axis) = const_scalar(ctx, 1)? {
            normalize_axis(axis, x.rank())?;
        }
        Ok(vec![x.clone()])
    },
    flops: |ctx| ctx.opt_input(0).and_then(TensorType::num_elements).unwrap_or(0) as u64,
    samples: |seed| {
        let mut g = Gen::new(seed);
        let axis = |a: i64| Tensor::scalar(a);
        let mut out = vec![
            draft().data(g.tensor(DType::I32, &[3, 4], -9.0, 9.0)).param(axis(0)).done(),
            draft().data(g.tensor(DType::F64, &[7], -2.0, 2.0)).param(Tensor::scalar(0i32)).done(),
        ];
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let d = draft().attr("exclusive", exclusive).attr("reverse", reverse);
            out.push(d.data(g.f32s(&[2, 5, 3])).param(axis(-2)).done());
        }
        out
    },
    ..BASE
};

fn axis(ctx: &OpCtx) -> Result<usize, OpError> {
    let axis = const_scalar(ctx, 1)?
        .ok_or_else(|| OpError::unsupported("axis must be constant, it is computed at run time"))?;
    normalize_axis(axis, ctx.input(0)?.rank())
}

fn eval(ctx: &EvalCtx, combine: Combine) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0)?;
    let axis = axis(&ctx.op)?;
    let (n, inner) = (x.dims()[axis], x.dims()[axis + 1..].iter().product::<usize>());
    let run = Run { n, inner, exclusive: ctx.op.flag("exclusive"), reverse: ctx.op.flag("reverse") };
    macro_rules! floats {
        ($t:ty, $to:expr, $from:expr) => {
            match combine {
                Combine::Product => run.along::<$t, f64>(x, 1.0, $to, |a, b| a * b, $from),
                _ => run.along::<$t, f64>(x, 0.0, $to, |a, b| a + b, $from),
            }
        };
    }
    macro_rules! ints {
        ($t:ty) => {
            match combine {
                Combine::Product => run.along::<$t, $t>(x, 1, |v| v, <$t>::wrapping_mul, |v| v),
                _ => run.along::<$t, $t>(x, 0, |v| v, <$t>::wrapping_add, |v| v),
            }
        };
    }
    Ok(vec![match x.dtype() {
        DType::F32 => floats!(f32, f64::from, |v| v as f32),
        DType::F64 => floats!(f64, |v| v, |v| v),
        DType::F16 => floats!(f16, f16::to_f64, f16::from_f64),
        DType::BF16 => floats!(bf16, bf16::to_f64, bf16::from_f64),
        DType::I8 => ints!(i8),
        DType::I16 => ints!(i16),
        DType::I32 => ints!(i32),
        DType::I64 => ints!(i64),
        DType::U8 | DType::Bool => ints!(u8),
        DType::U16 => ints!(u16),
        DType::U32 => ints!(u32),
        DType::U64 => ints!(u64),
    }])
}

/// Running results along `n` elements that lie `inner` apart.
struct Run {
    n: usize,
    inner: usize,
    exclusive: bool,
    reverse: bool,
}

impl Run {
    fn along<T: Element + Copy, A: Copy>(
        &self,
        x: &Tensor,
        start: A,
        to: impl Fn(T) -> A,
        combine: impl Fn(A, A) -> A,
        from: impl Fn(A) -> T,
    ) -> Tensor {
        let mut v = x.to_vec::<T>();
        if self.n * self.inner > 0 {
            for row in v.chunks_mut(self.n * self.inner) {
                for i in 0..self.inner {
                    let mut acc = start;
                    for k in 0..self.n {
                        let at = i + self.inner * if self.reverse { self.n - 1 - k } else { k };
                        let before = acc;
                        acc = combine(acc, to(row[at]));
                        row[at] = from(if self.exclusive { before } else { acc });
                    }
                }
            }
        }
        Tensor::new(x.dims(), v)
    }
}

/// A reduction of all positions along the axis, of which those count that the running one has seen.
fn compute(ctx: &OpCtx, combine: Combine) -> Result<Compute, OpError> {
    let (dims, axis, d) = (ctx.static_dims(0)?, axis(ctx)?, ctx.input(0)?.dtype);
    let mut b = ScalarBuilder::new();
    let mut index = loops::axes(&mut b, dims.len());
    let here = index[axis];
    index[axis] = b.axis(dims.len());
    let relation = match (ctx.flag("exclusive"), ctx.flag("reverse")) {
        (false, false) => Cmp::Le,
        (true, false) => Cmp::Lt,
        (false, true) => Cmp::Ge,
        (true, true) => Cmp::Gt,
    };
    let seen = b.compare(relation, index[axis], here);
    let x = b.load(Source::Input(0), index, d);
    let x = b.cast(x, loops::wide(d));
    let neutral = b.lit(if combine == Combine::Product { 1.0 } else { 0.0 }, x);
    let body = b.select(seen, x, neutral);
    let mut stages = vec![loops::reduce(dims.clone(), vec![dims[axis]], combine, b, body)];
    if loops::wide(d) != d {
        let mut b = ScalarBuilder::new();
        let at = loops::axes(&mut b, dims.len());
        let s = b.load(Source::Stage(0), at, loops::wide(d));
        let s = b.cast(s, d);
        stages.push(loops::map(dims, b, s));
    }
    Ok(loops::compute(stages))
}
