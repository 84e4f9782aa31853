//! Networks with compressed weights: our file in MNN against the evaluator on the same weights, and its size against that of MNN's converter with
//! the same options.

use crate::engine::{self, Case};
use mnnc::{CompileOptions, Compiler, Compression, Emit, OptLevel, zoo};
use mnnc_ir::{DType, Tensor};
use mnnc_ops::{Evaluator, sample::Gen};
use mnnc_quant::weight::{Method, Options, ScaleType};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest that a network may take in MNN.
const LIMIT: Duration = Duration::from_secs(120);
/// What MNN may be off in its low-memory mode, where it rounds activations to 8 bits, layer after layer: root of the mean square, as a share of the
/// result's.
const LOW_MEMORY: f64 = 0.3;

/// A compression in our words and MNN's.
struct Row {
    ours: Option<Options>,
    theirs: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let mut rows =
        vec![Row { ours: None, theirs: vec![] }, Row { ours: Some(Options::bits(16)), theirs: vec!["--fp16"] }];
    for (bits, text) in [(2, "2"), (3, "3"), (4, "4"), (5, "5"), (6, "6"), (7, "7"), (8, "8")] {
        let asymmetric = Options { symmetric: false, scales: Some(ScaleType::Fp32), ..Options::bits(bits) };
        let symmetric = Options { symmetric: true, ..asymmetric.clone() };
        rows.push(Row { ours: Some(asymmetric), theirs: vec!["--weightQuantBits", text] });
        rows.push(Row { ours: Some(symmetric), theirs: vec!["--weightQuantBits", text, "--weightQuantAsymmetric=0"] });
    }
    for (block, text) in [(32, "32"), (64, "64"), (128, "128")] {
        for (bits, number) in [(4, "4"), (8, "8")] {
            for (scales, scale_bit) in [(ScaleType::Fp32, "32"), (ScaleType::Fp16, "16")] {
                for symmetric in [true, false] {
                    let ours = Options { symmetric, scales: Some(scales), ..Options::bits(bits).block(block) };
                    let asymmetric = if symmetric { "--weightQuantAsymmetric=0" } else { "--weightQuantAsymmetric=1" };
                    let theirs = vec![
                        "--weightQuantBits",
                        number,
                        "--weightQuantBlock",
                        text,
                        "--weightQuantScaleBit",
                        scale_bit,
                        asymmetric,
                    ];
                    rows.push(Row { ours: Some(ours), theirs });
                }
            }
        }
    }
    let hqq = Options { symmetric: false, method: Method::Hqq, scales: Some(ScaleType::Fp32), ..Options::bits(4) };
    rows.push(Row { ours: Some(hqq), theirs: vec!["--weightQuantBits", "4", "--hqq"] });
    rows
}

/// Sizes of what MNN's converter makes of a model.
fn converted(python: &Path, model: &Path, rows: &[Row], folder: &Path) -> Vec<Option<u64>> {
    let file = |i: usize| folder.join(format!("theirs{i}.mnn"));
    let jobs: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let out = file(i);
            let mut args = vec![
                "-f",
                "ONNX",
                "--modelFile",
                model.to_str().expect("text"),
                "--MNNModel",
                out.to_str().expect("text"),
                "--bizCode",
                "MNN",
            ];
            args.extend(&row.theirs);
            json!({"args": args, "folder": folder})
        })
        .collect();
    let list = folder.join("jobs.json");
    std::fs::write(&list, Value::from(jobs).to_string()).expect("the test's folder is writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_convert.py");
    let run = Command::new(python).arg(script).arg(&list).output().expect("python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    (0..rows.len()).map(|i| std::fs::metadata(file(i)).ok().map(|m| m.len())).collect()
}

fn error(outcome: engine::Outcome, want: &[Tensor]) -> Result<f64, String> {
    let got = outcome?;
    got.iter().zip(want).try_fold(0.0f64, |worst, (g, w)| engine::error(g, w).map(|e| worst.max(e)))
}

/// All rows of one network; what is wrong.
fn check(python: &Path, name: &str, path: &Path, folder: &Path) -> Vec<String> {
    let rows = rows();
    let theirs = converted(python, path, &rows, folder);
    let compiler = Compiler::new(CompileOptions { opt_level: OptLevel::O1, ..CompileOptions::default() });
    let model = compiler.load(path).expect("a network");
    let clean = model.with_graph(compiler.clean(&model).expect("a clean graph").graph);
    let graph = model.graph();
    let mut random = Gen::new(3);
    let feeds: Vec<(String, Tensor)> = graph
        .inputs()
        .iter()
        .map(|&v| {
            let dims = graph.ty(v).static_dims().expect("static inputs");
            (graph.value(v).name.clone(), random.tensor(DType::F32, &dims, -2.0, 2.0))
        })
        .collect();
    let inputs: Vec<Tensor> = feeds.iter().map(|(_, t)| t.clone()).collect();
    let outputs: Vec<String> = graph.outputs().iter().map(|&v| graph.value(v).name.clone()).collect();
    let mut bad = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let what = format!("{name} {}", row.theirs.join(" "));
        let compressed = row.ours.clone().map(|ours| {
            // How integers are chosen is not the question here, and this is the quickest way that is any good.
            let ours = Options { method: Method::Mse, ..ours };
            let how = Compression { policy: Some(ours.uniform(clean.graph()).to_json()), ..Compression::new(ours) };
            compiler.compress_model(&model, &how, false).expect("compressed").model
        });
        let chosen = compressed.as_ref().unwrap_or(&model);
        let out = folder.join("ours.mnn");
        let done = compiler.compile(chosen, Emit::Mnn, &out, false).expect("written");
        let want = Evaluator::new(chosen.graph()).run(&inputs).expect("it evaluates");
        let file = std::fs::read(&out).expect("written before");
        let case = |memory| Case {
            model: file.clone(),
            api: "module",
            memory,
            beside: None,
            inputs: feeds.clone(),
            outputs: outputs.clone(),
        };
        let mut outcomes = engine::run(python, &[case("normal"), case("low")], LIMIT).into_iter();
        let normal = error(outcomes.next().expect("one each"), &want);
        let low = outcomes.next().expect("one each").map(|got| engine::rms(&got[0], &want[0]));
        println!(
            "{what}: {normal:.3?} tolerances off, {low:.4?} in low memory; {} bytes, MNNConvert's {:?}",
            done.bytes, theirs[i]
        );
        match normal {
            Ok(error) if error <= 1.0 => {}
            other => bad.push(format!("{what}: {other:?}")),
        }
        match low {
            Ok(rms) if rms <= LOW_MEMORY => {}
            other => bad.push(format!("{what}, low memory: {other:?}")),
        }
        match theirs[i] {
            Some(size) if done.bytes <= size => {}
            other => bad.push(format!("{what}: {} bytes, MNNConvert's {other:?}", done.bytes)),
        }
    }
    bad
}

fn small(name: &str, folder: &Path, size: usize) -> PathBuf {
    let path = folder.join(format!("{name}.onnx"));
    let options = zoo::Options { size: (size, size), ..Default::default() };
    let proto = zoo::build(name, &options).expect("a zoo network");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("writable"));
    zoo::write(&proto, &mut file).expect("writable");
    path
}

#[test]
fn compressed_networks_are_right_and_no_larger_than_mnns() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut bad = Vec::new();
    for name in ["squeezenet1_1", "shufflenet_v2_x1_0"] {
        bad.extend(check(python, name, &small(name, folder.path(), 64), folder.path()));
    }
    if let Some(trained) = mnnc_tests::shared::file("data/models/mnv2_tv1_fp32.onnx") {
        bad.extend(check(python, "trained mobilenet_v2", &trained, folder.path()));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// A transformer: its products are convolutions in the file, or its weights would not be compressed.
#[test]
#[ignore = "takes minutes; run it with --ignored"]
fn a_compressed_transformer_is_right_and_no_larger_than_mnns() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bad = check(python, "vit_b_32", &small("vit_b_32", folder.path(), 224), folder.path());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
