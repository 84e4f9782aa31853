//! Conversion of element types.

use crate::define::{X_ANY, arg, elementwise};
use crate::sample::{Gen, draft};
use mnnc_ir::decl::Sample;
use mnnc_ir::{AttrDecl, AttrDefault, AttrKind, DType, OpDecl, OpError};

/// `cast`.
pub static CAST: OpDecl = OpDecl {
    doc: "Converts to type `to`. Float to integer truncates and saturates, integers wrap, to bool is `!= 0`.",
    inputs: X_ANY,
    attrs: &[
        AttrDecl::optional("to", AttrKind::DType, "Element type of the result."),
        AttrDecl::with_default(
            "saturate",
            AttrKind::Bool,
            AttrDefault::Bool(true),
            "Only for 8-bit floats: no effect.",
        ),
    ],
    samples: cast_samples,
    ..elementwise("cast", "cast", |ctx, b, a| {
        let x = arg(a, 0)?;
        let to = ctx.dtype("to").ok_or_else(|| OpError::invalid("attribute to is missing"))?;
        Ok(b.cast(x, to))
    })
};

fn cast_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for from in DType::ALL {
        for to in DType::ALL {
            // A negative float has no defined unsigned value.
            let low = if from.is_float() && !to.is_float() && !to.is_signed_int() { 0.0 } else { -100.0 };
            out.push(draft().attr("to", to).data(g.tensor(from, &[2, 3], low, 100.0)).done());
        }
    }
    out
}
