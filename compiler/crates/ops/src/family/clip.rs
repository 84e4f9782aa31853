//! Element-wise ops whose further operands bound or scale the first one: the result has the first one's shape.

use crate::define::{arg, elementwise, same_type};
use crate::sample::{Gen, draft};
use mnnc_ir::decl::Sample;
use mnnc_ir::scalar::Cmp;
use mnnc_ir::{DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, TensorType};

const FAMILY: &str = "activation";

/// `clip`.
pub static CLIP: OpDecl = OpDecl {
    doc: "`min(max(x, min), max)`; `max` wins where the bounds cross.",
    inputs: &[
        Operand::required("x", DTypeSet::NUMERIC),
        Operand::optional("min", DTypeSet::NUMERIC),
        Operand::optional("max", DTypeSet::NUMERIC),
    ],
    infer: infer_clip,
    samples: clip_samples,
    ..elementwise("clip", FAMILY, |_, b, a| {
        let mut x = arg(a, 0)?;
        if let Some(low) = a.get(1).copied().flatten() {
            same_type(b, x, low)?;
            x = b.max(x, low);
        }
        if let Some(high) = a.get(2).copied().flatten() {
            same_type(b, x, high)?;
            x = b.min(x, high);
        }
        Ok(x)
    })
};

/// `prelu`.
pub static PRELU: OpDecl = OpDecl {
    doc: "`x < 0 ? slope * x : x`, `slope` broadcast to `x`.",
    inputs: &[Operand::required("x", DTypeSet::NUMERIC), Operand::required("slope", DTypeSet::NUMERIC)],
    infer: infer_like_first,
    samples: prelu_samples,
    ..elementwise("prelu", FAMILY, |_, b, a| {
        let (x, slope) = crate::define::pair(b, a)?;
        let zero = b.lit(0.0, x);
        let below = b.compare(Cmp::Lt, x, zero);
        let scaled = b.mul(slope, x);
        Ok(b.select(below, scaled, x))
    })
};

fn infer_clip(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    for i in 1..3 {
        if let Some(ty) = ctx.opt_input(i)
            && (ty.rank() > 1 || ty.dims.iter().any(|d| *d != Dim::Const(1)))
        {
            let name = ctx.op.inputs[i].name;
            return Err(OpError::invalid(format!("{name} must be a scalar, it is {}", ty.show(syms))));
        }
    }
    infer_like_first(ctx, syms)
}

/// The element-wise rule, with a result of the first operand's shape.
fn infer_like_first(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?.clone();
    let mut types = crate::elementwise::infer(ctx, syms)?;
    for ty in &mut types {
        let grows = ty.rank() != x.rank() || ty.dims.iter().zip(&x.dims).any(|(o, d)| *d == Dim::Const(1) && o != d);
        if grows {
            let (got, want) = (ty.show(syms), x.show(syms));
            return Err(OpError::invalid(format!("operands broadcast to {got}, beyond the first one's {want}")));
        }
        ty.dims = x.dims.clone();
    }
    Ok(types)
}

fn clip_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let bound = |x: f32| mnnc_ir::Tensor::scalar(x);
    let mut out = vec![
        draft().data(g.tensor(DType::F32, &[2, 3, 5], -8.0, 8.0)).param(bound(0.0)).param(bound(6.0)).done(),
        draft().data(g.f32s(&[4, 3])).param(bound(-0.5)).done(),
        draft().data(g.f32s(&[7])).absent().param(bound(0.5)).done(),
        draft().data(g.f32s(&[7])).done(),
        draft().data(g.f32s(&[2, 4])).data(bound(1.0)).data(bound(-1.0)).done(),
    ];
    for d in [DType::F64, DType::F16, DType::I8, DType::I32, DType::I64, DType::U8, DType::U64] {
        let x = g.tensor(d, &[3, 5], -9.0, 9.0);
        out.push(draft().data(x).param(g.tensor(d, &[], 1.0, 2.0)).param(g.tensor(d, &[], 4.0, 5.0)).done());
    }
    out
}

fn prelu_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for slope in [&[3usize, 1, 1][..], &[1], &[2, 3, 4, 5], &[5], &[]] {
        out.push(draft().data(g.f32s(&[2, 3, 4, 5])).param(g.f32s(slope)).done());
    }
    let x = g.tensor(DType::I32, &[2, 3], -5.0, 5.0);
    out.push(draft().data(x).param(g.tensor(DType::I32, &[3], -5.0, 5.0)).done());
    out
}
