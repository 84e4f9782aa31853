//! Matrix products.

mod einsum;
mod equation;
mod gemm;
mod matmul;

pub use einsum::EINSUM;
pub use gemm::GEMM;
pub use matmul::MATMUL;
pub(crate) use matmul::{MatmulShape, infer_dims as infer_matmul_dims, sums as matmul_sums};
