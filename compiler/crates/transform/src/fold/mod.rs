//! What can be computed at compile time.

pub mod constants;
pub mod refine;
pub mod shapes;
