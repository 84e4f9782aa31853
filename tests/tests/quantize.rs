//! `mnnc quantize`: what it makes of networks, and of everything that can be wrong with its input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mnnc::calibrate::{Config, Samples};
use mnnc::quantize::Recipe;
use mnnc::{Compiler, Engine};
use mnnc_ir::Tensor;
use mnnc_quant::calibrate::Style;
use mnnc_tests::{command_line, networks, shared};

/// Pictures of noise, and a configuration that leaves the rest to us.
struct Bench {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        for i in 0..3u32 {
            let at = |x: u32, y: u32, c: u32| ((x * (7 + i) + y * 13 + c * 50 + (x * y) % 31) % 256) as u8;
            let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([at(x, y, 0), at(x, y, 1), at(x, y, 2)]));
            picture.save(pictures.join(format!("{i}.png"))).unwrap();
        }
        let model = networks::named("squeezenet1_1").file().expect("the zoo needs nothing");
        Bench { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command with this configuration.
    fn run(&self, config: &str) -> Output {
        let file = self.path("quant.json");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(command_line::mnnc());
        command.arg("quantize").args([&self.model, &self.path("out.mir"), &file]).arg("--no-verify");
        command.output().unwrap()
    }

    /// What it says when it refuses a configuration; nothing may have been written.
    fn refusal(&self, config: &str) -> String {
        let output = self.run(config);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{config}: {text}");
        assert!(!self.path("out.mir").exists() && !self.path("out.mir.json").exists(), "{config} left a file");
        text
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn bad_input_is_named() {
    let bench = Bench::new();
    has(&bench.refusal("{"), &["not JSON", "quant.json"]);
    has(&bench.refusal("{}"), &["the key path is missing", "remedy"]);
    has(&bench.refusal(r#"{"path":"pictures","fromat":"RGB"}"#), &["unknown key `fromat`", "`format`"]);
    let method = bench.refusal(r#"{"path":"pictures","feature_quantize_method":"KLD"}"#);
    has(&method, &["unknown value `KLD`", "`KL`", "`ADMM`", "`EMA`", "`MSE`"]);
    let weights = bench.refusal(r#"{"path":"pictures","weight_quantize_method":"MAX"}"#);
    has(&weights, &["unknown value `MAX`", "`MAX_ABS`", "`ADMM`"]);
    has(&bench.refusal(r#"{"path":"nowhere"}"#), &["cannot read the folder of samples", "nowhere"]);
    std::fs::create_dir(bench.path("empty")).unwrap();
    has(&bench.refusal(r#"{"path":"empty"}"#), &["holds no pictures", "empty"]);
    let op = bench.refusal(r#"{"path":"pictures","format":"RGB","skip_quant_op_names":["conv99"]}"#);
    has(&op, &["the model has no op conv99", "its ops are"]);
    has(&bench.refusal(r#"{"path":"pictures","format":"GRAY"}"#), &["1 channels of format Gray"]);
    has(&bench.refusal(r#"{"path":"pictures","width":99}"#), &["width in the configuration is 99"]);
    has(&bench.refusal(r#"{"path":"pictures","input_type":"sequence"}"#), &["no sample folders"]);
    std::fs::create_dir(bench.path("broken")).unwrap();
    std::fs::write(bench.path("broken").join("a.jpg"), b"nothing").unwrap();
    has(&bench.refusal(r#"{"path":"broken"}"#), &["none of the 1 samples", "a.jpg"]);
}

#[test]
fn a_corrupt_picture_is_skipped_counted_and_named() {
    let bench = Bench::new();
    std::fs::write(bench.path("pictures").join("1.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let output =
        bench.run(r#"{"path":"pictures","format":"RGB","normal":[0.017],"mean":[120],"feature_quantize_method":"KL"}"#);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    has(&text, &["warning: 1.png is skipped"]);
    let report = std::fs::read_to_string(bench.path("out.mir.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["report"]["samples"], 2);
    assert_eq!(report["report"]["skipped"][0][0], "1.png");
    let graph = std::fs::read_to_string(bench.path("out.mir")).unwrap();
    assert!(graph.contains("quantize_linear") && graph.contains("i8["));
}

/// The graph in QDQ form, by the reference evaluator, is what native code of the simulation computes.
#[test]
fn the_simulation_is_the_quantised_graph() {
    let bench = Bench::new();
    let compiler = Compiler::default();
    let model = compiler.load(&bench.model).unwrap();
    for config in [
        r#"{"path":"PATH","format":"RGB","normal":[0.017],"mean":[120]}"#,
        r#"{"path":"PATH","format":"RGB","normal":[0.017],"mean":[120],"feature_quantize_method":"ADMM","weight_quantize_method":"ADMM"}"#,
    ] {
        let pictures = bench.path("pictures").display().to_string();
        let config = Config::parse(&config.replace("PATH", &pictures)).unwrap();
        let samples = Samples::open(&config, model.graph()).unwrap();
        let made = compiler.quantize(&model, &Recipe::of(&config, Style::Fused), &samples, &()).unwrap();
        assert_eq!(made.report.weights.len(), 26);
        assert!(made.report.activations.len() > 26);
        let inputs = samples.get(0).unwrap();
        let exact = Engine::reference(made.model.graph()).run(&inputs).unwrap();
        let native = Engine::jit(compiler.jit(&made.simulated).unwrap()).run(&inputs).unwrap();
        let float = Engine::reference(model.graph()).run(&inputs).unwrap();
        let noise = decibels(&float[0], &exact[0]);
        assert!(decibels(&exact[0], &native[0]) > noise + 6.0, "{} {noise}", decibels(&exact[0], &native[0]));
        assert!(noise > 15.0, "{noise} dB");
    }
}

fn decibels(want: &Tensor, got: &Tensor) -> f64 {
    let pairs = || want.to_f64s().into_iter().zip(got.to_f64s());
    let signal: f64 = pairs().map(|(a, _)| a * a).sum();
    let noise: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    10.0 * (signal / noise.max(1e-300)).log10()
}

#[test]
fn a_trained_network_keeps_its_accuracy() {
    let (Some(model), Some(labels)) =
        (shared::file("data/models/mnv2_tv1_fp32.onnx"), shared::file("data/imagenet_val/labels.csv"))
    else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let (out, config) = (work.path().join("net.mir"), work.path().join("quant.json"));
    std::fs::write(&config, imagenet(&shared::folder().join("data/imagenet_val/calibration"))).unwrap();
    let mut command = Command::new(command_line::mnnc());
    command.arg("quantize").args([&model, &out, &config]).args(["--no-verify", "--json", "--labels"]).arg(labels);
    command.arg("--images").arg(shared::folder().join("data/imagenet_val/labelled"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let after = |key: &str| json["accuracy"][key].as_f64().unwrap();
    let (before, top1) = (json["accuracy_before"]["top1"].as_f64().unwrap(), after("top1"));
    eprintln!(
        "top-1 {before} -> {top1}, agreement {}, {} dB, {} s",
        after("agreement"),
        after("sqnr"),
        json["seconds"]
    );
    // Decoders of JPEG differ by a picture or two of 400.
    assert!((before - 0.7925).abs() <= 0.005, "{before}");
    assert!(top1 >= before - 0.005 && after("agreement") >= 0.96 && after("sqnr") >= 18.0);
}

/// How torchvision prepares pictures, in MNN's words.
fn imagenet(folder: &Path) -> String {
    let channels = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
    serde_json::json!({
        "format": "RGB",
        "mean": channels.map(|(mean, _)| mean * 255.0),
        "normal": channels.map(|(_, deviation)| 1.0 / (deviation * 255.0)),
        "center_crop_h": 224.0 / 227.0,
        "center_crop_w": 224.0 / 227.0,
        "path": folder,
    })
    .to_string()
}
