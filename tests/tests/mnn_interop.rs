//! `.mnn` files in MNN itself, the engine that they are for.

mod common;
#[path = "mnn/compressed.rs"]
mod compressed;
#[path = "mnn/compression.rs"]
mod compression;
#[path = "mnn/engine.rs"]
mod engine;
#[path = "mnn/int8.rs"]
mod int8;
#[path = "mnn/networks.rs"]
mod networks;
#[path = "mnn/ops.rs"]
mod ops;
#[path = "mnn/samples.rs"]
mod samples;
#[path = "mnn/suite.rs"]
mod suite;
#[path = "mnn/tools.rs"]
mod tools;
