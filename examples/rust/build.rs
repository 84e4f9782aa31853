//! Compiles the network and links it: the ONNX model in `$MODEL` by the `mnnc` in `$MNNC` (default: the one on the path).

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MODEL");
    println!("cargo::rerun-if-env-changed=MNNC");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let mnnc = std::env::var("MNNC").unwrap_or("mnnc".into());
    let object = Path::new(&out).join("mobilenet_v2.o");
    let model = std::env::var("MODEL").unwrap_or_else(|_| {
        // Without a model, one with random weights: it runs as fast and knows as little as it should.
        let model = Path::new(&out).join("mobilenet_v2.onnx").display().to_string();
        run(Command::new(&mnnc).args(["zoo", "mobilenet_v2", "-o", &model]));
        model
    });
    println!("cargo::rerun-if-changed={model}");
    run(Command::new(&mnnc).args(["compile", &model, "--name", "mobilenet_v2", "-o"]).arg(&object));
    println!("cargo::rustc-link-arg={}", object.display());
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}; is mnnc built, and $MNNC its path?"));
    assert!(status.success(), "{command:?}: {status}");
}
