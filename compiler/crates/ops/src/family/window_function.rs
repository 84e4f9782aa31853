//! Window functions of signal processing: sums of cosines over a period.

use crate::define::BASE;
use crate::dims::const_scalar;
use crate::loops;
use crate::sample::draft;
use mnnc_ir::compute::Compute;
use mnnc_ir::decl::EvalCtx;
use mnnc_ir::scalar::{ScalarBuilder, Unary};
use mnnc_ir::{
    AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor,
    TensorType,
};
use std::f64::consts::PI;

const WINDOW: OpDecl = OpDecl {
    family: "window function",
    inputs: &[Operand::required("size", DTypeSet::INDEX)],
    attrs: &[
        AttrDecl::with_default("output_datatype", AttrKind::DType, AttrDefault::DType(DType::F32), "Element type."),
        AttrDecl::with_default(
            "periodic",
            AttrKind::Bool,
            AttrDefault::Bool(true),
            "One period, rather than symmetric.",
        ),
    ],
    infer,
    samples: |_| {
        let mut out = Vec::new();
        for periodic in [true, false] {
            out.push(draft().attr("periodic", periodic).param(Tensor::scalar(10i64)).done());
            out.push(draft().attr("periodic", periodic).param(Tensor::scalar(3i32)).done());
        }
        out
    },
    ..BASE
};

/// Weights of the cosines of once, and twice the frequency, after the constant.
type Weights = [f64; 3];

macro_rules! windows {
    ($($name:ident = $op:literal, $weights:expr, $doc:literal;)*) => { $(
        #[doc = concat!("`", $op, "`.")]
        pub static $name: OpDecl = OpDecl {
            name: $op,
            doc: $doc,
            eval: |ctx| eval(ctx, $weights),
            compute: Some(|ctx| compute(ctx, $weights)),
            ..WINDOW
        };
    )* };
}
windows! {
    HANN_WINDOW = "hann_window", [0.5, -0.5, 0.0], "The Hann window of `size` points.";
    // ONNX takes Hamming's optimal weights as the quotients 25/46 and 21/46.
    HAMMING_WINDOW = "hamming_window", [25.0 / 46.0, -21.0 / 46.0, 0.0], "The Hamming window of `size` points.";
    BLACKMAN_WINDOW = "blackman_window", [0.42, -0.5, 0.08], "The Blackman window of `size` points.";
}

fn size(ctx: &OpCtx) -> Result<Option<usize>, OpError> {
    const_scalar(ctx, 0)?.map(|n| usize::try_from(n).map_err(|_| OpError::invalid(format!("size is {n}")))).transpose()
}

fn known_size(ctx: &OpCtx) -> Result<usize, OpError> {
    size(ctx)?.ok_or_else(|| OpError::unsupported("size must be constant, it is computed at run time"))
}

fn dtype(ctx: &OpCtx) -> DType {
    ctx.dtype("output_datatype").unwrap_or(DType::F32)
}

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    if ctx.input(0)?.num_elements().is_some_and(|n| n != 1) {
        return Err(OpError::invalid("size must be one number"));
    }
    Ok(vec![TensorType::new(dtype(ctx), [size(ctx)?.map_or_else(|| syms.fresh(), Dim::from)])])
}

/// Points in a whole period.
fn period(ctx: &OpCtx, n: usize) -> f64 {
    if ctx.flag("periodic") { n as f64 } else { (n as f64 - 1.0).max(1.0) }
}

fn eval(ctx: &EvalCtx, w: Weights) -> Result<Vec<Tensor>, OpError> {
    let n = known_size(&ctx.op)?;
    let turn = 2.0 * PI / period(&ctx.op, n);
    let value = |i: usize| w[0] + w[1] * (turn * i as f64).cos() + w[2] * (2.0 * turn * i as f64).cos();
    let exact = Tensor::new(vec![n], (0..n).map(value).collect::<Vec<f64>>());
    let attrs = mnnc_ir::Attrs::new().with("to", dtype(&ctx.op));
    crate::evaluate_op(&crate::family::cast::CAST, &attrs, &[Some(exact)], 1, usize::MAX)
}

fn compute(ctx: &OpCtx, w: Weights) -> Result<Compute, OpError> {
    let n = known_size(ctx)?;
    let mut b = ScalarBuilder::new();
    let i = b.axis(0);
    let i = b.cast(i, DType::F64);
    let turn = b.lit(2.0 * PI / period(ctx, n), i);
    let angle = b.mul(turn, i);
    let mut sum = b.lit(w[0], i);
    for (k, &weight) in w.iter().enumerate().skip(1).filter(|(_, w)| **w != 0.0) {
        let times = b.lit(k as f64, i);
        let a = b.mul(times, angle);
        let c = b.unary(Unary::Cos, a);
        let weight = b.lit(weight, i);
        let term = b.mul(weight, c);
        sum = b.add(sum, term);
    }
    let sum = b.cast(sum, dtype(ctx));
    Ok(loops::compute(vec![loops::map(vec![n], b, sum)]))
}
