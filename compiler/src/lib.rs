//! mnnc: an ahead-of-time compiler for neural networks.

pub mod accuracy;
pub mod auto_quant;
pub mod calibrate;
pub mod compare;
mod compiler;
mod compress;
pub mod coverage;
mod dynamic;
mod emit;
mod engine;
pub mod error;
pub mod inputs;
pub mod library;
mod native;
pub mod npy;
pub mod onnxruntime;
pub mod output;
pub mod profile;
pub mod quantised;
mod reduced;
pub mod roofline;
mod steps;
pub mod summary;
pub mod timing;
pub mod tune;
pub mod verify;
pub mod weights;
pub mod zoo;

pub use compiler::{CompileOptions, Compiler, Memory, Model, Optimised, Precision};
pub use compress::{Compressed, Compression, Loss};
pub use emit::{Compiled, Emit};
pub use engine::Engine;
pub use error::{Error, Result};
pub use mnnc_codegen::{Jit, Target};
pub use mnnc_import::{Format, Limits};
pub use mnnc_transform::{Hooks, OptLevel, Prefer};
