//! Files of MNN's converter: what our evaluator makes of the read graph is what MNN makes of the file.

use crate::mnn::engine::{self, Case};
use crate::mnn_reader::networks::{NAMES, zoo};
use mnnc_import::{ImportOptions, load, load_mnn_bytes};
use mnnc_ir::{DType, Graph, Tensor};
use mnnc_ops::eval::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_tests::picture::{Scale, planar, scaled};
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
            json!({"tool": "mnnconvert", "args": args, "folder": folder})
        })
        .collect();
    run_tools(python, jobs, folder);
    made
}

/// Runs MNN's tools.
fn run_tools(python: &Path, jobs: Vec<Value>, folder: &Path) {
    let list = folder.join("jobs.json");
    std::fs::write(&list, Value::from(jobs).to_string()).expect("the test's folder is writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_convert.py");
    let run = Command::new(python).arg(script).arg(&list).output().expect("python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for line in String::from_utf8_lossy(&run.stdout).lines() {
        println!("{line}");
    }
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
    compare_by(python, files, |_, got, want| difference(got, want).map(|off| (off <= TOLERANCE, off)))
}

/// [`compare`] with another judgement: whether results agree, and the figure that says so.
fn compare_by(
    python: &Path,
    files: &[Converted],
    judge: impl Fn(&Graph, &[Tensor], &[Tensor]) -> Result<(bool, f64), String>,
) -> Vec<String> {
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
        ours.push((made, graph, got));
    }
    for (outcome, (made, graph, got)) in engine::run(python, &cases, LIMIT).into_iter().zip(ours) {
        match outcome.and_then(|want| judge(&graph, &got, &want)) {
            Ok((true, figure)) => println!("{}: {figure:.1e}", made.title),
            Ok((false, figure)) => bad.push(format!("{}: {figure:.1e}", made.title)),
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
        // The largest with integers only: their files take longest.
        let codings = if matches!(name, "resnet50" | "vit_b_32") { &FEW[1..2] } else { &FEW[..] };
        bad.extend(compare(python, &convert(python, &model, codings, folder.path())));
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

/// The step of the int8 tensor that an output is, or is made of: the scale of the nearest `dequantize_linear` before it.
fn step(graph: &Graph, output: usize) -> Option<f64> {
    let mut v = *graph.outputs().get(output)?;
    loop {
        let node = graph.node(graph.producer(v)?);
        if node.op.name == "dequantize_linear" {
            return graph.constant(node.input(1)?)?.to_f64s().first().copied();
        }
        v = node.input(0)?;
    }
}

/// The share of results of an int8 network that are further than a step from MNN's.
fn beyond_a_step(graph: &Graph, got: &[Tensor], want: &[Tensor]) -> Result<(bool, f64), String> {
    let mut worst = 0.0f64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if g.dims() != w.dims() {
            return Err(format!("shape {:?}, not {:?}", g.dims(), w.dims()));
        }
        let step = 1.001 * step(graph, i).ok_or("an output that is not quantised")?;
        let near = g.to_f64s().into_iter().zip(w.to_f64s()).filter(|(g, w)| (g - w).abs() <= step).count();
        worst = worst.max(1.0 - near as f64 / g.len() as f64);
    }
    Ok((worst <= 0.01, worst))
}

#[test]
fn int8_networks_are_read() {
    let Some(python) = mnnc_tests::python() else { return };
    let Some(pictures) = mnnc_tests::shared::file("data/imagenet_val/calibration") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = Vec::new();
    for (name, [width, height]) in [("squeezenet1.1_fp32", [224, 224]), ("ultraface_rfb320", [320, 240])] {
        let Some(model) = mnnc_tests::shared::file(&format!("data/models/{name}.onnx")) else { continue };
        let float = convert(python, &model, &[&[]], folder.path()).remove(0);
        let config = json!({
            "format": "RGB", "mean": [127, 127, 127], "normal": [0.0078125, 0.0078125, 0.0078125],
            "width": width, "height": height, "path": format!("{}/", pictures.display()), "used_image_num": 8,
            "feature_quantize_method": "KL", "weight_quantize_method": "MAX_ABS", "batch_size": 1,
        });
        let quant = folder.path().join(format!("{name}.json"));
        std::fs::write(&quant, config.to_string()).expect("the test's folder is writable");
        let file = folder.path().join(format!("{name}_int8.mnn"));
        let args = json!([float.file, file, quant]);
        run_tools(python, vec![json!({"tool": "mnnquant", "args": args, "folder": folder.path()})], folder.path());
        files.push(Converted { title: format!("{name} in int8"), file });
    }
    let bad = compare_by(python, &files, beyond_a_step);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// A file of an older quantiser, whose ops MNN itself no longer runs: near the float network that it was made of.
#[test]
fn int8_ops_of_old_are_read() {
    let file = |path: &str| mnnc_tests::shared::file(&format!("data/{path}"));
    let (Some(float), Some(int8)) = (file("models/ultraface_rfb320.mnn"), file("models/ultraface_rfb320_int8_kl.mnn"))
    else {
        return;
    };
    let Some(photo) = file("photos/faces_1.jpg") else { return };
    let x = planar(&scaled(&photo, 240, 320), Scale::SIGNED);
    let results = |path: &Path| {
        let graph = load(path, &ImportOptions::default()).expect("a model").graph;
        Evaluator::new(&graph).run(std::slice::from_ref(&x)).expect("results")
    };
    for (f, q) in results(&float).iter().zip(&results(&int8)) {
        let (f, q) = (f.to_f64s(), q.to_f64s());
        let noise: f64 = f.iter().zip(&q).map(|(f, q)| (f - q) * (f - q)).sum();
        let ratio = 10.0 * (f.iter().map(|x| x * x).sum::<f64>() / noise).log10();
        println!("{ratio:.1} dB");
        assert!(ratio > 15.0, "{ratio} dB");
    }
}

/// A network's results on its random inputs.
fn evaluated(graph: &Graph) -> Result<Vec<Tensor>, String> {
    let inputs: Vec<Tensor> = feeds(graph).into_iter().map(|(_, t)| t).collect();
    Evaluator::new(graph).run(&inputs).map_err(|e| format!("{e:?}"))
}

#[test]
fn what_is_read_is_written_and_read_again() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut bad = Vec::new();
    for name in ["mobilenet_v2", "shufflenet_v2_x1_0", "vit_b_32"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = zoo(name, 64, folder.path());
        let codings: [&[&str]; 4] =
            [&[], &["--fp16"], &["--weightQuantBits", "8"], &["--weightQuantBits", "4", "--weightQuantBlock", "32"]];
        let codings = if name == "vit_b_32" { &codings[2..3] } else { &codings[..] };
        for made in convert(python, &model, codings, folder.path()) {
            let again = || -> Result<f64, String> {
                let first = load(&made.file, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
                let bytes = mnnc_mnn::write(&first, &mnnc_mnn::WriteOptions::default()).map_err(|e| e.to_string())?;
                let second = load_mnn_bytes(bytes, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
                let names = |g: &Graph| -> Vec<String> {
                    g.inputs().iter().chain(g.outputs()).map(|&v| g.value(v).name.clone()).collect()
                };
                assert_eq!(names(&first), names(&second), "{}", made.title);
                difference(&evaluated(&second)?, &evaluated(&first)?)
            };
            match again() {
                Ok(off) if off <= 1e-5 => println!("{}: {off:.1e}", made.title),
                Ok(off) => bad.push(format!("{}: {off:.1e} of the largest output off", made.title)),
                Err(reason) => bad.push(format!("{}: {reason}", made.title)),
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
