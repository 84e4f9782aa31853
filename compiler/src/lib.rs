//! mnnc: an ahead-of-time compiler for neural networks.

pub mod calibrate;
