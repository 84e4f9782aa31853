//! Reductions over dimensions.

mod arg;
mod cumulative;
mod eval;
mod loop_form;

pub use arg::{ARG_MAX, ARG_MIN};
pub use cumulative::{CUM_PROD, CUM_SUM};

use crate::axes::normalize_axes;
use crate::define::BASE;
use crate::dims::const_list;
use crate::sample::{Gen, draft};
use mnnc_ir::decl::Sample;
use mnnc_ir::types::Dims;
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, TensorType,
};

pub(crate) const FAMILY: &str = "reduce";

/// `keepdims`.
pub(crate) const KEEPDIMS: AttrDecl = AttrDecl::with_default(
    "keepdims",
    AttrKind::Bool,
    AttrDefault::Bool(true),
    "Reduced dimensions stay, with size 1.",
);

/// What is computed of the reduced elements `x`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Kind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

impl Kind {
    /// Whether integers too are reduced in floats.
    fn in_float(self) -> bool {
        matches!(self, Kind::L2 | Kind::LogSum | Kind::LogSumExp)
    }
}

macro_rules! reductions {
    ($($name:ident = $op:literal, $kind:ident, $types:ident, $doc:literal;)*) => { $(
        #[doc = concat!("`", $op, "`.")]
        pub static $name: OpDecl = OpDecl {
            name: $op,
            family: FAMILY,
            doc: $doc,
            inputs: &[Operand::required("data", DTypeSet::$types), Operand::optional("axes", DTypeSet::I64)],
            attrs: &[
                KEEPDIMS,
                AttrDecl::with_default(
                    "noop_with_empty_axes",
                    AttrKind::Bool,
                    AttrDefault::Bool(false),
                    "Without axes nothing is reduced, rather than everything.",
                ),
            ],
            infer,
            eval: |ctx| eval::eval(ctx, Kind::$kind),
            compute: Some(|ctx| loop_form::compute(ctx, Kind::$kind)),
            flops: |ctx| ctx.opt_input(0).and_then(TensorType::num_elements).unwrap_or(0) as u64,
            samples: |seed| samples(seed, Kind::$kind),
            ..BASE
        };
    )* };
}
reductions! {
    REDUCE_SUM = "reduce_sum", Sum, NUMERIC, "The sum over `axes`, without them over all.";
    REDUCE_MEAN = "reduce_mean", Mean, NUMERIC, "The mean over `axes`, without them over all.";
    REDUCE_MAX = "reduce_max", Max, ANY, "The greatest over `axes`, without them over all; NaN if one is NaN.";
    REDUCE_MIN = "reduce_min", Min, ANY, "The least over `axes`, without them over all; NaN if one is NaN.";
    REDUCE_PROD = "reduce_prod", Prod, NUMERIC, "The product over `axes`, without them over all.";
    REDUCE_L1 = "reduce_l1", L1, NUMERIC, "The sum of magnitudes over `axes`, without them over all.";
    REDUCE_L2 = "reduce_l2", L2, NUMERIC, "The square root of the sum of squares over `axes`, without them over all.";
    REDUCE_LOG_SUM = "reduce_log_sum", LogSum, NUMERIC, "The logarithm of the sum over `axes`, without them over all.";
    REDUCE_LOG_SUM_EXP = "reduce_log_sum_exp", LogSumExp, NUMERIC,
        "The logarithm of the sum of exponentials over `axes`, without them over all.";
    REDUCE_SUM_SQUARE = "reduce_sum_square", SumSquare, NUMERIC, "The sum of squares over `axes`, without them over all.";
}

/// Which dimensions a node reduces, if that is known.
fn reduced(ctx: &OpCtx) -> Result<Option<Vec<bool>>, OpError> {
    let rank = ctx.input(0)?.rank();
    let axes = match ctx.opt_input(1) {
        None => Vec::new(),
        Some(_) => match const_list(ctx, 1)? {
            Some(axes) => normalize_axes(&axes, rank)?,
            None => return Ok(None),
        },
    };
    if axes.is_empty() {
        return Ok(Some(vec![!ctx.flag("noop_with_empty_axes"); rank]));
    }
    Ok(Some((0..rank).map(|i| axes.contains(&i)).collect()))
}

/// As [`reduced`], which has to be known.
fn known_reduced(ctx: &OpCtx) -> Result<Vec<bool>, OpError> {
    reduced(ctx)?.ok_or_else(|| OpError::unsupported("axes must be constant, they are computed at run time"))
}

/// The shape that is left of `dims`.
fn left<D: Copy>(dims: &[D], reduced: &[bool], keep: bool, one: D) -> Vec<D> {
    let each = dims.iter().zip(reduced);
    each.filter(|(_, r)| keep || !**r).map(|(&d, &r)| if r { one } else { d }).collect()
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let x = ctx.input(0)?;
    let keep = ctx.flag("keepdims");
    let dims: Dims = match reduced(ctx)? {
        Some(r) => left(&x.dims, &r, keep, Dim::Const(1)).into(),
        None if keep => x.dims.iter().map(|_| syms.fresh()).collect(),
        None => {
            return Err(OpError::unsupported(
                "the rank of the result is unknown: axes must be constant, or keepdims set",
            ));
        }
    };
    Ok(vec![x.with_dims(dims)])
}

fn samples(seed: u64, kind: Kind) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let low = if kind == Kind::LogSum { 0.1 } else { -2.0 };
    let mut x = |dtype: DType, dims: &[usize]| g.tensor(dtype, dims, low, 2.0);
    let mut out = vec![
        draft().data(x(DType::F32, &[2, 3, 4, 5])).ints(&[2, 3]).done(),
        draft().data(x(DType::F32, &[2, 3, 4])).ints(&[-1]).attr("keepdims", false).done(),
        draft().data(x(DType::F32, &[2, 3, 4])).ints(&[0, 2]).attr("keepdims", false).done(),
        draft().data(x(DType::F32, &[3, 4])).done(),
        draft().data(x(DType::F32, &[3, 4])).ints(&[]).attr("keepdims", false).done(),
        draft().data(x(DType::F32, &[2, 2000])).ints(&[1]).done(),
        draft().data(x(DType::F64, &[2, 3])).ints(&[1]).done(),
        draft().data(x(DType::F16, &[2, 3])).ints(&[1]).done(),
        draft().data(x(DType::F32, &[2, 3])).attr("noop_with_empty_axes", true).done(),
    ];
    if matches!(kind, Kind::Max | Kind::Min) {
        out.push(draft().data(x(DType::Bool, &[3, 4])).ints(&[0]).done());
        out.push(draft().data(x(DType::Bool, &[3, 0])).ints(&[1]).done());
        out.push(draft().data(x(DType::I8, &[3, 0])).ints(&[1]).done());
    }
    if !kind.in_float() {
        out.push(draft().data(x(DType::I32, &[3, 4])).ints(&[0]).done());
        out.push(draft().data(x(DType::I64, &[3, 4])).ints(&[1]).attr("keepdims", false).done());
    }
    out
}
