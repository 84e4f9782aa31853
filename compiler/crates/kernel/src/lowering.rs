//! The state of a lowering: which value lies where, which kernels and steps exist.

/// The state of a lowering.
pub struct Lowering;
