//! `.mnn` files in MNN itself, the engine that they are for.

mod compressed;
mod compression;
pub mod engine;
mod int8;
mod networks;
mod ops;
pub mod samples;
mod suite;
mod tools;
