//! Files of MNN's converter: what our evaluator makes of the read graph is what MNN makes of the file.

use crate::engine::{self, Case};
use crate::networks::{NAMES, zoo};
use mnnc_import::{ImportOptions, load};
use mnnc_ir::{DType, Graph, Tensor};
use mnnc_ops::eval::Evaluator;
use mnnc_ops::sample::Gen;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest that a network may take in MNN.
const LIMIT: Duration = Duration::from_secs(120);
/// The largest difference allowed, relative to the largest output.
const TOLERANCE: f64 = 1e-3;

/// Every coding of weights that the converter knows.
const CODINGS: [&[&str]; 16] = [
    &[],
    &["--optimizeLevel", "0"],
    &["--optimizeLevel", "2", "--optimizePrefer", "2"],
    &["--fp16"],
    &["--weightQuantBits", "8"],
    &["--weightQuantBits", "7"],
    &["--weightQuantBits", "6"],
    &["--weightQuantBits", "5"],
    &["--weightQuantBits", "4"],
    &["--weightQuantBits", "3"],
    &["--weightQuantBits", "2"],
    &["--weightQuantBits", "8", "--weightQuantAsymmetric", "0"],
    &["--weightQuantBits", "4", "--weightQuantBlock", "32"],
    &[
        "--weightQuantBits",
        "4",
        "--weightQuantBlock",
        "32",
        "--weightQuantAsymmetric",
        "0",
        "--weightQuantScaleBit",
        "16",
    ],
    &["--weightQuantBits", "8", "--weightQuantScaleBit", "16", "--saveExternalData"],
    &["--saveExternalData"],
];
/// Of the other networks, what differs most.
const FEW: [&[&str]; 3] = [&[], &["--weightQuantBits", "8"], &["--fp16", "--saveExternalData"]];

/// A file that the converter made, and what it was asked for.
struct Converted {
    title: String,
    file: PathBuf,
}

/// Converts a model with each list of options.
fn convert(python: &Path, model: &Path, codings: &[&[&str]], folder: &Path) -> Vec<Converted> {
    let name = model.file_stem().and_then(|s| s.to_str()).expect("a name");
    let mut made = Vec::new();
    let jobs: Vec<Value> = codings
        .iter()
        .enumerate()
        .map(|(i, options)| {
            let file = folder.join(format!("{name}{i}.mnn"));
            let text = |p: &Path| p.to_str().expect("a path in UTF-8").to_string();
            let mut args: Vec<String> =
                ["-f", "ONNX", "--modelFile", &text(model), "--MNNModel", &text(&file), "--bizCode", "MNN"]
                    .map(String::from)
                    .to_vec();
            args.extend(options.iter().map(|o| o.to_string()));
            made.push(Converted { title: format!("{name} {}", options.join(" ")), file });
            json!({"args": args, "folder": folder})
        })
        .collect();
    let list = folder.join("jobs.json");
    std::fs::write(&list, Value::from(jobs).to_string()).expect("the test's folder is writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_convert.py");
    let run = Command::new(python).arg(script).arg(&list).output().expect("python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for line in String::from_utf8_lossy(&run.stdout).lines() {
        println!("{line}");
    }
    made
}

/// Random inputs for a graph; integers are small, as tokens are.
fn feeds(graph: &Graph) -> Vec<(String, Tensor)> {
    let mut random = Gen::new(1);
    let one = |&v: &mnnc_ir::ValueId| {
        let dims = graph.ty(v).static_dims().expect("static inputs");
        let t = match graph.ty(v).dtype {
            DType::F32 => random.tensor(DType::F32, &dims, -2.0, 2.0),
            other => random.tensor(other, &dims, 0.0, 9.0),
        };
        (graph.value(v).name.clone(), t)
    };
    graph.inputs().iter().map(one).collect()
}

/// Reads each file, runs it here and there, and reports what differs.
fn compare(python: &Path, files: &[Converted]) -> Vec<String> {
    let mut bad = Vec::new();
    let (mut cases, mut ours) = (Vec::new(), Vec::new());
    for made in files {
        let graph = match load(&made.file, &ImportOptions::default()) {
            Ok(imported) => imported.graph,
            Err(e) => {
                bad.push(format!("{}: {e}", made.title));
                continue;
            }
        };
        graph.verify().expect("a valid graph");
        let feeds = feeds(&graph);
        let inputs: Vec<Tensor> = feeds.iter().map(|(_, t)| t.clone()).collect();
        let got = match Evaluator::new(&graph).run(&inputs) {
            Ok(got) => got,
            Err(e) => {
                bad.push(format!("{}: {e:?}", made.title));
                continue;
            }
        };
        let outputs = graph.outputs().iter().map(|&v| graph.value(v).name.clone()).collect();
        cases.push(Case {
            model: std::fs::read(&made.file).expect("it was read"),
            api: "session",
            memory: "normal",
            inputs: feeds,
            outputs,
            beside: weights(&made.file),
        });
        ours.push((made, got));
    }
    for (outcome, (made, got)) in engine::run(python, &cases, LIMIT).into_iter().zip(ours) {
        match outcome.and_then(|want| difference(&got, &want)) {
            Ok(difference) if difference <= TOLERANCE => println!("{}: {difference:.1e}", made.title),
            Ok(difference) => bad.push(format!("{}: {difference:.1e} of the largest output off", made.title)),
            Err(reason) => bad.push(format!("{}: {reason}", made.title)),
        }
    }
    bad
}

/// The file of weights beside a model, if it has one.
fn weights(model: &Path) -> Option<Vec<u8>> {
    std::fs::read(format!("{}.weight", model.display())).ok()
}

/// The largest difference of all outputs, relative to the largest value of each.
fn difference(got: &[Tensor], want: &[Tensor]) -> Result<f64, String> {
    let mut worst = 0.0f64;
    for (g, w) in got.iter().zip(want) {
        if g.dims() != w.dims() {
            return Err(format!("shape {:?}, not {:?}", g.dims(), w.dims()));
        }
        let (g, w) = (g.to_f64s(), w.to_f64s());
        let largest = w.iter().fold(1e-6f64, |a, x| a.max(x.abs()));
        let off = g.iter().zip(&w).map(|(g, w)| if g == w { 0.0 } else { (g - w).abs() }).fold(0.0f64, f64::max);
        if !off.is_finite() {
            return Err("a result is not finite".into());
        }
        worst = worst.max(off / largest);
    }
    Ok(worst)
}

#[test]
fn every_coding_of_weights_is_read() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = zoo("mobilenet_v2", 64, folder.path());
    let files = convert(python, &model, &CODINGS, folder.path());
    let bad = compare(python, &files);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn zoo_networks_are_read() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut bad = Vec::new();
    for name in NAMES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = zoo(name, 64, folder.path());
        bad.extend(compare(python, &convert(python, &model, &FEW, folder.path())));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The shared models that MNN's converter takes.
const SHARED: [&str; 9] = [
    "mnv2_tv1_fp32",
    "squeezenet1.1_fp32",
    "yolox_nano_224",
    "ultraface_rfb320",
    "mediapipe_face_landmark",
    "sinet_softmax",
    "vit_tracker",
    "mnist",
    "style_starry_night",
];

#[test]
fn shared_networks_are_read() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut bad = Vec::new();
    for name in SHARED {
        let Some(model) = mnnc_tests::shared::file(&format!("data/models/{name}.onnx")) else { continue };
        let folder = tempfile::tempdir().expect("a temporary folder");
        bad.extend(compare(python, &convert(python, &model, &FEW, folder.path())));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn shared_files_are_read() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut files = Vec::new();
    for name in ["mnv2_tv1_fp32", "ultraface_rfb320"] {
        let Some(file) = mnnc_tests::shared::file(&format!("data/models/{name}.mnn")) else { continue };
        files.push(Converted { title: format!("{name}.mnn"), file });
    }
    let bad = compare(python, &files);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
