//! What can be computed at compile time.

pub mod constants;
pub mod shapes;
pub mod refine;
