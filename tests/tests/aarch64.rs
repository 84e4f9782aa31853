//! Whole networks as objects for AArch64, linked by a cross compiler and run under emulation.

use mnnc::{CompileOptions, Compiler, Target};
use mnnc_codegen::artifact::Kind;
use mnnc_tests::app::App;
use mnnc_tests::contract::Judge;
use mnnc_tests::machine::Machine;
use mnnc_tests::{networks, object_file, onnxruntime};

const MACHINE: Machine = Machine::Aarch64("cortex-a72");

/// What the C library and its mathematics may be asked for.
const C_LIBRARY: [&str; 4] = ["getauxval", "memcpy", "memmove", "memset"];

fn on_aarch64(name: &str) {
    let network = networks::named(name);
    let (true, Some(file)) = (MACHINE.is_there(), network.file()) else { return };
    let target = Some(Target::parse(Some("aarch64-linux-gnu"), None).unwrap());
    let compiler = Compiler::new(CompileOptions { target, ..Default::default() });
    let model = compiler.load(&file).unwrap();
    let inputs = network.inputs(model.graph());
    let lowered = compiler.lower(&model).unwrap_or_else(|e| panic!("{name}: {e}"));
    let app = App::build(&lowered, Kind::Object, MACHINE).unwrap_or_else(|e| panic!("{name}: {e}"));
    let foreign: Vec<String> =
        object_file::read(&app.artefact()).undefined.into_iter().filter(|s| !C_LIBRARY.contains(&&**s)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let got = app.run(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let Some(authority) = onnxruntime::run(&file, &inputs) else { return };
    let off = Judge::new(model.graph(), &inputs, &authority).check(&got).unwrap_or_else(|e| panic!("{name}: {e}"));
    eprintln!("{name} on AArch64: {off:.3} tolerances from ONNX Runtime");
}

#[test]
fn mobilenet_v2() {
    on_aarch64("mobilenet_v2");
}

#[test]
fn ultraface() {
    on_aarch64("ultraface_rfb320");
}

#[test]
fn shufflenet() {
    on_aarch64("shufflenet_v2_x1_0");
}

#[test]
fn vit_tracker() {
    on_aarch64("vit_tracker");
}

#[test]
fn yolox_nano() {
    on_aarch64("yolox_nano_224");
}
