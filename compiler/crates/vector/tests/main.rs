//! Tests of the vector level, in one program: each module is a suite.

mod bf16;
mod encodings;
mod gemm;
mod kernels;
mod math;
mod ops;
mod support;
mod text;
