//! The report of compression: what every verb that compresses says of size, time, error and accuracy.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mnnc::accuracy::Outputs;
use mnnc::calibrate::{Config, Samples};
use mnnc::{Compiler, zoo};
use mnnc_tests::command_line;
use serde_json::Value;

/// Pictures that can be read.
const PICTURES: u32 = 6;
/// The name of a layer of the model: markup, if it came through.
const NASTY: &str = "/features/<b>'&\"/Conv";

/// A small network, pictures with the classes that it gives them, and one picture that is none.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        let options = zoo::Options { size: (32, 32), ..Default::default() };
        let mut model = zoo::build("squeezenet1_1", &options).unwrap();
        let first = model.graph.as_mut().unwrap().node.iter_mut().find(|n| n.op_type == "Conv");
        first.unwrap().name = NASTY.into();
        zoo::write(&model, &mut std::fs::File::create(bench.path("m.onnx")).unwrap()).unwrap();
        std::fs::create_dir(bench.path("pictures")).unwrap();
        for i in 0..PICTURES {
            let at = |x: u32, y: u32, c: u32| ((x * (7 + i) + y * 13 + c * 50 + (x * y) % 31) % 256) as u8;
            let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([at(x, y, 0), at(x, y, 1), at(x, y, 2)]));
            picture.save(bench.path("pictures").join(format!("{i}.png"))).unwrap();
        }
        std::fs::write(bench.path("quant.json"), CONFIG).unwrap();
        let labels = bench.classes().into_iter().enumerate().map(|(i, class)| format!("{i}.png,{class}\n"));
        std::fs::write(bench.path("labels.csv"), labels.collect::<String>()).unwrap();
        std::fs::write(bench.path("pictures").join("<i>.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the float network takes the pictures for.
    fn classes(&self) -> Vec<usize> {
        let compiler = Compiler::default();
        let model = compiler.load(&self.path("m.onnx")).unwrap();
        let samples = Samples::open(&Config::read(&self.path("quant.json")).unwrap(), model.graph()).unwrap();
        let outputs: Outputs = compiler.outputs(&model, &samples).unwrap();
        let largest = |o: &Vec<f32>| (0..o.len()).max_by(|&a, &b| o[a].total_cmp(&o[b])).unwrap();
        outputs.iter().map(largest).collect()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(command_line::mnnc());
        command.args(line.split_whitespace()).current_dir(self.folder.path());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed: the JSON that it printed, and what it said to people.
    fn ok(&self, line: &str) -> (Value, String) {
        let output = self.run(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{line}: {text}");
        (serde_json::from_slice(&output.stdout).unwrap(), text)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// What is in the folder beside what was put there.
    fn written(&self) -> Vec<String> {
        let known = ["m.onnx", "pictures", "quant.json", "labels.csv", "empty", "others.csv", "large.csv"];
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name());
        names.map(|n| n.to_string_lossy().into_owned()).filter(|n| !known.contains(&n.as_str())).collect()
    }
}

const CONFIG: &str = r#"{"path": "pictures", "format": "RGB", "mean": [120], "normal": [0.017], "feature_quantize_method": "KL",
    "adaptive_rounding": false}"#;
const PICTURE_OPTIONS: &str = "--images pictures --labels labels.csv";

/// The page is whole, and says what the JSON says.
fn is_right(page: &Path, effect: &Value) {
    let html = std::fs::read_to_string(page).unwrap();
    assert_eq!(unclosed(&html), Vec::<String>::new());
    assert!(html.starts_with("<!doctype html>") && html.contains("prefers-color-scheme:dark"));
    assert!(!html.contains("http") && !html.contains("<script") && !html.contains("<link"), "it needs nothing else");
    assert!(!html.contains("<b>") && !html.contains("<i>"), "a name is markup");
    let layers = effect["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 26);
    for layer in layers {
        let name = layer["name"].as_str().unwrap();
        let cell = format!("<td>{}</td>", escaped(name));
        assert!(html.contains(&cell), "{name} is not in the table");
    }
    assert!(layers.iter().any(|layer| layer["name"] == NASTY));
    assert!(html.matches("<svg").count() >= 3);
    // Times of layers add up to about that of the whole, which was measured in other runs.
    for (side, whole) in [("before_ms", "/time/before_ms"), ("after_ms", "/time/after_ms")] {
        let Some(whole) = effect.pointer(whole).and_then(Value::as_f64) else { continue };
        let sum: f64 = layers.iter().filter_map(|layer| layer[side].as_f64()).sum();
        assert!(sum > 0.2 * whole && sum < 5.0 * whole, "{side}: {sum} of {whole} ms");
    }
}

fn escaped(name: &str) -> String {
    let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    name.replace('\'', "&#39;").replace('"', "&quot;")
}

/// Elements that are closed by no one, or in the wrong order.
fn unclosed(html: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default().to_owned();
        if tag.starts_with('/') {
            if open.pop().as_ref() != Some(&name) {
                wrong.push(format!("</{name}>"));
            }
        } else if !tag.starts_with('!') && !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
    }
    wrong.extend(open);
    wrong
}

/// The last line that begins so: the summary comes last.
fn line<'a>(text: &'a str, what: &str) -> &'a str {
    text.lines().rfind(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what} in:\n{text}"))
}

/// What people were told is what programs are told.
fn is_told(text: &str, effect: &Value) {
    let number = |pointer: &str| effect.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"));
    let smaller = number("/weights/before") / number("/weights/after");
    assert!(line(text, "weights").contains(&format!("{smaller:.2} times smaller")), "{text}");
    let time = line(text, "inference, ms");
    for side in ["before_ms", "after_ms"] {
        assert!(time.contains(&format!("{:.3}", number(&format!("/time/{side}")))), "{time}");
    }
    assert!(time.contains("minimum of 10 runs"), "{time}");
    assert!(line(text, "SQNR of outputs, dB").contains(&format!(" {:.1} ", number("/outputs/0/sqnr"))), "{text}");
    for layer in effect["layers"].as_array().unwrap() {
        let row = line(text, layer["name"].as_str().unwrap());
        let decibels = layer["sqnr"].as_f64().map_or("exact".to_owned(), |db| format!("{db:.1}"));
        assert!(row.contains(&decibels), "{decibels} is not in {row}");
    }
    if !effect["accuracy"].is_null() {
        assert!(line(text, "top-1").contains(&format!("{:.2} %", 100.0 * number("/accuracy/after/top1"))), "{text}");
    }
}

/// The pictures are labelled by the float model's own opinion.
fn is_judged(effect: &Value) {
    let accuracy = &effect["accuracy"];
    assert_eq!(accuracy["before"]["pictures"], PICTURES);
    assert_eq!(accuracy["before"]["top1"], 1.0);
    assert_eq!(accuracy["before"]["top5"], 1.0);
    assert_eq!(accuracy["after"]["top1"], accuracy["after"]["agreement"]);
    assert!(accuracy["after"]["top5"].as_f64() >= accuracy["after"]["top1"].as_f64());
    assert_eq!(accuracy["skipped"][0][0], "<i>.png");
}

#[test]
fn compile_reports() {
    let bench = Bench::new();
    let base = format!("compile m.onnx --json --config quant.json {PICTURE_OPTIONS}");
    let (json, text) = bench.ok(&format!("{base} -o m.mnn --weight-bits 4 --weight-block 32 --report page.html"));
    let effect = &json["effect"];
    assert_eq!(bench.json("page.html.json"), json);
    is_right(&bench.path("page.html"), effect);
    is_told(&text, effect);
    is_judged(effect);
    assert!(text.contains("warning: <i>.png is skipped"), "{text}");
    assert_eq!(effect["file"]["after"], std::fs::metadata(bench.path("m.mnn")).unwrap().len());
    assert_eq!(effect["outputs"][0]["sqnr"], json["compression"]["outputs"][0]["sqnr_db"]);
    let bytes = |key: &str| effect["layers"].as_array().unwrap().iter().map(|l| l[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(effect["weights"]["before"], bytes("bytes_before"));
    assert_eq!(effect["weights"]["after"], bytes("bytes_after"));
    // Fewer bits alone cost more, and no layer alone costs as much as all of them.
    let all = effect["outputs"][0]["relative_rms"].as_f64().unwrap().powi(2);
    for layer in effect["layers"].as_array().unwrap() {
        let alone = layer["alone"].as_f64().unwrap();
        assert!(alone > 0.0 && alone < 4.0 * all, "{layer}: {all}");
    }
    let (half, text) = bench.ok(&format!("{base} -o h.o --fp16"));
    is_told(&text, &half["effect"]);
    is_judged(&half["effect"]);
    assert_eq!(half["effect"]["accuracy"]["after"]["top1"], 1.0);
    assert!(half["effect"]["accuracy"]["after"]["sqnr"].as_f64() > Some(43.0));
    // The float file is what the same command writes without compression.
    assert_eq!(bench.run("compile m.onnx -o f.mnn --no-verify").status.code(), Some(0));
    assert_eq!(effect["file"]["before"], std::fs::metadata(bench.path("f.mnn")).unwrap().len());
}

#[test]
fn reduced_arithmetic_is_reported_too() {
    let bench = Bench::new();
    let (json, text) = bench.ok("compile m.onnx -o m.o --json --weight-bits 8 --memory low --report page.html");
    is_told(&text, &json["effect"]);
    let on = json["effect"]["measured_on"].as_str().unwrap();
    let notes = json["notes"].to_string();
    assert!(on.ends_with("in native code") || notes.contains("computed in f32") || notes.contains("in f32 after all"));
    let (json, text) = bench.ok("compile m.onnx -o a.o --json --fp16 --target aarch64-linux-gnu --report page.html");
    assert!(json["effect"]["time"].is_null());
    assert!(cfg!(target_arch = "aarch64") || text.contains("time was not measured: the code is for another machine"));
    is_right(&bench.path("page.html"), &json["effect"]);
}

#[test]
fn quantize_reports() {
    let bench = Bench::new();
    let (json, text) =
        bench.ok(&format!("quantize m.onnx q.mnn quant.json --json --report page.html {PICTURE_OPTIONS}"));
    let effect = &json["effect"];
    assert_eq!(bench.json("q.mnn.json"), json);
    is_right(&bench.path("page.html"), effect);
    is_told(&text, effect);
    is_judged(effect);
    assert_eq!(json["accuracy"], effect["accuracy"]["after"]);
    assert!(effect["layers"].as_array().unwrap().iter().all(|l| l["bits"] == 8 && l["alone"].as_f64() > Some(0.0)));
}

#[test]
fn auto_quant_reports() {
    let bench = Bench::new();
    let base = "auto-quant --model m.onnx --quant_model a.mnn --config quant.json --json --select_bits 0";
    // The corrupt picture is skipped, so that every sample has a label.
    let (json, text) = bench.ok(&format!("{base} --labels labels.csv --rate 0.04 --report page.html"));
    let effect = &json["effect"];
    assert_eq!(bench.json("page.html.json"), json);
    is_right(&bench.path("page.html"), effect);
    is_told(&text, effect);
    is_judged(effect);
    let html = std::fs::read_to_string(bench.path("page.html")).unwrap();
    assert!(html.contains("<polyline") && html.matches("<circle").count() >= 3, "the frontier is drawn");
    // A policy that is applied again is reported, too; then each layer is measured.
    let (again, _) =
        bench.ok(&format!("{base} --policy a.mnn.json --images pictures --labels labels.csv --report again.html"));
    assert_eq!(again["effect"]["weights"], effect["weights"]);
    assert!(again["effect"]["layers"].as_array().unwrap().iter().all(|layer| layer["alone"].is_number()));
}

#[test]
fn a_budget_of_time_is_held_or_refused() {
    let bench = Bench::new();
    let base = "auto-quant --model m.onnx --quant_model a.mnn --config quant.json --json --select_bits 0";
    let (json, _) = bench.ok(&format!("{base} --latency 100000"));
    assert!(json["layers"].as_array().unwrap().iter().all(|layer| layer["bits"] == 32), "time enough: nothing is lost");
    assert_eq!(json["chosen"]["error"], 0.0);
    assert!(json["chosen"]["ms"].as_f64() > Some(0.0));
    assert!(json["frontier"].as_array().unwrap().contains(&json["chosen"]));
    std::fs::remove_file(bench.path("a.mnn")).unwrap();
    std::fs::remove_file(bench.path("a.mnn.json")).unwrap();
    let refused = bench.run(&format!("{base} --latency 0.000001 --report page.html"));
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("no choice runs in 0.000001 ms; the fastest takes"), "{text}");
    assert_eq!(bench.written(), Vec::<String>::new());
}

#[test]
fn tools_of_mnn_report() {
    let bench = Bench::new();
    let line = "MNNConvert -f ONNX --modelFile m.onnx --MNNModel m.mnn --weightQuantBits 8 --report page.html";
    let output = bench.run(line);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let json = bench.json("page.html.json");
    is_right(&bench.path("page.html"), &json["effect"]);
    is_told(&text, &json["effect"]);
    // Weights beside the file count.
    let file = json["effect"]["file"].clone();
    let apart = bench.run(&format!("{line} --saveExternalData").replace("m.mnn", "apart.mnn"));
    assert_eq!(apart.status.code(), Some(0), "{}", String::from_utf8_lossy(&apart.stderr));
    let apart = &bench.json("page.html.json")["effect"]["file"];
    for side in ["before", "after"] {
        let (whole, apart) = (file[side].as_f64().unwrap(), apart[side].as_f64().unwrap());
        assert!((apart / whole - 1.0).abs() < 0.02, "{side}: {apart} and {whole} bytes");
    }
}

#[test]
fn what_is_wrong_is_told_before_the_work_and_nothing_is_written() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    std::fs::write(bench.path("others.csv"), "x.png,1\ny.png,2\n").unwrap();
    std::fs::write(bench.path("large.csv"), "0.png,1000\n").unwrap();
    let base = "compile m.onnx -o m.mnn --fp16 --report page.html";
    let config = "--config quant.json";
    for (line, said) in [
        (format!("{base} --images empty --labels labels.csv {config}"), "holds no pictures"),
        (format!("{base} --images nowhere --labels labels.csv {config}"), "cannot read the folder of samples"),
        (format!("{base} --images pictures --labels nowhere.csv {config}"), "nowhere.csv"),
        (format!("{base} --images pictures --labels others.csv {config}"), "none of the 6 pictures in pictures"),
        (format!("{base} --images pictures --labels large.csv {config}"), "0.png is of class 1000"),
        (format!("{base} --images pictures --labels labels.csv"), "how are the pictures prepared?"),
        (format!("{base} --images pictures"), "--labels"),
        (base.replace("page.html", "no/page.html"), "its folder is not there"),
        (base.replace("page.html", "pictures"), "it is a folder"),
        (base.replace("--fp16 ", ""), "say what compression does"),
        (format!("quantize m.onnx m.mnn quant.json {PICTURE_OPTIONS}").replace("labels.csv", "others.csv"), "none of"),
    ] {
        let output = bench.run(&line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {text}");
        assert!(text.contains(said) && text.matches("error: ").count() == 1, "{line}: {text}");
        assert_eq!(bench.written(), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let bench = Bench::new();
    let line = "auto-quant --model m.onnx --quant_model a.mnn --config quant.json --rate 0.1 --report page.html";
    let mut running = bench.command(line).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.kill().unwrap();
    let ended_by_itself = running.wait().unwrap().code().is_some();
    assert!(ended_by_itself || bench.written().is_empty(), "{:?}", bench.written());
}
