//! Products of matrices.

use crate::onnx::table::{Row, plain};

pub(super) static ROWS: &[Row] = &[
    plain("Attention", "attention"),
    plain("Einsum", "einsum"),
    plain("Gemm", "gemm"),
    plain("MatMul", "matmul"),
    plain("MatMulInteger", "matmul_integer"),
];
