//! MNN's own command lines, run as they stand.

use crate::mnn::engine::{self, Case};
use mnnc::zoo;
use mnnc_import::{ImportOptions, load};
use mnnc_ir::{DType, Tensor};
use mnnc_ops::{Evaluator, sample::Gen};
use mnnc_tests::command_line::mnnc;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

fn run(folder: &Path, line: &str) -> Output {
    Command::new(mnnc()).args(line.split_whitespace()).current_dir(folder).output().expect("mnnc starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A small network as `m.onnx`.
fn model(folder: &Path) {
    let options = zoo::Options { size: (64, 64), ..Default::default() };
    let proto = zoo::build("squeezenet1_1", &options).expect("a zoo network");
    let mut file = std::fs::File::create(folder.join("m.onnx")).expect("writable");
    zoo::write(&proto, &mut file).expect("writable");
}

fn numbers(t: &Tensor) -> String {
    t.to_f64s().iter().map(f64::to_string).collect::<Vec<_>>().join("\n")
}

/// A test folder with this input, without the expected output.
fn test_folder(folder: &Path, name: &str, x: &(String, Tensor), output: &str) -> PathBuf {
    let test = folder.join(name);
    std::fs::create_dir(&test).expect("writable");
    let describe =
        format!(r#"{{"inputs": [{{"name": "{}", "shape": {:?}}}], "outputs": ["{output}"]}}"#, x.0, x.1.dims());
    std::fs::write(test.join("input.json"), describe).expect("writable");
    std::fs::write(test.join(format!("{}.txt", x.0)), numbers(&x.1)).expect("writable");
    test
}

/// Input and output of `m.onnx`: names and values.
fn reference(folder: &Path) -> ((String, Tensor), (String, Tensor)) {
    let graph = load(&folder.join("m.onnx"), &ImportOptions::default()).expect("a network").graph;
    let (input, output) = (graph.inputs()[0], graph.outputs()[0]);
    let dims = graph.ty(input).static_dims().expect("static");
    let x = Gen::new(5).tensor(DType::F32, &dims, -2.0, 2.0);
    let y = Evaluator::new(&graph).run(std::slice::from_ref(&x)).expect("it evaluates").remove(0);
    ((graph.value(input).name.clone(), x), (graph.value(output).name.clone(), y))
}

#[test]
fn the_command_lines_run_as_they_stand() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let (x, y) = reference(folder.path());
    let base = "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --bizCode biz";
    // What the weights lose, as a share of the result's mean square.
    for (options, allowed) in
        [("", 1e-3), (" --weightQuantBits 8", 0.1), (" --fp16", 1e-2), (" --optimizeLevel 2 --optimizePrefer 2", 1e-3)]
    {
        let output = run(folder.path(), &format!("{base}{options}"));
        assert_eq!(output.status.code(), Some(0), "{options}: {}", text(&output));
        let model = std::fs::read(folder.path().join("m.mnn")).expect("it was written");
        let net = mnnc_schema::mnn::root(&model).expect("a .mnn file");
        assert_eq!(net.biz_code(), Some("biz"));
        let case = Case {
            model,
            api: "module",
            memory: "normal",
            beside: None,
            inputs: vec![x.clone()],
            outputs: vec![y.0.clone()],
        };
        let got = engine::run(python, &[case], Duration::from_secs(60)).remove(0).expect("MNN runs it");
        let off = engine::rms(&got[0], &y.1);
        println!("{options}: {off:.2e}");
        assert!(off <= allowed, "{options}: {off} off");
        std::fs::remove_file(folder.path().join("m.mnn")).expect("it was there");
    }
}

#[test]
fn options_work_or_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let base = "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn";
    for works in [
        "--weightQuantBits=4 --weightQuantBlock=32 --weightQuantAsymmetric=0 --weightQuantScaleBit=16 --hqq",
        "--weightQuantBits 3 --weightQuantAsymmetric 1 --weightQuantBlock -1",
        "--keepInputFormat --alignDenormalizedValue 0 --useGeluApproximation 0 --convertMatmulToConv=0 --groupConvNative",
        "--saveExternalData --authCode me --targetVersion 3.6 --transformerFuseC4 0 --batch 1",
        "--fp16=1 --hqq=0",
    ] {
        let output = run(folder.path(), &format!("{base} {works}"));
        assert_eq!(output.status.code(), Some(0), "{works}: {}", text(&output));
    }
    assert!(folder.path().join("m.mnn.weight").exists());
    for (refused, name) in [
        ("--detectSparseSpeedUp", "--detectSparseSpeedUp"),
        ("--saveStaticModel", "--saveStaticModel"),
        ("--forTraining", "--forTraining"),
        ("--transformerFuse", "--transformerFuse"),
        ("--transformerFuseC4=1", "--transformerFuseC4"),
        ("--allowCustomOp", "--allowCustomOp"),
        ("--keepInputFormat=false", "--keepInputFormat"),
        ("--targetVersion 2.8", "--targetVersion"),
        ("--benchmarkModel", "--benchmarkModel"),
        // Misspelt: what was meant is suggested.
        ("--weightQuantBit 8", "--weightQuantBits"),
        ("--threshold 0.1", "--threshold"),
        ("--weightQuantBits 9", "--weightQuantBits"),
    ] {
        std::fs::remove_file(folder.path().join("m.mnn")).ok();
        let output = run(folder.path(), &format!("{base} {refused}"));
        assert_eq!(output.status.code(), Some(1), "{refused}: {}", text(&output));
        assert!(text(&output).contains(name), "{refused}: {}", text(&output));
        assert!(!folder.path().join("m.mnn").exists(), "{refused}");
    }
    let lower = run(folder.path(), "MNNConvert -f onnx --modelFile m.onnx --MNNModel m.mnn");
    assert_eq!(lower.status.code(), Some(1));
    let later = run(folder.path(), "quantized.out a.mnn b.mnn c.json");
    assert_eq!(later.status.code(), Some(1), "{}", text(&later));
}

#[cfg(unix)]
#[test]
fn a_link_is_the_tool() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let link = folder.path().join("MNNConvert");
    std::os::unix::fs::symlink(mnnc(), &link).expect("a link");
    let output = Command::new(&link).arg("--version").output().expect("it starts");
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stdout)), (Some(0), "3.6.1\n"));
    let output = Command::new(&link).args(["-f", "ONNX", "--OP"]).output().expect("it starts");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let total = listed.lines().last().and_then(|line| line.strip_prefix("Total: ")).expect("a total");
    assert_eq!(total.parse::<usize>().expect("a number"), listed.lines().count() - 1);
    assert!(listed.lines().any(|line| line == "Conv"));
}

#[test]
fn test_folders_are_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let (x, y) = reference(folder.path());
    let test = test_folder(folder.path(), "test", &x, &y.0);
    let line = "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --testdir test";
    let missing = run(folder.path(), line);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    assert!(text(&missing).contains("TESTERROR"), "{}", text(&missing));
    std::fs::write(test.join("0.txt"), numbers(&y.1)).expect("writable");
    let right = run(folder.path(), line);
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert!(String::from_utf8_lossy(&right.stdout).contains("TEST_SUCCESS"));
    let wrong: Vec<String> = y.1.to_f64s().iter().map(|y| (y * 1.02).to_string()).collect();
    std::fs::write(test.join(format!("{}.txt", y.0)), wrong.join(" ")).expect("writable");
    let wrong = run(folder.path(), line);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert!(text(&wrong).contains("value error"), "{}", text(&wrong));
    assert_eq!(run(folder.path(), &format!("{line} --thredhold 0.05")).status.code(), Some(0));
}

/// The largest difference as a share of the largest element.
fn relative(want: &Tensor, got: &Tensor) -> f64 {
    let largest = want.to_f64s().iter().fold(0.0f64, |m, x| m.max(x.abs()));
    want.to_f64s().iter().zip(got.to_f64s()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn bits_are_chosen_within_the_rate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    model(folder.path());
    let (x, y) = reference(folder.path());
    test_folder(folder.path(), "mnntest", &x, &y.0);
    let convert = run(folder.path(), "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --bizCode biz");
    assert_eq!(convert.status.code(), Some(0), "{}", text(&convert));
    let line = "auto-quant --model m.mnn --quant_model a.mnn --test_dir mnntest --rate 0.05";
    let output = run(folder.path(), line);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let size = |name: &str| std::fs::metadata(path(name)).expect("it was written").len();
    assert!(size("a.mnn") * 7 < size("m.mnn") * 2, "{} of {}", size("a.mnn"), size("m.mnn"));
    // The file, by itself and in MNN, is within the rate.
    let graph = load(&path("a.mnn"), &ImportOptions::default()).expect("a file").graph;
    let ours = Evaluator::new(&graph).run(std::slice::from_ref(&x.1)).expect("it evaluates").remove(0);
    assert!(relative(&y.1, &ours) <= 0.0501, "{}", relative(&y.1, &ours));
    if let Some(python) = mnnc_tests::python() {
        let model = std::fs::read(path("a.mnn")).expect("it was written");
        let (inputs, outputs) = (vec![x.clone()], vec![y.0.clone()]);
        let case = Case { model, api: "module", memory: "normal", beside: None, inputs, outputs };
        let got = engine::run(python, &[case], Duration::from_secs(60)).remove(0).expect("MNN runs it");
        let theirs = Tensor::new(y.1.dims(), got[0].to_vec::<f32>());
        assert!(relative(&y.1, &theirs) <= 0.051, "{}", relative(&y.1, &theirs));
    }
    // The policy gives the same file again, and an edited one another.
    let policy = std::fs::read_to_string(path("a.mnn.json")).expect("it was written");
    let again = "auto-quant --model m.mnn --quant_model b.mnn --test_dir mnntest --policy a.mnn.json";
    assert_eq!(run(folder.path(), again).status.code(), Some(0));
    assert_eq!(std::fs::read(path("a.mnn")).ok(), std::fs::read(path("b.mnn")).ok());
    let mut edited: serde_json::Value = serde_json::from_str(&policy).expect("JSON");
    for op in edited["ops"].as_array_mut().expect("a list") {
        op["weights"]["bits"] = 8.into();
    }
    std::fs::write(path("e.json"), edited.to_string()).expect("writable");
    let edited = "auto-quant --model m.mnn --quant_model e.mnn --test_dir mnntest --policy e.json";
    assert_eq!(run(folder.path(), edited).status.code(), Some(0));
    assert!(size("e.mnn") > size("a.mnn"));
}

#[test]
fn what_cannot_be_chosen_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let (x, y) = reference(folder.path());
    test_folder(folder.path(), "mnntest", &x, &y.0);
    let base = "auto-quant --model m.onnx --quant_model a.mnn --test_dir mnntest";
    std::fs::write(folder.path().join("no.json"), "{}").expect("writable");
    let other = r#"{"format": "mnnc policy", "version": 1, "ops": [{"name": "nobody", "weights": {"bits": 4}}]}"#;
    std::fs::write(folder.path().join("other.json"), other).expect("writable");
    let bad = folder.path().join("bad");
    std::fs::create_dir(&bad).expect("writable");
    std::fs::write(bad.join(format!("{}.txt", x.0)), "1 2 3").expect("writable");
    for (line, said) in [
        (format!("{base} --size 1000"), "do not fit 1000 bytes"),
        (format!("{base} --policy no.json"), "this is no policy"),
        (format!("{base} --policy other.json"), "`nobody`"),
        (base.replace("mnntest", "nowhere"), "nowhere"),
        (base.replace("mnntest", "bad"), "3 numbers for input"),
        (format!("{base} --loss 1"), "--labels"),
    ] {
        let output = run(folder.path(), &line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}", text(&output));
        assert!(text(&output).contains(said), "{line}: {}", text(&output));
        assert!(!folder.path().join("a.mnn").exists(), "{line} left a file");
    }
}

#[test]
fn activations_are_quantised() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    model(folder.path());
    let (x, y) = reference(folder.path());
    let convert = run(folder.path(), "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --bizCode biz");
    assert_eq!(convert.status.code(), Some(0), "{}", text(&convert));
    std::fs::create_dir(path("pictures")).expect("writable");
    for i in 0..4u32 {
        let at = |x: u32, y: u32, c: u32| ((x * (7 + i) + y * 13 + c * 50 + (x * y) % 31) % 256) as u8;
        let picture = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([at(x, y, 0), at(x, y, 1), at(x, y, 2)]));
        picture.save(path("pictures").join(format!("{i}.png"))).expect("writable");
    }
    let config = r#"{"format": "RGB", "mean": [127.5], "normal": [0.0157], "path": "pictures", "feature_quantize_method": "KL", "weight_quantize_method": "MAX_ABS"}"#;
    std::fs::write(path("quant.json"), config).expect("writable");
    let output = run(folder.path(), "quantized.out m.mnn m_int8.mnn quant.json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let model = std::fs::read(path("m_int8.mnn")).expect("it was written");
    let (inputs, outputs) = (vec![x], vec![y.0.clone()]);
    let case = Case { model, api: "module", memory: "normal", beside: None, inputs, outputs };
    let got = engine::run(python, &[case], Duration::from_secs(60)).remove(0).expect("MNN runs it");
    assert!(engine::rms(&got[0], &y.1) < 0.5, "{}", engine::rms(&got[0], &y.1));
}

#[test]
fn files_are_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let convert = run(folder.path(), "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --weightQuantBits 4");
    assert_eq!(convert.status.code(), Some(0), "{}", text(&convert));
    let shown = run(folder.path(), "MNNConvert -f MNN --modelFile m.mnn --info");
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown));
    assert!(text(&shown).contains("size: [ 1,3,64,64 ], type is float"), "{}", text(&shown));
    assert!(text(&shown).contains("Model Version: 3.6.1"));
    let dumped = run(folder.path(), "MNNConvert -f MNN --modelFile m.mnn --JsonFile m.json");
    assert_eq!(dumped.status.code(), Some(0), "{}", text(&dumped));
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("m.json")).expect("written")).expect("JSON");
    let ops = json["oplists"].as_array().expect("ops");
    assert!(ops.iter().any(|op| op["type"] == "Convolution" && op["main_type"] == "Convolution2D"));
    assert!(ops.iter().any(|op| op["main"]["quanParameter"]["aMaxOrBits"] == 4));
    assert_eq!(json["bizCode"], "MNNTest");
}

/// Weights in a file of their own are found by the engine.
#[test]
fn weights_may_lie_beside_the_model() {
    let Some(python) = mnnc_tests::python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let (x, y) = reference(folder.path());
    for options in
        ["", "--weightQuantBits 8", "--weightQuantBits 4", "--weightQuantBits 5 --weightQuantAsymmetric 0", "--fp16"]
    {
        let base = "MNNConvert -f ONNX --modelFile m.onnx --saveExternalData --MNNModel";
        let output = run(folder.path(), &format!("{base} apart.mnn {options}"));
        assert_eq!(output.status.code(), Some(0), "{options}: {}", text(&output));
        let output = run(folder.path(), &format!("{} whole.mnn {options}", base.replace("--saveExternalData ", "")));
        assert_eq!(output.status.code(), Some(0), "{options}: {}", text(&output));
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).expect("written").len();
        assert!(size("apart.mnn") < size("apart.mnn.weight"), "{options}");
        let case = |name: &str| Case {
            model: std::fs::read(folder.path().join(name)).expect("written"),
            beside: std::fs::read(folder.path().join(format!("{name}.weight"))).ok(),
            api: "module",
            memory: "normal",
            inputs: vec![x.clone()],
            outputs: vec![y.0.clone()],
        };
        let results = engine::run(python, &[case("apart.mnn"), case("whole.mnn")], Duration::from_secs(60));
        let results: Vec<_> = results.into_iter().map(|outcome| outcome.expect("MNN runs it").remove(0)).collect();
        assert_eq!(engine::error(&results[0], &results[1]), Ok(0.0), "{options}");
    }
}
