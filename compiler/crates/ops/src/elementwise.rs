//! What every element-wise op gets from its formula: types, evaluation, loop form, FLOPs, samples.

use crate::broadcast::{broadcast, broadcast_static};
use crate::lanes;
use crate::sample::{Draft, Gen, draft};
use mnnc_ir::compute::{Compute, Stage};
use mnnc_ir::decl::{Arity, EvalCtx, Sample};
use mnnc_ir::scalar::{Expr, ScalarBuilder, ScalarFn, ScalarNode, Source};
use mnnc_ir::{DType, Layout, OpCtx, OpDecl, OpError, SymTable, Tensor, TensorType};

/// The formula of an element-wise node for its actual types and attributes.
pub fn scalar_fn(ctx: &OpCtx) -> Result<ScalarFn, OpError> {
    let Some(formula) = ctx.op.scalar else {
        return Err(OpError::unsupported(format!("{} is not element-wise", ctx.op.name)));
    };
    let mut b = ScalarBuilder::new();
    let args: Vec<Option<Expr>> =
        ctx.inputs.iter().enumerate().map(|(i, ty)| ty.as_ref().map(|t| b.arg(i, t.dtype))).collect();
    let result = formula(ctx, &mut b, &args)?;
    Ok(b.finish(result))
}

/// Broadcasts the shapes and takes the element type of the formula. A blocked layout of an operand is that of the
/// result.
pub fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let f = scalar_fn(ctx)?;
    let present = || ctx.inputs.iter().flatten();
    let dims = broadcast(present().map(|t| &t.dims[..]), syms)?;
    let layout = present().map(|t| t.layout).find(|l| *l != Layout::Plain).unwrap_or_default();
    Ok(vec![TensorType { dtype: f.dtype(f.result), dims, layout, quant: None }])
}

/// Evaluates the formula over the broadcast operands.
pub fn eval(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    let f = scalar_fn(&ctx.op)?;
    let shapes: Vec<&[usize]> = ctx.inputs.iter().flatten().map(|t| t.dims()).collect();
    let dims = broadcast_static(&shapes)?;
    Ok(vec![lanes::map(&f, ctx.inputs, &dims)?])
}

/// One loop nest over the output, whose body is the formula over broadcast loads.
pub fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let f = scalar_fn(ctx)?;
    let shapes: Vec<Vec<usize>> = (0..ctx.inputs.len())
        .map(|i| if ctx.opt_input(i).is_some() { ctx.static_dims(i) } else { Ok(Vec::new()) })
        .collect::<Result<_, _>>()?;
    let dims = broadcast_static(&shapes.iter().map(|s| &s[..]).collect::<Vec<_>>())?;
    let mut b = ScalarBuilder::new();
    let mut args = Vec::with_capacity(shapes.len());
    for (i, shape) in shapes.iter().enumerate() {
        args.push(match ctx.opt_input(i) {
            Some(ty) => {
                let index = broadcast_index(&mut b, shape, &dims);
                b.load(Source::Input(i), index, ty.dtype)
            }
            // Never referred to: the formula did not get this operand.
            None => b.int(0),
        });
    }
    let body_result = b.inline(&f, &args);
    let dtype = b.dtype(body_result);
    let stage = Stage { dims, dtype, reduce: None, body: b.finish(body_result) };
    Ok(Compute { stages: vec![stage], outputs: vec![0] })
}

/// Indices into a tensor of shape `shape` that is broadcast to loops over `dims`.
pub fn broadcast_index(b: &mut ScalarBuilder, shape: &[usize], dims: &[usize]) -> Vec<Expr> {
    let skip = dims.len() - shape.len();
    shape.iter().enumerate().map(|(i, &d)| if d == 1 { b.int(0) } else { b.axis(skip + i) }).collect()
}

/// One for each arithmetic node of the formula, for each element of the result.
pub fn flops(ctx: &OpCtx) -> u64 {
    let Ok(f) = scalar_fn(ctx) else { return 0 };
    let is_work = |n: &ScalarNode| {
        matches!(n, ScalarNode::Unary(..) | ScalarNode::Binary(..) | ScalarNode::Compare(..) | ScalarNode::Select(..))
    };
    let per_element = f.nodes.iter().filter(|(n, _)| is_work(n)).count() as u64;
    let elements = ctx.outputs.first().and_then(TensorType::num_elements).unwrap_or(0);
    per_element.saturating_mul(elements as u64)
}

/// Samples of an element-wise op from its operands: equal shapes, broadcasting in every direction, a scalar, an empty
/// tensor, and each element type that it takes.
pub fn samples(op: &'static OpDecl, seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let arity = op.inputs.len();
    let common: Vec<DType> = DType::ALL.into_iter().filter(|&d| op.inputs.iter().all(|o| o.dtypes.has(d))).collect();
    let fill = |g: &mut Gen, dtype: DType, shapes: &[&[usize]]| {
        let mut d: Draft = draft();
        for (i, operand) in op.inputs.iter().enumerate() {
            let own = DType::ALL.into_iter().find(|&t| operand.dtypes.has(t)).unwrap_or(DType::F32);
            let dtype = if operand.dtypes.has(dtype) { dtype } else { own };
            let shape = shapes[i % shapes.len()];
            d = d.data(g.tensor(dtype, shape, -4.0, 4.0));
        }
        if op.inputs.last().is_some_and(|o| o.arity == Arity::Variadic) {
            d = d.data(g.tensor(dtype, shapes[0], -4.0, 4.0));
        }
        d.done()
    };
    let first = common.first().copied().unwrap_or(DType::F32);
    let mut out = vec![
        fill(&mut g, first, &[&[2, 3, 4]]),
        fill(&mut g, first, &[&[]]),
        fill(&mut g, first, &[&[2, 0, 3]]),
        // More than one chunk of the evaluator.
        fill(&mut g, first, &[&[3, 1000]]),
    ];
    if arity > 1 {
        out.push(fill(&mut g, first, &[&[2, 3, 4], &[4]]));
        out.push(fill(&mut g, first, &[&[3, 1], &[2, 1, 4]]));
        out.push(fill(&mut g, first, &[&[], &[2, 5]]));
    }
    for &dtype in common.iter().skip(1) {
        out.push(fill(&mut g, dtype, &[&[3, 5]]));
    }
    out
}
