//! Networks with compressed weights: our file in MNN against the evaluator on the same weights, and its size against that of MNN's converter with
//! the same options.

use crate::mnn::engine::{self, Case};
use mnnc::{CompileOptions, Compiler, Compression, Emit, OptLevel, zoo};
use mnnc_ir::{DType, Tensor};
use mnnc_ops::{Evaluator, sample::Gen};
use mnnc_quant::weight::{Method, Options, ScaleType};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest that all forms of a network may take in MNN.
const LIMIT: Duration = Duration::from_secs(600);
/// What our file may be off in MNN's low-memory mode, where it rounds activations to 8 bits, layer after layer: so many times what MNN's own file
/// with the same options is off from what it gives without that mode. Random weights amplify the rounding (shufflenet: to a third of the result), and the
/// figures of MNN's own files of one network, which differ in options only, lie up to a factor of two apart.
const LOW_MEMORY: f64 = 2.0;

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

/// What MNN's converter makes of a model, in bytes.
fn converted(python: &Path, model: &Path, rows: &[Row], folder: &Path) -> Vec<Vec<u8>> {
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
            json!({"tool": "mnnconvert", "args": args, "folder": folder})
        })
        .collect();
    let list = folder.join("jobs.json");
    std::fs::write(&list, Value::from(jobs).to_string()).expect("the test's folder is writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_convert.py");
    let run = Command::new(python).arg(script).arg(&list).output().expect("python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    (0..rows.len()).map(|i| std::fs::read(file(i)).expect("MNN's converter wrote it")).collect()
}

fn error(outcome: engine::Outcome, want: &[Tensor]) -> Result<f64, String> {
    let got = outcome?;
    got.iter().zip(want).try_fold(0.0f64, |worst, (g, w)| engine::error(g, w).map(|e| worst.max(e)))
}

/// These rows of one network; what is wrong.
fn check(python: &Path, name: &str, path: &Path, folder: &Path, rows: &[Row]) -> Vec<String> {
    let theirs = converted(python, path, rows, folder);
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
    let (mut ours, mut want) = (Vec::new(), Vec::new());
    for row in rows {
        let compressed = row.ours.clone().map(|ours| {
            // How integers are chosen is not the question here, and this is the quickest way that is any good.
            let ours = Options { method: Method::Mse, ..ours };
            let how = Compression { policy: Some(ours.uniform(clean.graph()).to_json()), ..Compression::new(ours) };
            compiler.compress_model(&model, &how, false).expect("compressed").model
        });
        let chosen = compressed.as_ref().unwrap_or(&model);
        let out = folder.join("ours.mnn");
        compiler.compile(chosen, Emit::Mnn, &out, false).expect("written");
        want.push(Evaluator::new(chosen.graph()).run(&inputs).expect("it evaluates"));
        ours.push(std::fs::read(&out).expect("written before"));
    }
    let case = |file: &[u8], memory| Case {
        model: file.to_vec(),
        api: "module",
        memory,
        beside: None,
        inputs: feeds.clone(),
        outputs: outputs.clone(),
    };
    let files = ours.iter().zip(&theirs);
    let cases: Vec<Case> = files
        .flat_map(|(a, b)| [(a, "normal"), (a, "low"), (b, "normal"), (b, "low")].map(|(f, m)| case(f, m)))
        .collect();
    let mut outcomes = engine::run(python, &cases, LIMIT).into_iter();
    let mut next = || outcomes.next().expect("one each");
    let mut bad = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let what = format!("{name} {}", row.theirs.join(" "));
        let normal = error(next(), &want[i]);
        let low = next().map(|got| engine::rms(&got[0], &want[i][0]));
        let (exact, rounded) = (next(), next());
        let noise = exact.and_then(|exact| rounded.map(|rounded| engine::rms(&rounded[0], &exact[0])));
        let (size, limit) = (ours[i].len(), theirs[i].len());
        println!(
            "{what}: {normal:.3?} tolerances off; in low memory {low:.4?}, MNNConvert's {noise:.4?}; {size} bytes, {limit}"
        );
        match &normal {
            Ok(error) if *error <= 1.0 => {}
            other => bad.push(format!("{what}: {other:?}")),
        }
        match (&low, &noise) {
            // Weights without integers are multiplied in float there, too.
            (Ok(low), Ok(noise)) if *low <= (LOW_MEMORY * noise).max(1e-3) => {}
            other => bad.push(format!("{what}, low memory: {other:?}")),
        }
        if size > limit {
            bad.push(format!("{what}: {size} bytes, MNNConvert's {limit}"));
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
    // Every row for one network, a third of them for each of the others.
    let third = |from| rows().into_iter().skip(from).step_by(3).collect::<Vec<Row>>();
    let squeezenet = small("squeezenet1_1", folder.path(), 64);
    let mut bad = check(python, "squeezenet1_1", &squeezenet, folder.path(), &rows());
    let shufflenet = small("shufflenet_v2_x1_0", folder.path(), 64);
    bad.extend(check(python, "shufflenet_v2_x1_0", &shufflenet, folder.path(), &third(1)));
    if let Some(trained) = mnnc_tests::shared::file("data/models/mnv2_tv1_fp32.onnx") {
        bad.extend(check(python, "trained mobilenet_v2", &trained, folder.path(), &third(2)));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// A transformer: its products are convolutions in the file, or its weights would not be compressed.
#[test]
#[ignore = "takes minutes; run it with --ignored"]
fn a_compressed_transformer_is_right_and_no_larger_than_mnns() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bad = check(python, "vit_b_32", &small("vit_b_32", folder.path(), 224), folder.path(), &rows());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
