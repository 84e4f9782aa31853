//! Recovery of composite ops, and merging of neighbours.

pub mod group;
