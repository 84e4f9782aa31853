//! Recovery of composite ops, and merging of neighbours.

pub mod activation;
pub mod affine;
pub mod attention;
pub mod conv;
pub mod group;
pub mod norm;
pub mod pool;
pub mod sink;
pub mod strength;
