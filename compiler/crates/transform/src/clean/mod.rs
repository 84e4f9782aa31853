//! What does nothing, or is done twice.

pub mod cse;
pub mod dce;
