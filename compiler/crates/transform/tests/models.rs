//! The pipelines of every level on real models: the IR stays valid, and the result stays what it was.

use mnnc_ir::Graph;
use mnnc_transform::compare::same_results;
use mnnc_transform::levels::{OptLevel, Prefer, Target, pipeline};
use mnnc_transform::{Hooks, Manager, Pipeline, Report};
use std::path::{Path, PathBuf};

fn models() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared");
    let shared = std::env::var_os("MNNC_SHARED").map_or(beside, PathBuf::from);
    let dir = shared.join("data/models");
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("skipped: no shared data at {}; set MNNC_SHARED", shared.display());
    None
}

fn optimised(g: &Graph, target: Target, level: OptLevel) -> (Graph, Report) {
    let mut g = g.clone();
    let hooks = Hooks { verify: true, verify_each: std::env::var_os("MNNC_VERIFY_EACH").is_some(), ..Hooks::default() };
    let pipeline = Pipeline::parse(&pipeline(target, level, Prefer::Normal)).unwrap();
    let report = Manager::new(&hooks).run(&mut g, &pipeline).unwrap_or_else(|e| panic!("{}: {e}", g.name));
    (g, report)
}

fn check(name: &str) {
    let Some(dir) = models() else { return };
    let loaded = mnnc_import::load(&dir.join(name), &mnnc_import::ImportOptions::default());
    let g = loaded.unwrap_or_else(|e| panic!("{name}: {e}")).graph;
    for (target, level) in [(Target::Native, OptLevel::O0), (Target::Mnn, OptLevel::O1), (Target::Native, OptLevel::O2)]
    {
        let (after, report) = optimised(&g, target, level);
        eprintln!("{name} {target:?} {level:?}: {} -> {} nodes\n{report}", g.schedule().len(), after.schedule().len());
        if std::env::var_os("MNNC_SHOW").is_some() {
            eprintln!("{after}");
        }
        same_results(&g, &after, "all").unwrap_or_else(|e| panic!("{name} {target:?} {level:?}: {e}"));
        let names = |g: &Graph| {
            g.outputs().iter().map(|&v| format!("{} {}", g.value(v).name, g.show_type(v))).collect::<Vec<_>>()
        };
        assert_eq!(names(&g), names(&after), "{name}: outputs keep name and type");
    }
}

macro_rules! models {
    ($($test:ident: $file:literal),* $(,)?) => { $(#[test] fn $test() { check($file) })* };
}

models! {
    mobilenet_v2: "mnv2_tv1_fp32.onnx",
    squeezenet: "squeezenet1.1_fp32.onnx",
    yolox_nano: "yolox_nano_224.onnx",
    ultraface: "ultraface_rfb320.onnx",
    face_landmark: "mediapipe_face_landmark.onnx",
    sinet: "sinet_softmax.onnx",
    starry_night: "style_starry_night.onnx",
    vit_tracker: "vit_tracker.onnx",
    mnist: "mnist.onnx",
}
