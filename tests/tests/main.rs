//! Tests of the whole product, in one program: each module is a suite, and `cargo test -p mnnc-tests NAME::` runs it.

mod aarch64;
mod aarch64_ops;
mod benches;
mod common;
mod examples;
mod import_models;
mod mnn;
mod mnn_reader;
mod networks;
mod onnx_suite;
mod ops_onnxruntime;
mod packed_weights;
mod product;
mod quantised;
mod quantize;
mod report;
mod strangers;
mod top1;
mod weight_compression;
