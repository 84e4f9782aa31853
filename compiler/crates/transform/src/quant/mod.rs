//! Compressed weights and quantised activations.

pub mod dynamic;
pub mod expand;
pub mod lower;
pub mod moved;
pub mod repeat;
pub mod spell;
pub mod weight;
