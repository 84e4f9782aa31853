//! Whole networks: our `.mnn` in MNN against ONNX Runtime, beside MNN's own conversion of the same model.

use crate::mnn::engine::{self, Case};
use mnnc_import::{ImportOptions, load};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, Graph, Tensor};
use mnnc_mnn::WriteOptions;
use mnnc_ops::sample::Gen;
use mnnc_transform::{Hooks, Manager, OptLevel, Pipeline, Prefer, Target, levels};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The shared models, all of which have a `.mnn` form.
const SHARED: [&str; 9] = [
    "mnv2_tv1_fp32",
    "squeezenet1.1_fp32",
    "yolox_nano_224",
    "ultraface_rfb320",
    "mediapipe_face_landmark",
    "sinet_softmax",
    "style_starry_night",
    "vit_tracker",
    "mnist",
];
/// The longest that a network may take in MNN.
const LIMIT: Duration = Duration::from_secs(120);

/// A graph as the `.mnn` writer gets it.
pub fn optimised(path: &Path, level: OptLevel) -> Result<Graph, String> {
    let mut graph = load(path, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
    let text = levels::pipeline(Target::Mnn, level, Prefer::Normal);
    let pipeline = Pipeline::parse(&text).expect("a level's pipeline");
    Manager::new(&Hooks::default()).run(&mut graph, &pipeline).map_err(|e| e.to_string())?;
    Ok(graph)
}

/// What ONNX Runtime gives, and MNN's own file.
struct Reference {
    outputs: Vec<Tensor>,
    converted: Option<Vec<u8>>,
}

fn reference(python: &Path, model: &Path, feeds: &[(String, Tensor)], folder: &Path) -> Reference {
    let entries: Vec<Value> = feeds
        .iter()
        .enumerate()
        .map(|(i, (name, tensor))| {
            let file = folder.join(format!("in{i}"));
            std::fs::write(&file, &tensor.bytes()[..]).expect("the test's folder is writable");
            assert_eq!(tensor.dtype(), DType::F32);
            json!({"name": name, "dtype": "float32", "shape": tensor.dims(), "file": file})
        })
        .collect();
    let inputs = folder.join("inputs.json");
    std::fs::write(&inputs, Value::from(entries).to_string()).expect("the test's folder is writable");
    let stem = folder.join("reference");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_reference.py");
    let run = Command::new(python).arg(script).arg(model).arg(&inputs).arg(&stem).output().expect("python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8_lossy(&run.stdout);
    let report: Value = serde_json::from_str(text.lines().next_back().expect("a report")).expect("JSON");
    let outputs = report["outputs"].as_array().expect("outputs").iter().enumerate();
    let outputs = outputs.map(|(i, output)| {
        let shape: Vec<usize> =
            output["shape"].as_array().expect("shape").iter().map(|d| d.as_u64().expect("dim") as usize).collect();
        let dtype = match output["dtype"].as_str() {
            Some("float32") => DType::F32,
            Some("int64") => DType::I64,
            other => panic!("output of {other:?}"),
        };
        let bytes = std::fs::read(format!("{}.{i}", stem.display())).expect("the output that was told of");
        Tensor::from_bytes(dtype, shape, Bytes::from_vec(bytes)).expect("elements fill the shape")
    });
    Reference { outputs: outputs.collect(), converted: std::fs::read(format!("{}.mnn", stem.display())).ok() }
}

/// The worst error over all outputs, in tolerances.
fn error(outcome: engine::Outcome, want: &[Tensor]) -> Result<f64, String> {
    let got = outcome?;
    got.iter().zip(want).try_fold(0.0f64, |worst, (g, w)| engine::error(g, w).map(|e| worst.max(e)))
}

/// Networks whose batch is open, run with a batch of 2: shapes are computed in the engine.
#[test]
fn an_open_batch_stays_open() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bad = Vec::new();
    for name in ["mobilenet_v2", "shufflenet_v2_x1_0"] {
        let path = folder.path().join(format!("{name}.onnx"));
        let options = mnnc::zoo::Options { dynamic_batch: true, size: (96, 96), ..Default::default() };
        let proto = mnnc::zoo::build(name, &options).expect("a zoo network");
        let mut file = std::fs::File::create(&path).expect("writable");
        mnnc::zoo::write(&proto, &mut file).expect("writable");
        let verdict = optimised(&path, OptLevel::O2).and_then(|graph| {
            let model = mnnc_mnn::write(&graph, &WriteOptions::default()).map_err(|e| e.to_string())?;
            let input = graph.value(graph.inputs()[0]).name.clone();
            let feeds = vec![(input, Gen::new(7).tensor(DType::F32, &[2, 3, 96, 96], -2.0, 2.0))];
            let outputs = vec![graph.value(graph.outputs()[0]).name.clone()];
            let want = reference(python, &path, &feeds, folder.path()).outputs;
            let cases = ["module", "session"].map(|api| Case {
                model: model.clone(),
                api,
                memory: "normal",
                inputs: feeds.clone(),
                outputs: outputs.clone(),
                beside: None,
            });
            for outcome in engine::run(python, &cases, LIMIT) {
                let error = error(outcome, &want)?;
                if error > 1.0 {
                    return Err(format!("{error:.3} tolerances off"));
                }
            }
            Ok(())
        });
        bad.extend(verdict.err().map(|reason| format!("{name}: {reason}")));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// One network.
fn check(python: &Path, name: &str, model: &Path) -> Result<(), String> {
    let graph = optimised(model, OptLevel::O1)?;
    let ours = mnnc_mnn::write(&graph, &WriteOptions::default()).map_err(|e| e.to_string())?;
    assert_eq!(
        ours,
        mnnc_mnn::write(&graph, &WriteOptions::default()).expect("written before"),
        "{name}: bytes differ"
    );
    let summary = mnnc_mnn::summary(&ours).map_err(|e| e.to_string())?;
    let names = |values: &[mnnc_ir::ValueId]| values.iter().map(|&v| graph.value(v).name.clone()).collect::<Vec<_>>();
    let (inputs, outputs) = (names(graph.inputs()), names(graph.outputs()));
    assert_eq!(summary.inputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>(), inputs, "{name}");
    assert_eq!(summary.outputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>(), outputs, "{name}");
    let mut random = Gen::new(1);
    let feeds: Vec<(String, Tensor)> = graph
        .inputs()
        .iter()
        .map(|&v| {
            let dims = graph.ty(v).static_dims().expect("static inputs");
            (graph.value(v).name.clone(), random.tensor(DType::F32, &dims, -2.0, 2.0))
        })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let reference = reference(python, model, &feeds, folder.path());
    let size = ours.len();
    let case = |model: Vec<u8>, api| Case {
        model,
        api,
        memory: "normal",
        inputs: feeds.clone(),
        outputs: outputs.clone(),
        beside: None,
    };
    let mut cases = vec![case(ours.clone(), "session"), case(ours, "module")];
    let theirs = reference.converted.as_ref().map(Vec::len);
    cases.extend(reference.converted.map(|bytes| case(bytes, "session")));
    let mut outcomes = engine::run(python, &cases, LIMIT).into_iter();
    let session = error(outcomes.next().expect("one each"), &reference.outputs)?;
    let module = error(outcomes.next().expect("one each"), &reference.outputs)?;
    let converted = outcomes.next().map(|outcome| error(outcome, &reference.outputs));
    println!(
        "{name}: {session:.3} and {module:.3} tolerances off, MNNConvert's file {converted:.3?}; {size} bytes, MNNConvert's {theirs:?}; {:?}",
        summary.ops
    );
    let allowed = match converted {
        Some(Ok(error)) => error.max(1.0),
        _ => 1.0,
    };
    if session > allowed || module > allowed {
        return Err(format!("{:.3} tolerances off, allowed {allowed:.3}", session.max(module)));
    }
    match theirs {
        Some(theirs) if size > theirs => Err(format!("{size} bytes; MNNConvert's file has {theirs}")),
        _ => Ok(()),
    }
}

#[test]
fn shared_networks_match_onnx_runtime() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut bad = Vec::new();
    for name in SHARED {
        let Some(model) = mnnc_tests::shared::file(&format!("data/models/{name}.onnx")) else { continue };
        if let Err(reason) = check(python, name, &model) {
            bad.push(format!("{name}: {reason}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn zoo_networks_match_onnx_runtime() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bad = Vec::new();
    for name in mnnc::zoo::names() {
        let model = folder.path().join(format!("{name}.onnx"));
        let proto = mnnc::zoo::build(name, &mnnc::zoo::Options::default()).expect("a zoo network");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&model).expect("writable"));
        mnnc::zoo::write(&proto, &mut file).expect("writable");
        drop((proto, file));
        if let Err(reason) = check(python, name, &model) {
            bad.push(format!("{name}: {reason}"));
        }
        std::fs::remove_file(&model).expect("it was written");
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
