//! `.mnn` files in MNN itself, the engine that they are for.

#[path = "mnn/engine.rs"]
mod engine;
#[path = "mnn/ops.rs"]
mod ops;
