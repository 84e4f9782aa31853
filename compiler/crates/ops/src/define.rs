//! What declarations have in common, so that each states only what is its own.

use crate::elementwise;
use mnnc_ir::decl::{EvalCtx, Sample, ScalarFormula};
use mnnc_ir::scalar::{Expr, ScalarBuilder};
use mnnc_ir::{DTypeSet, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType, Traits};

/// The declaration that others update: one output, no attributes, no FLOPs, and nothing implemented.
pub const BASE: OpDecl = OpDecl {
    name: "",
    family: "",
    doc: "",
    inputs: &[],
    outputs: &[Operand::required("output", DTypeSet::ANY)],
    attrs: &[],
    regions: 0,
    traits: Traits::empty(),
    infer: no_infer,
    eval: no_eval,
    scalar: None,
    compute: None,
    flops: no_flops,
    samples: no_samples,
};

/// One float operand.
pub const X_FLOAT: &[Operand] = &[Operand::required("x", DTypeSet::FLOAT)];
/// One numeric operand.
pub const X_NUMERIC: &[Operand] = &[Operand::required("x", DTypeSet::NUMERIC)];
/// One operand that may be negative.
pub const X_SIGNED: &[Operand] = &[Operand::required("x", DTypeSet::FLOAT.union(DTypeSet::SIGNED))];
/// One operand of any type.
pub const X_ANY: &[Operand] = &[Operand::required("x", DTypeSet::ANY)];
/// Two numeric operands.
pub const AB_NUMERIC: &[Operand] =
    &[Operand::required("a", DTypeSet::NUMERIC), Operand::required("b", DTypeSet::NUMERIC)];

/// An element-wise op: types, evaluation, loop form, FLOPs and samples come from `formula`.
pub const fn elementwise(name: &'static str, family: &'static str, formula: ScalarFormula) -> OpDecl {
    OpDecl {
        name,
        family,
        infer: elementwise::infer,
        eval: elementwise::eval,
        scalar: Some(formula),
        compute: Some(elementwise::compute),
        flops: elementwise::flops,
        ..BASE
    }
}

/// An [`elementwise`] op of one float operand.
pub const fn unary(name: &'static str, family: &'static str, formula: ScalarFormula) -> OpDecl {
    OpDecl { inputs: X_FLOAT, ..elementwise(name, family, formula) }
}

/// An [`elementwise`] op of two numeric operands with broadcasting.
pub const fn binary(name: &'static str, family: &'static str, formula: ScalarFormula) -> OpDecl {
    OpDecl { inputs: AB_NUMERIC, ..elementwise(name, family, formula) }
}

/// Operand `i` of a formula, which has to be there.
pub fn arg(args: &[Option<Expr>], i: usize) -> Result<Expr, OpError> {
    args.get(i).copied().flatten().ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
}

/// Operands 0 and 1 of a formula, which have to be of one type.
pub fn pair(b: &ScalarBuilder, args: &[Option<Expr>]) -> Result<(Expr, Expr), OpError> {
    let (x, y) = (arg(args, 0)?, arg(args, 1)?);
    same_type(b, x, y)?;
    Ok((x, y))
}

/// Checks that two operands of a formula are of one type.
pub fn same_type(b: &ScalarBuilder, x: Expr, y: Expr) -> Result<(), OpError> {
    let (p, q) = (b.dtype(x), b.dtype(y));
    if p == q {
        return Ok(());
    }
    Err(OpError::invalid(format!("operands are {p} and {q}; cast one of them, types must be equal")))
}

fn no_infer(ctx: &OpCtx, _: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    Err(OpError::unsupported(format!("{} has no type inference", ctx.op.name)))
}

fn no_eval(ctx: &EvalCtx) -> Result<Vec<Tensor>, OpError> {
    Err(OpError::unsupported(format!("{} has no reference evaluation", ctx.op.op.name)))
}

fn no_flops(_: &OpCtx) -> u64 {
    0
}

fn no_samples(_: u64) -> Vec<Sample> {
    Vec::new()
}
