//! The declarations, one family a file.

pub mod activation;
pub mod arithmetic;
pub mod cast;
pub mod clip;
pub mod conv;
pub mod conv_transpose;
pub mod gather;
pub mod linear;
pub mod norm;
pub mod pool;
pub mod logic;
pub mod math;
pub mod resize;
pub mod softmax;
pub mod structured;
pub mod reshape;
pub mod slice;
pub mod transpose;
pub mod expand;
pub mod fill;
pub mod pad;
pub mod index;
pub mod reduce;
