//! Compiles the schemas in pure Rust, so that neither `protoc` nor `flatc` is
//! needed: protocol buffers through protox, FlatBuffers through `build/fbs`.

use std::error::Error;
use std::path::PathBuf;

#[path = "build/fbs/mod.rs"]
mod fbs;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=onnx.proto");
    println!("cargo:rerun-if-changed=mnn.fbs");
    println!("cargo:rerun-if-changed=build");
    let files = protox::compile(["onnx.proto"], ["."])?;
    prost_build::Config::new()
        // Weights stay slices of the buffer that is decoded, without a copy.
        .bytes(["."])
        // Field documentation stands in the schema as ordinary comments.
        .disable_comments(["."])
        .compile_fds(files)?;

    let code = fbs::compile(&std::fs::read_to_string("mnn.fbs")?).map_err(|error| format!("mnn.fbs: {error}"))?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("mnn.rs"), code)?;
    Ok(())
}
