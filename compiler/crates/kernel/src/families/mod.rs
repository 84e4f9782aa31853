//! The families of tuned kernels, and the parts that their generators share.

pub mod attention;
pub mod conv;
pub mod conv_integer;
pub mod conv_transpose;
pub mod copy;
pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod epilogue;
pub mod igemm;
pub mod image;
pub mod integer;
pub(crate) mod line_buffer;
pub mod linear;
pub mod linear_resize;
pub mod matmul;
pub mod matmul_integer;
pub mod plane_norm;
pub mod pool;
pub mod product;
pub mod quantize_rows;
pub mod region;
pub mod rows;
pub mod sides;
pub mod taps;
pub mod tile;
pub mod walk;
pub mod window;
pub mod winograd;

use crate::family::Family;

/// All families, in the order in which they are asked.
pub static ALL: &[&dyn Family] = &[
    &winograd::Winograd,
    &conv::Conv,
    &depthwise::Depthwise,
    &conv_integer::ConvInteger,
    &conv_transpose::float::ConvTranspose,
    &conv_transpose::integer::ConvTransposeInteger,
    &pool::Pool,
    &pool::GlobalPool,
    &linear::Linear,
    &matmul_integer::MatmulInteger,
    &matmul::Matmul,
    &attention::Attention,
    &copy::Transpose,
    &rows::SoftmaxShort,
    &rows::Softmax,
    &rows::SoftmaxColumns,
    &rows::ArgColumns,
    &rows::Normalize,
    &rows::Reduce,
    &plane_norm::PlaneNorm,
    &linear_resize::LinearResize,
    &quantize_rows::QuantizeRows,
    &elementwise::Elementwise,
    &copy::Rearrange,
];

/// The families that round as the plain definition does and keep weights at their own size: all but transformed tiles.
pub fn direct() -> Vec<&'static dyn Family> {
    ALL.iter().copied().filter(|f| f.name() != winograd::Winograd.name()).collect()
}

/// A short hash of a kernel's full parameters, for its name.
pub(crate) fn fingerprint(text: &str) -> String {
    // FNV-1a, 64 bits: stable across versions of the standard library.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}
