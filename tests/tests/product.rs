//! What an app gets: nothing to link with, little code, the same bytes every time, every processor level.

use std::path::Path;

use mnnc::{CompileOptions, Compiler, Emit, Model, Target, zoo};
use mnnc_codegen::artifact::Kind;
use mnnc_ir::Tensor;
use mnnc_schema::onnx::Message;
use mnnc_tests::app::App;
use mnnc_tests::contract::Judge;
use mnnc_tests::machine::Machine;
use mnnc_tests::{networks, object_file, onnxruntime, tools};

/// The most code that MobileNetV2 may have beside its weights.
const MOBILENET_CODE: u64 = 512 << 10;

#[test]
fn mobilenet_v2_has_little_code() {
    let file = networks::named("mobilenet_v2").file().expect("the zoo needs nothing");
    let folder = tempfile::tempdir().unwrap();
    for cpu in ["x86-64-v3", "x86-64-v4"] {
        let target = Some(Target::parse(Some("x86_64-linux-gnu"), Some(cpu)).unwrap());
        let compiler = Compiler::new(CompileOptions { target, ..Default::default() });
        let model = compiler.load(&file).unwrap();
        let path = folder.path().join("net.o");
        compiler.compile(&model, Emit::Object, &path, false).unwrap();
        let contents = object_file::read(&path);
        eprintln!("mobilenet_v2 for {cpu}: {} bytes of code", contents.code);
        assert!(contents.code > 0 && contents.code <= MOBILENET_CODE, "{cpu}: {} bytes of code", contents.code);
        assert_eq!(contents.undefined, Vec::<String>::new(), "{cpu}: symbols that someone else has to define");
    }
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["shufflenet_v2_x1_0", "mobilenet_v3_large"] {
        let file = networks::named(name).file().expect("the zoo needs nothing");
        for (emit, kind, extension) in Emit::ALL {
            if emit == Emit::Shared && !tools::there("cc") {
                continue;
            }
            let compile = |sub: &str| {
                // A compiler and a model of its own each time: nothing that is left over from the first may help.
                let compiler = Compiler::new(CompileOptions::default());
                let model = compiler.load(&file).unwrap();
                let to = folder.path().join(name).join(kind).join(sub);
                std::fs::create_dir_all(&to).unwrap();
                let done = compiler.compile(&model, emit, &to.join(format!("net.{extension}")), false);
                let files = done.unwrap_or_else(|e| panic!("{name} as {kind}: {e}")).files;
                files.iter().map(|f| (f.file_name().unwrap().to_owned(), std::fs::read(f).unwrap())).collect::<Vec<_>>()
            };
            let (first, second) = (compile("first"), compile("second"));
            assert_eq!(first.len(), second.len());
            for (a, b) in first.iter().zip(&second) {
                assert!(!a.1.is_empty() && a == b, "{name} as {kind}: {:?} differs", a.0);
            }
        }
    }
}

/// A small network of the zoo with an input and what ONNX Runtime makes of it.
struct Small {
    model: Model,
    inputs: Vec<Tensor>,
    authority: Option<Vec<Tensor>>,
}

fn small(name: &str, folder: &Path) -> Small {
    let options = zoo::Options { size: (64, 64), ..Default::default() };
    let file = folder.join("small.onnx");
    std::fs::write(&file, zoo::build(name, &options).unwrap().encode_to_vec()).unwrap();
    let model = Compiler::default().load(&file).unwrap();
    let inputs = mnnc::inputs::all(model.graph(), 3).unwrap();
    let authority = onnxruntime::run(&file, &inputs);
    Small { model, inputs, authority }
}

impl Small {
    fn object(&self, triple: &str, cpu: &str, machine: Machine) -> App {
        let target = Some(Target::parse(Some(triple), Some(cpu)).unwrap());
        let compiler = Compiler::new(CompileOptions { target, ..Default::default() });
        let lowered = compiler.lower(&self.model).unwrap();
        App::build(&lowered, Kind::Object, machine).unwrap_or_else(|e| panic!("{cpu}: {e}"))
    }

    fn is_right(&self, app: &App, what: &str) {
        let got = app.run(&self.inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
        let Some(authority) = &self.authority else { return };
        let off = Judge::new(self.model.graph(), &self.inputs, authority).check(&got);
        eprintln!("{what}: {:.3} tolerances from ONNX Runtime", off.unwrap_or_else(|e| panic!("{what}: {e}")));
    }
}

const X64: &str = "x86_64-linux-gnu";

#[test]
fn every_level_of_x86_64_gives_the_right_answer() {
    if cfg!(not(target_arch = "x86_64")) || !Machine::Host.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let net = small("shufflenet_v2_x1_0", folder.path());
    let several = "x86-64-v2,x86-64-v3,x86-64-v4";
    for cpu in ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v3+vnni", "x86-64-v4", "x86-64-v4+bf16", several] {
        let here = Target::parse(Some(X64), Some(cpu)).unwrap().runs_here();
        let app = net.object(X64, cpu, Machine::Host);
        if here {
            net.is_right(&app, cpu);
        } else {
            app.is_refused(&net.inputs).unwrap_or_else(|e| panic!("{cpu}: {e}"));
        }
    }
}

#[test]
fn a_processor_that_lacks_something_is_told_and_a_weaker_level_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let net = small("squeezenet1_1", folder.path());
    // qemu has AVX2 at most; a Nehalem has SSE4.2, an early Opteron SSE3 at most.
    let (strong, old, oldest) = (Machine::X64("max"), Machine::X64("Nehalem"), Machine::X64("Opteron_G1"));
    let x64 = [
        ("x86-64-v4", strong, false),
        ("x86-64-v3", old, false),
        ("x86-64-v2", oldest, false),
        ("x86-64,x86-64-v3,x86-64-v4", strong, true),
        ("x86-64,x86-64-v3,x86-64-v4", oldest, true),
        ("x86-64-v2,x86-64-v3,x86-64-v4", strong, true),
        ("x86-64-v2,x86-64-v3,x86-64-v4", old, true),
        ("x86-64-v2,x86-64-v3,x86-64-v4", oldest, false),
        ("x86-64-v4+bf16", strong, false),
    ];
    // The first has dot products, the second does not.
    let a64 = [("cortex-a76", Machine::Aarch64("max"), true), ("cortex-a76", Machine::Aarch64("cortex-a53"), false)];
    for (cpu, machine, fits) in x64.into_iter().chain(a64) {
        if !machine.is_there() {
            continue;
        }
        let triple = if machine.is_foreign() { "aarch64-linux-gnu" } else { X64 };
        let app = net.object(triple, cpu, machine);
        let what = format!("code for {cpu} on {machine:?}");
        if fits {
            net.is_right(&app, &what);
        } else {
            app.is_refused(&net.inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }
}
