//! Signed bytes as unsigned ones, 128 larger: the top bit flipped.

use super::real::{binary, cast};
use crate::pattern::scalar;
use mnnc_ir::{DType, Graph, Patch, Tensor, ValueId};

/// What is added to a signed byte.
pub const SHIFT: i64 = 128;

/// The i8 value of the u8 value `u`.
pub fn signed(p: &mut Patch, u: ValueId) -> Option<ValueId> {
    let top = p.constant("top_bit", Tensor::scalar(0x80u8));
    let flipped = binary(p, "bitwise_xor", u, top)?;
    cast(p, flipped, DType::I8)
}

/// The u8 value of the i8 value `v`: what it was made of, or a new node.
pub fn unsigned(p: &mut Patch, v: ValueId) -> Option<ValueId> {
    if let Some(u) = source(p.graph(), v) {
        return Some(u);
    }
    let top = p.constant("top_bit", Tensor::scalar(i8::MIN));
    let flipped = binary(p, "bitwise_xor", v, top)?;
    cast(p, flipped, DType::U8)
}

/// The u8 value that the i8 value `v` was made of by [`signed`].
pub fn source(g: &Graph, v: ValueId) -> Option<ValueId> {
    let cast = g.producer_of(v, "cast").filter(|_| g.ty(v).dtype == DType::I8)?;
    let xor = g.producer_of(g.node(cast).input(0)?, "bitwise_xor")?;
    let (u, top) = (g.node(xor).input(0)?, g.node(xor).input(1)?);
    (g.ty(u).dtype == DType::U8 && scalar(g, top) == Some(128.0)).then_some(u)
}
