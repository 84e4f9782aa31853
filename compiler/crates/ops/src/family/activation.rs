//! Activations.

use crate::define::{arg, unary, X_NUMERIC};
use mnnc_ir::{OpDecl, Traits};

const FAMILY: &str = "activation";

/// `relu`.
pub static RELU: OpDecl = OpDecl {
    doc: "`max(x, 0)`.",
    inputs: X_NUMERIC,
    traits: Traits::IDEMPOTENT,
    ..unary("relu", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let zero = b.lit(0.0, x);
        Ok(b.max(x, zero))
    })
};
