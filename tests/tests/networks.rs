//! Seventeen networks through the evaluator, the JIT, an object and a shared library in a C program, against ONNX Runtime.

use mnnc::{CompileOptions, Compiler, Engine};
use mnnc_codegen::artifact::Kind;
use mnnc_ir::Tensor;
use mnnc_tests::app::App;
use mnnc_tests::contract::{Judge, is_telling};
use mnnc_tests::machine::Machine;
use mnnc_tests::{networks, object_file, onnxruntime};

/// The most that a plan's workspace may exceed what is live at once.
const WORKSPACE: f64 = 1.2;

fn through_every_path(name: &str) {
    let network = networks::named(name);
    let Some(file) = network.file() else { return };
    let compiler = Compiler::new(CompileOptions::default());
    let model = compiler.load(&file).unwrap_or_else(|e| panic!("{e}"));
    let inputs = network.inputs(model.graph());
    let lowered = compiler.lower(&model).unwrap_or_else(|e| panic!("{e}"));
    for v in &lowered.variants {
        let (have, bound) = (v.plan.workspace as f64, v.plan.lower_bound as f64);
        assert!(have <= WORKSPACE * bound, "the workspace is {:.2} times its lower bound", have / bound);
    }
    let run = |mut engine: Engine| engine.run(&inputs).unwrap_or_else(|e| panic!("{e}"));
    let jit = run(Engine::jit(mnnc::Jit::new(lowered.clone()).unwrap_or_else(|e| panic!("{e}"))));
    assert!(jit.iter().all(is_telling), "an output proves nothing");
    if Machine::Host.is_there() {
        for kind in [Kind::Object, Kind::Shared] {
            let app = App::build(&lowered, kind, Machine::Host).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
            if kind == Kind::Object {
                let undefined = object_file::read(&app.artefact()).undefined;
                assert!(undefined.is_empty(), "the object needs {undefined:?}");
            }
            let got = app.run(&inputs).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
            assert!(equal(&got, &jit), "{kind:?}: the same code gives other bits than in memory");
        }
    }
    let Some(authority) = onnxruntime::run(&file, &inputs) else { return };
    let mut judge = Judge::new(model.graph(), &inputs, &authority);
    let reference = run(Engine::reference(model.graph()));
    for (what, outputs) in [("native code", &jit), ("the evaluator", &reference)] {
        match judge.check(outputs) {
            Ok(worst) => eprintln!("{name}: {what} is {worst:.3} tolerances from ONNX Runtime"),
            Err(e) => panic!("{name}: {what}: {e}"),
        }
    }
}

fn equal(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes()[..] == b.bytes()[..])
}

macro_rules! networks {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            through_every_path($name);
        })*
        /// None is forgotten.
        #[test]
        fn every_network_has_its_test() {
            assert_eq!([$($name),*], networks::ALL.map(|n| n.name));
        }
    };
}

networks! {
    mobilenet_v2: "mobilenet_v2";
    mobilenet_v3_large: "mobilenet_v3_large";
    efficientnet_b0: "efficientnet_b0";
    shufflenet_v2_x1_0: "shufflenet_v2_x1_0";
    squeezenet1_1: "squeezenet1_1";
    resnet18: "resnet18";
    resnet50: "resnet50";
    vit_b_32: "vit_b_32";
    trained_mobilenet_v2: "mnv2_tv1_fp32";
    trained_squeezenet: "squeezenet1.1_fp32";
    yolox_nano: "yolox_nano_224";
    ultraface: "ultraface_rfb320";
    mediapipe_face_landmark: "mediapipe_face_landmark";
    sinet: "sinet_softmax";
    style_transfer: "style_starry_night";
    vit_tracker: "vit_tracker";
    mnist: "mnist";
}
