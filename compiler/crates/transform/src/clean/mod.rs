//! What does nothing, or is done twice.

pub mod blocks;
pub mod bn;
pub mod cse;
pub mod dce;
pub mod gather;
pub mod pad;
pub mod point;
pub mod simplify;
pub mod transpose;
