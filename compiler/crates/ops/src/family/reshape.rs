//! Ops that change the shape and leave the elements in order.

use crate::axes::{normalize_axes, normalize_split};
use crate::define::BASE;
use crate::dims::{check_rank, const_list, quotient, unknown_dims};
use crate::loops;
use crate::sample::{Gen, draft};
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::types::Dims;
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType, Traits,
};

/// What the ops of this family share.
const VIEW: OpDecl = OpDecl {
    family: "reshape",
    inputs: &[Operand::required("data", DTypeSet::ANY)],
    traits: Traits::VIEW,
    eval: eval_view,
    compute: Some(compute_view),
    ..BASE
};

/// `reshape`.
pub static RESHAPE: OpDecl = OpDecl {
    name: "reshape",
    doc: "The same elements under `shape`. In `shape`, -1 is what fills up, 0 the input's size there (unless `allowzero`).",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::required("shape", DTypeSet::I64)],
    attrs: &[AttrDecl::with_default("allowzero", AttrKind::Bool, AttrDefault::Bool(false), "0 means a size of zero.")],
    infer: infer_reshape,
    samples: reshape_samples,
    ..VIEW
};

/// `squeeze`.
pub static SQUEEZE: OpDecl = OpDecl {
    name: "squeeze",
    doc: "Drops the dimensions `axes`, which must have size 1; without them, all of size 1.",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::optional("axes", DTypeSet::I64)],
    infer: infer_squeeze,
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[1, 3, 1, 2])).ints(&[0, -2]).done(),
            draft().data(g.f32s(&[1, 3, 1, 2])).done(),
            draft().data(g.f32s(&[2, 1])).ints(&[1]).done(),
            draft().data(g.tensor(DType::I64, &[1], 0.0, 9.0)).ints(&[0]).done(),
        ]
    },
    ..VIEW
};

/// `unsqueeze`.
pub static UNSQUEEZE: OpDecl = OpDecl {
    name: "unsqueeze",
    doc: "Inserts dimensions of size 1, so that they stand at `axes` of the result.",
    inputs: &[Operand::required("data", DTypeSet::ANY), Operand::required("axes", DTypeSet::I64)],
    infer: infer_unsqueeze,
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![
            draft().data(g.f32s(&[3, 2])).ints(&[0, -1]).done(),
            draft().data(g.f32s(&[])).ints(&[0]).done(),
            draft().data(g.tensor(DType::I64, &[4], 0.0, 9.0)).ints(&[1]).done(),
        ]
    },
    ..VIEW
};

/// `flatten`.
pub static FLATTEN: OpDecl = OpDecl {
    name: "flatten",
    doc: "A matrix: dimensions before `axis` are its rows, the others its columns.",
    attrs: &[AttrDecl::with_default("axis", AttrKind::Int, AttrDefault::Int(1), "First dimension of the columns.")],
    infer: infer_flatten,
    samples: |seed| {
        let mut g = Gen::new(seed);
        let x = g.f32s(&[2, 3, 4]);
        (-3..=3).map(|axis| draft().attr("axis", axis as i64).data(x.clone()).done()).collect()
    },
    ..VIEW
};

/// `identity`.
pub static IDENTITY: OpDecl = OpDecl {
    name: "identity",
    doc: "Its operand.",
    infer: |ctx, _| Ok(vec![ctx.input(0)?.clone()]),
    traits: Traits::VIEW.union(Traits::IDEMPOTENT),
    samples: |seed| {
        let mut g = Gen::new(seed);
        vec![draft().data(g.f32s(&[2, 3])).done(), draft().data(g.tensor(DType::Bool, &[3], 0.0, 1.0)).done()]
    },
    ..VIEW
};

/// `dropout`.
pub static DROPOUT: OpDecl = OpDecl {
    name: "dropout",
    doc: "Its operand: at inference nothing is dropped. The second output is all true.",
    inputs: &[
        Operand::required("data", DTypeSet::FLOAT),
        Operand::optional("ratio", DTypeSet::FLOAT),
        Operand::optional("training_mode", DTypeSet::BOOL),
    ],
    outputs: &[Operand::required("output", DTypeSet::FLOAT), Operand::optional("mask", DTypeSet::BOOL)],
    attrs: &[AttrDecl::optional("seed", AttrKind::Int, "Of training: no effect.")],
    infer: |ctx, _| {
        let x = ctx.input(0)?;
        if ctx.opt_input(2).is_some() {
            match ctx.const_input(2).and_then(Tensor::to_i64s) {
                Some(v) if v.iter().all(|&t| t == 0) => {}
                Some(_) => return Err(OpError::unsupported("training_mode is true; export the model for inference")),
                None => {
                    return Err(OpError::unsupported(
                        "training_mode is computed at run time; export the model for inference",
                    ));
                }
            }
        }
        Ok(vec![x.clone(), x.with_dtype(DType::Bool)])
    },
    eval: |ctx| {
        let x = ctx.input(0)?;
        Ok(vec![x.clone(), Tensor::bools(x.dims(), vec![true; x.len()])])
    },
    compute: Some(|ctx| {
        let mut both = compute_view(ctx)?;
        if ctx.num_outputs > 1 {
            let mut b = ScalarBuilder::new();
            let yes = b.constant(1.0, DType::Bool);
            both.stages.push(loops::map(ctx.static_dims(0)?, b, yes));
            both.outputs.push(1);
        }
        Ok(both)
    }),
    samples: |seed| {
        let mut g = Gen::new(seed);
        let never = || Tensor::bools(vec![], vec![false]);
        vec![
            draft().data(g.f32s(&[2, 3])).done(),
            draft().data(g.f32s(&[2, 3])).param(Tensor::scalar(0.5f32)).param(never()).outputs(2).done(),
        ]
    },
    ..VIEW
};

fn eval_view(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let ty = ctx.op.outputs.first().and_then(TensorType::static_dims);
    let dims = ty.ok_or_else(|| OpError::invalid("the result has no known shape"))?;
    let x = ctx.input(0)?;
    let out = x.reshaped(dims.clone());
    Ok(vec![out.ok_or_else(|| OpError::invalid(format!("{:?} cannot be reshaped to {dims:?}", x.dims())))?])
}

/// Output elements read the input at the same row-major position.
fn compute_view(ctx: &OpCtx) -> Result<Compute, OpError> {
    let (input, output) = (ctx.static_dims(0)?, output_dims(ctx)?);
    let mut b = ScalarBuilder::new();
    let position = loops::axes(&mut b, output.len());
    let index = if input == output {
        position
    } else {
        let mut terms = Vec::new();
        let mut stride = 1i64;
        for (&e, &d) in position.iter().zip(&output).rev() {
            if d != 1 {
                terms.push((e, stride));
            }
            stride = stride.saturating_mul(d as i64);
        }
        terms.reverse();
        let linear = loops::affine(&mut b, &terms, 0);
        let mut index = Vec::with_capacity(input.len());
        let mut stride: usize = input.iter().product();
        for (i, &d) in input.iter().enumerate() {
            stride = stride.checked_div(d).unwrap_or(0);
            index.push(if d == 1 {
                b.int(0)
            } else {
                let q = loops::div(&mut b, linear, stride.max(1));
                if input[..i].iter().all(|&d| d == 1) { q } else { loops::rem(&mut b, q, d) }
            });
        }
        index
    };
    let body = b.load(Source::Input(0), index, ctx.input(0)?.dtype);
    Ok(loops::compute(vec![loops::map(output, b, body)]))
}

/// The shape of the first output, which must be known.
fn output_dims(ctx: &OpCtx) -> Result<Vec<usize>, OpError> {
    ctx.outputs
        .first()
        .and_then(TensorType::static_dims)
        .ok_or_else(|| OpError::unsupported("the result has a dynamic shape; fix it with --shape NAME=1x3x224x224"))
}

fn infer_reshape(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let Some(shape) = const_list(ctx, 1)? else {
        let dims = unknown_dims(ctx, 1, syms)?;
        return Ok(vec![x.with_dims(dims)]);
    };
    check_rank(shape.len())?;
    let keep_zero = ctx.flag("allowzero");
    let mut dims = Dims::new();
    let mut missing = None;
    for (i, &v) in shape.iter().enumerate() {
        dims.push(match v {
            -1 if missing.is_some() => return Err(OpError::invalid(format!("shape {shape:?} has more than one -1"))),
            -1 => {
                missing = Some(i);
                Dim::Const(1)
            }
            0 if !keep_zero => *x.dims.get(i).ok_or_else(|| {
                OpError::invalid(format!("shape {shape:?} copies dimension {i} of an input of rank {}", x.rank()))
            })?,
            _ => {
                Dim::Const(u64::try_from(v).map_err(|_| OpError::invalid(format!("shape {shape:?} has the size {v}")))?)
            }
        });
    }
    if let Some(i) = missing {
        let others: Vec<Dim> = dims.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| *d).collect();
        dims[i] = quotient(&x.dims, &others, syms)?;
    }
    let out = x.with_dims(dims);
    if x.static_dims().is_some() && out.static_dims().is_some() {
        let (n, m) = (x.num_elements(), out.num_elements());
        if n.is_none() || n != m {
            let (from, to) = (x.show(syms), out.show(syms));
            return Err(OpError::invalid(format!("{from} cannot be reshaped to {to}: the numbers of elements differ")));
        }
    }
    Ok(vec![out])
}

fn infer_squeeze(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let drop = if ctx.opt_input(1).is_some() {
        let axes = normalize_axes(&ctx.const_ints(1)?, x.rank())?;
        if let Some(&a) = axes.iter().find(|&&a| x.dims[a].known().is_some_and(|n| n != 1)) {
            return Err(OpError::invalid(format!("dimension {a} of {} is not 1", x.show(syms))));
        }
        axes
    } else {
        if x.dims.iter().any(|d| d.known().is_none()) {
            return Err(OpError::unsupported(
                "the rank of the result is unknown: give axes, or fix the shape with --shape",
            ));
        }
        (0..x.rank()).filter(|&i| x.dims[i] == Dim::Const(1)).collect()
    };
    let kept = x.dims.iter().enumerate().filter(|(i, _)| !drop.contains(i)).map(|(_, d)| *d);
    Ok(vec![x.with_dims(kept)])
}

fn infer_unsqueeze(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let axes = ctx.const_ints(1)?;
    check_rank(x.rank() + axes.len())?;
    let mut at = normalize_axes(&axes, x.rank() + axes.len())?;
    at.sort_unstable();
    let mut dims = x.dims.clone();
    for a in at {
        dims.insert(a, Dim::Const(1));
    }
    Ok(vec![x.with_dims(dims)])
}

fn infer_flatten(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let at = normalize_split(ctx.int("axis").unwrap_or(1), x.rank())?;
    let mut product = |dims: &[Dim]| dims.iter().fold(Dim::Const(1), |a, &d| syms.mul(a, d));
    let (rows, columns) = (product(&x.dims[..at]), product(&x.dims[at..]));
    Ok(vec![x.with_dims([rows, columns])])
}

fn reshape_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for shape in [&[6i64, 4][..], &[-1], &[0, -1], &[2, 0, 2, 2], &[4, 1, -1, 3], &[1, 24, 1]] {
        out.push(draft().data(g.f32s(&[2, 3, 4])).ints(shape).done());
    }
    out.push(draft().data(g.f32s(&[1])).ints(&[]).done());
    out.push(draft().data(g.f32s(&[])).ints(&[1, 1]).done());
    out.push(draft().attr("allowzero", true).data(g.f32s(&[3, 0])).ints(&[0, 5]).done());
    out.push(draft().data(g.tensor(DType::I64, &[2, 6], -9.0, 9.0)).ints(&[3, 4]).done());
    out
}
