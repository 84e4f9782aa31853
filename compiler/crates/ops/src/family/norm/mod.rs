//! Normalisations.

mod batch;
mod group;
mod layer;
mod lp;
mod lrn;
mod mean_variance;
mod split;

pub use batch::BATCH_NORMALIZATION;
pub use group::{GROUP_NORMALIZATION, INSTANCE_NORMALIZATION};
pub use layer::{LAYER_NORMALIZATION, RMS_NORMALIZATION};
pub use lp::LP_NORMALIZATION;
pub use lrn::LRN;
pub use mean_variance::MEAN_VARIANCE_NORMALIZATION;
pub(crate) use split::Split;

use mnnc_ir::attr::AttrDefault;
use mnnc_ir::{AttrDecl, AttrKind, Dim, OpCtx, OpError};

const EPSILON: AttrDecl =
    AttrDecl::with_default("epsilon", AttrKind::Float, AttrDefault::Float(1e-5), "added to the variance");
const STASH_TYPE: AttrDecl = AttrDecl::with_default(
    "stash_type",
    AttrKind::Int,
    AttrDefault::Int(1),
    "ONNX element type of the statistics; they are computed at least as precisely",
);

fn epsilon(ctx: &OpCtx) -> f64 {
    f64::from(ctx.float("epsilon").unwrap_or(1e-5))
}

/// Input `i` is a vector with one element for each channel.
fn check_channels(ctx: &OpCtx, i: usize, channels: Dim) -> Result<(), OpError> {
    let (t, name) = (ctx.input(i)?, ctx.op.inputs[i].name);
    match (t.dims.as_slice(), channels) {
        ([Dim::Const(n)], Dim::Const(c)) if *n != c => {
            Err(OpError::invalid(format!("{name} has {n} elements for {c} channels")))
        }
        ([_], _) => Ok(()),
        _ => Err(OpError::invalid(format!("{name} has rank {}; a vector over the channels is needed", t.rank()))),
    }
}

/// The channel dimension of input 0.
fn channels(ctx: &OpCtx) -> Result<Dim, OpError> {
    let x = ctx.input(0)?;
    x.dims
        .get(1)
        .copied()
        .ok_or_else(|| OpError::invalid(format!("the input has rank {}; dimension 1 holds the channels", x.rank())))
}

/// Number of elements of input 0 times `per_element`.
fn element_flops(ctx: &OpCtx, per_element: u64) -> u64 {
    ctx.input(0).ok().and_then(|t| t.num_elements()).map_or(0, |n| per_element.saturating_mul(n as u64))
}
