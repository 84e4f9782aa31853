//! mnnc: an ahead-of-time compiler for neural networks.

pub mod compare;
pub mod coverage;
pub mod error;
pub mod inputs;
pub mod npy;
pub mod output;
pub mod peak;
pub mod summary;
pub mod timing;
pub mod zoo;

pub use error::{Error, Result};
