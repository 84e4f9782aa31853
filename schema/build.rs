//! Compiles the protocol buffer schemas in pure Rust (protox), so that no
//! `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=onnx.proto");
    let files = protox::compile(["onnx.proto"], ["."])?;
    prost_build::Config::new()
        // Weights stay slices of the buffer that is decoded, without a copy.
        .bytes(["."])
        // Field documentation stands in the schema as ordinary comments.
        .disable_comments(["."])
        .compile_fds(files)?;
    Ok(())
}
