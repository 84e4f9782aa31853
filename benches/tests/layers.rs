//! Every layer of the catalogue is a model that compiles and computes what the reference does.

use mnnc::{CompileOptions, Compiler, Engine, inputs};
use mnnc_benches::catalogue;

#[test]
fn layers_compile_and_are_right() {
    let compiler = Compiler::new(CompileOptions::default());
    let names: Vec<String> = catalogue().into_iter().map(|layer| layer.name).collect();
    assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)), "{names:?}");
    // The smallest of each kind: the reference evaluator is slow.
    let small = [
        "conv3x3 512",
        "conv3x3s2 256",
        "conv1x1 960",
        "stem3x3s2",
        "patches",
        "depthwise3x3 960",
        "depthwise5x5s2 672",
    ];
    let others = ["product 1x", "attention 12 heads, 50", "max_pool", "global_pool"];
    for word in small.iter().chain(&others) {
        let layer =
            catalogue().into_iter().find(|layer| layer.name.starts_with(word)).unwrap_or_else(|| panic!("{word}"));
        let model = compiler.load_onnx("layer.onnx", layer.model).unwrap_or_else(|e| panic!("{word}: {e}"));
        let inputs = inputs::all(model.graph(), 0).unwrap();
        let got = Engine::jit(compiler.jit(&model).unwrap()).run(&inputs).unwrap();
        let want = Engine::reference(model.graph()).run(&inputs).unwrap();
        let deviation = mnnc::compare::compare(&want[0], &got[0], mnnc::compare::Tolerance::F32).unwrap();
        assert!(deviation.is_within(), "{word}: {deviation:?}");
        assert!(want[0].to_f64s().iter().any(|x| *x != 0.0), "{word} is zero");
    }
}
