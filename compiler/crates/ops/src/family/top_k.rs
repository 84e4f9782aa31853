//! The largest or smallest elements along a dimension.

use crate::axes::normalize_axis;
use crate::define::BASE;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use half::{bf16, f16};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, Element, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};
use std::cmp::Ordering;

/// Top k.
pub static TOP_K: OpDecl = OpDecl {
    name: "top_k",
    family: "sort",
    doc: "The k largest (or smallest) elements along `axis` and their indices; of equal ones, those with the lower index. \
          With `sorted` 0 the order is not defined (this one sorts all the same). ONNX TopK.",
    inputs: &[Operand::required("x", DTypeSet::NUMERIC), Operand::required("k", DTypeSet::I64)],
    outputs: &[Operand::required("values", DTypeSet::NUMERIC), Operand::required("indices", DTypeSet::I64)],
    attrs: &[
        AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(-1), "the searched dimension"),
        AttrDecl::with_default("largest", AttrKind::Bool, AttrDefault::Bool(true), "the largest, not the smallest"),
        AttrDecl::with_default("sorted", AttrKind::Bool, AttrDefault::Bool(true), "results in order"),
    ],
    infer,
    eval,
    samples,
    ..BASE
};

/// The value of k, if it is a constant.
fn count(ctx: &OpCtx) -> Result<Option<u64>, OpError> {
    let Some(t) = ctx.const_input(1) else { return Ok(None) };
    match t.to_i64s().as_deref() {
        Some(&[k]) => u64::try_from(k).map(Some).map_err(|_| OpError::invalid(format!("k is {k}"))),
        _ => Err(OpError::invalid(format!("k has shape {:?}; one number is needed", t.dims()))),
    }
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let axis = normalize_axis(ctx.int("axis").unwrap_or(-1), x.rank())?;
    let mut dims = x.dims.to_vec();
    dims[axis] = match (count(ctx)?, dims[axis]) {
        (Some(k), Dim::Const(n)) if k > n => {
            return Err(OpError::invalid(format!("k is {k}, dimension {axis} only {n}")));
        }
        (Some(k), _) => Dim::Const(k),
        (None, _) => syms.fresh(),
    };
    Ok(vec![TensorType::new(x.dtype, dims.iter().copied()), TensorType::new(DType::I64, dims)])
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    macro_rules! by {
        ($($d:ident => $t:ty),*) => {
            match ctx.input(0)?.dtype() {
                $(DType::$d => select::<$t>(ctx),)*
                d => Err(OpError::invalid(format!("top_k of {d}"))),
            }
        };
    }
    by!(F32 => f32, F64 => f64, F16 => f16, BF16 => bf16, I8 => i8, I16 => i16, I32 => i32, I64 => i64,
        U8 => u8, U16 => u16, U32 => u32, U64 => u64)
}

fn select<T: Element + PartialOrd + Default>(ctx: &EvalCtx) -> Evaluated {
    let x = ctx.input(0)?;
    let axis = normalize_axis(ctx.op.int("axis").unwrap_or(-1), x.dims().len())?;
    let k = count(&ctx.op)?.unwrap_or(0) as usize;
    let largest = ctx.op.flag("largest");
    let n = x.dims()[axis];
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let outer: usize = x.dims()[..axis].iter().product();
    let data = x.view::<T>();
    let mut dims = x.dims().to_vec();
    dims[axis] = k;
    let total = outer * k * inner;
    let (mut values, mut indices) = (vec![T::default(); total], vec![0i64; total]);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |p: usize| data[(o * n + p) * inner + i];
        let mut order: Vec<usize> = (0..n).collect();
        let compare = |&a: &usize, &b: &usize| {
            let (x, y) = if largest { (at(b), at(a)) } else { (at(a), at(b)) };
            // NaN equals everything here; the index keeps the order total enough for sorting.
            x.partial_cmp(&y).unwrap_or(Ordering::Equal)
        };
        stable_sort(&mut order, compare);
        for (j, &p) in order.iter().take(k).enumerate() {
            let to = (o * k + j) * inner + i;
            values[to] = at(p);
            indices[to] = p as i64;
        }
    }
    Ok(vec![Tensor::new(dims.clone(), values), Tensor::new(dims, indices)])
}

/// A stable merge sort that tolerates an inconsistent order (NaN), where the standard one may panic.
fn stable_sort(items: &mut Vec<usize>, compare: impl Fn(&usize, &usize) -> Ordering + Copy) {
    let mut width = 1;
    while width < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for pair in items.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let (Some(a), Some(b)) = (left.first(), right.first()) {
                if compare(a, b) == Ordering::Greater {
                    merged.push(*b);
                    right = &right[1..];
                } else {
                    merged.push(*a);
                    left = &left[1..];
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        *items = merged;
        width *= 2;
    }
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..6)
        .map(|case| {
            let dims = g.dims(1 + case % 3, 7);
            let axis = g.below(dims.len());
            let k = 1 + g.below(dims[axis]) as i64;
            let x = if case == 5 { g.tensor(DType::I64, &dims, -3.0, 3.0) } else { g.f32s(&dims) };
            draft().data(x).ints(&[k]).attr("axis", axis as i64).attr("largest", case % 2 == 0).outputs(2).done()
        })
        .collect()
}
