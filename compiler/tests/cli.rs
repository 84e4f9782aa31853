//! The command line, driven as a user drives it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mnnc::zoo::{Options, build, write};
use mnnc_ir::Tensor;
use tempfile::TempDir;

/// A folder with a small network in it.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { size: (32, 32), ..Options::default() };
        let model = build("squeezenet1_1", &options).unwrap();
        write(&model, &mut std::fs::File::create(dir.path().join("net.onnx")).unwrap()).unwrap();
        Desk { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mnnc(&self, args: &[&str]) -> Output {
        mnnc_in(self.dir.path(), args)
    }

    /// Runs and expects success; gives stdout.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.mnnc(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs and expects a failure; gives stderr.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.mnnc(args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
        assert!(message.starts_with("error: "), "{args:?}: {message}");
        assert!(!message.contains("panicked") && !message.contains("internal error"), "{message}");
        message
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }
}

fn mnnc_in(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mnnc")).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn both_engines_give_the_same_files() {
    let desk = Desk::new();
    let x: Vec<f32> = (0..3 * 32 * 32).map(|i| ((i * 37 % 101) as f32 - 50.0) / 30.0).collect();
    mnnc::npy::write(&desk.path("x.npy"), &Tensor::new([1, 3, 32, 32], x)).unwrap();
    for engine in ["jit", "reference"] {
        desk.ok(&["run", "net.onnx", "--input", "input=x.npy", "--output-dir", engine, "--engine", engine]);
    }
    let read = |engine: &str| mnnc::npy::read(&desk.path(engine).join("output.npy")).unwrap();
    let (got, want) = (read("jit"), read("reference"));
    let deviation = mnnc::compare::compare(&want, &got, mnnc::compare::Tolerance::F32).unwrap();
    assert!(deviation.is_within(), "{deviation:?}");
    assert!(want.to_f64s().iter().any(|v| *v != 0.0));
}

#[test]
fn seeds_fill_missing_inputs() {
    let desk = Desk::new();
    let run = |seed: &str| desk.ok(&["run", "net.onnx", "--seed", seed, "--engine", "reference"]);
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn compile_writes_every_kind_of_file_reproducibly() {
    let desk = Desk::new();
    for out in ["net.mnn", "net.o", "net.a", "net.mir"] {
        let result = desk.json(&["compile", "net.onnx", "-o", out, "--json"]);
        assert_eq!(result["verified"], true, "{out}");
        assert!(result["nodes"].as_u64().unwrap() > 10, "{out}");
        let first = std::fs::read(desk.path(out)).unwrap();
        assert_eq!(result["bytes"].as_u64().unwrap(), first.len() as u64, "{out}");
        desk.ok(&["compile", "net.onnx", "-o", out]);
        assert!(first == std::fs::read(desk.path(out)).unwrap(), "{out} differs between two compilations");
    }
    assert!(desk.path("net.h").is_file() && desk.path("net.json").is_file());
    let mnn = desk.json(&["inspect", "net.mnn", "--json"]);
    assert_eq!(mnn["inputs"][0]["name"], "input");
    assert_eq!(mnn["outputs"][0]["name"], "output");
    desk.ok(&["verify", "net.onnx", "net.mnn"]);
}

#[test]
fn compile_reports_what_it_did_on_stderr() {
    let desk = Desk::new();
    let output = desk.mnnc(&["compile", "net.onnx", "-o", "net.o"]);
    let report = text(&output.stderr);
    for word in ["nodes", "size", "workspace", "worst layer error", "net.o"] {
        assert!(report.contains(word), "{report}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn verify_passes_and_a_wrong_artefact_is_exit_3() {
    let desk = Desk::new();
    desk.ok(&["verify", "net.onnx"]);
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: no C compiler");
        return;
    }
    desk.ok(&["compile", "net.onnx", "-o", "net.so"]);
    desk.ok(&["verify", "net.onnx", "net.so"]);
    desk.ok(&["compile", "net.onnx", "-o", "net.o"]);
    desk.ok(&["verify", "net.onnx", "net.o"]);
    desk.ok(&["zoo", "squeezenet1_1", "--size", "32", "--seed", "9", "-o", "other.onnx"]);
    let message = desk.fails(3, &["verify", "other.onnx", "net.so"]);
    assert!(message.contains("verification failed: output is off by"), "{message}");
    desk.ok(&["zoo", "squeezenet1_1", "--size", "48", "-o", "larger.onnx"]);
    let message = desk.fails(1, &["verify", "larger.onnx", "net.so"]);
    assert!(message.contains("another model"), "{message}");
}

#[test]
fn bench_has_the_keys_of_the_contract() {
    let desk = Desk::new();
    let result = desk.json(&["bench", "net.onnx", "--runs", "3", "--per-op", "--json"]);
    for key in ["model", "threads", "runs", "min_ms", "median_ms", "p90_ms", "gflops", "peak_fraction"] {
        assert!(!result[key].is_null(), "{key}");
    }
    assert_eq!((result["model"].as_str(), result["runs"].as_u64()), (Some("net"), Some(3)));
    let parts = result["per_op"].as_array().unwrap();
    let shares: f64 = parts.iter().map(|op| op["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    for part in parts {
        for key in ["ms", "gflops", "peak_fraction", "bytes", "gbytes_per_s", "bound_ms", "bound_fraction"] {
            assert!(part[key].as_f64().is_some_and(|x| x.is_finite() && x >= 0.0), "{key}: {part}");
        }
        assert!(part["bytes"].as_u64() > Some(0) && part["steps"].as_u64() > Some(0), "{part}");
        let limits = ["compute", "L1", "L2", "L3", "L4", "DRAM"];
        assert!(limits.contains(&part["bound_by"].as_str().unwrap()), "{part}");
    }
    // Its convolutions multiply and add as often as the whole network does.
    let flops: f64 = parts.iter().map(|op| op["gflops"].as_f64().unwrap() * op["ms"].as_f64().unwrap() * 1e6).sum();
    let whole = result["gflops"].as_f64().unwrap() * result["min_ms"].as_f64().unwrap() * 1e6;
    assert!((0.9..1.1).contains(&(flops / whole)), "{flops} of {whole}");
    assert!(result["roofline"]["memory"].as_array().unwrap().iter().any(|level| level["level"] == "DRAM"));
    desk.ok(&["bench", "net.onnx", "--runs", "2", "--threads", "2"]);
}

#[test]
fn bench_refuses_nonsense_with_the_bounds() {
    let desk = Desk::new();
    for (option, value) in
        [("--threads", "0"), ("--threads", "10000"), ("--runs", "0"), ("--runs", "99999999999999"), ("--runs", "-1")]
    {
        let message = desk.fails(1, &["bench", "net.onnx", &format!("{option}={value}")]);
        assert!(message.contains(option) && message.contains("is not in") && message.contains(value), "{message}");
    }
}

#[test]
fn roofline_lists_arithmetic_and_memory() {
    let result = Desk::new().json(&["roofline", "--json"]);
    assert!(result["peaks"].as_array().unwrap().iter().any(|peak| peak["type"] == "f32"), "{result}");
    let memory = result["memory"].as_array().unwrap();
    assert_eq!((&memory[0]["level"], &memory[memory.len() - 1]["level"]), (&"L1".into(), &"DRAM".into()));
    assert!(memory.iter().all(|level| level["gbytes_per_s"].as_f64() > Some(0.0)), "{result}");
}

#[test]
fn inspect_counts() {
    let desk = Desk::new();
    let result = desk.json(&["inspect", "net.onnx", "--json"]);
    assert_eq!(result["parameters"], 1_235_496);
    assert_eq!(result["ops"]["conv"], 26);
    assert_eq!(result["inputs"][0]["name"], "input");
    assert!(result["flops"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn opt_text_reads_back() {
    let desk = Desk::new();
    desk.ok(&["opt", "net.onnx", "-o", "a.mir", "--pipeline", "fold,dce"]);
    desk.ok(&["opt", "a.mir", "--constants", "net.onnx", "--pipeline", "", "-o", "b.mir"]);
    let read = |name: &str| std::fs::read_to_string(desk.path(name)).unwrap();
    assert_eq!(read("a.mir"), read("b.mir"));
    assert!(desk.ok(&["opt", "--list"]).contains("fold"));
    let message = desk.fails(1, &["opt", "net.onnx", "--pipeline", "fold,nonsense"]);
    assert!(message.contains("nonsense"), "{message}");
}

#[test]
fn tables_of_ops_and_targets() {
    let desk = Desk::new();
    let ops = desk.json(&["ops", "--json"]);
    let conv = ops.as_array().unwrap().iter().find(|op| op["op"] == "conv").unwrap();
    assert_eq!(conv["avx512"], "tuned");
    let targets = desk.json(&["targets", "--json"]);
    assert!(targets["cpus"].as_array().unwrap().iter().any(|cpu| cpu["cpu"] == "x86-64-v3"));
}

#[test]
fn completions_name_the_verbs() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.ok(&["completions", shell]).contains("bench"), "{shell}");
    }
}

#[test]
fn wrong_use_is_exit_1_with_a_remedy() {
    let desk = Desk::new();
    for args in [&["nonsense"][..], &["compile", "net.onnx"], &["run"], &["bench", "net.onnx", "--runs", "x"]] {
        assert_eq!(desk.mnnc(args).status.code(), Some(1), "{args:?}");
    }
    assert_eq!(desk.mnnc(&["--help"]).status.code(), Some(0));
    assert!(desk.fails(1, &["compile", "net.onnx", "-o", "net.xyz"]).contains("--emit"));
    assert!(desk.fails(1, &["compile", "none.onnx", "-o", "net.o"]).contains("no such file"));
    assert!(desk.fails(1, &["run", "net.onnx", "--input", "nobody=net.onnx"]).contains("NumPy"));
    assert!(desk.fails(1, &["compile", "net.onnx", "-o", "net.o", "--cpu", "pentium"]).contains("x86-64-v3"));
    let nine = desk.mnnc(&["compile", "net.onnx", "-o", "net.o", "--weight-bits", "9"]);
    assert!(nine.status.code() == Some(1) && text(&nine.stderr).contains("2..=8"));
}

#[test]
fn inputs_that_do_not_fit_are_explained() {
    let desk = Desk::new();
    mnnc::npy::write(&desk.path("i.npy"), &Tensor::new([1, 3, 32, 32], vec![0i32; 3 * 32 * 32])).unwrap();
    let message = desk.fails(1, &["run", "net.onnx", "--input", "input=i.npy"]);
    assert!(message.contains("input") && message.contains("i32"), "{message}");
    mnnc::npy::write(&desk.path("x.npy"), &Tensor::new([1], vec![0.0f32])).unwrap();
    desk.fails(1, &["run", "net.onnx", "--input", "x=x.npy"]);
}

#[test]
fn an_unwritable_output_leaves_nothing_behind() {
    let desk = Desk::new();
    for out in ["no/such/folder/net.o", "no/such/folder/net.mnn", "no/such/folder/net.mir"] {
        desk.fails(1, &["compile", "net.onnx", "-o", out]);
    }
    std::fs::create_dir(desk.path("taken.o")).unwrap();
    desk.fails(1, &["compile", "net.onnx", "-o", "taken.o"]);
    let left: Vec<_> = std::fs::read_dir(desk.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn broken_models_are_exit_1_and_write_nothing() {
    let desk = Desk::new();
    let whole = std::fs::read(desk.path("net.onnx")).unwrap();
    for (name, bytes) in [("empty", &[][..]), ("text", b"hello world\n"), ("cut", &whole[..whole.len() / 2])] {
        let file = format!("{name}.onnx");
        std::fs::write(desk.path(&file), bytes).unwrap();
        desk.fails(1, &["compile", &file, "-o", "out.o"]);
        assert!(!desk.path("out.o").exists(), "{name}");
    }
}

#[test]
fn an_open_batch_is_settled_by_the_input_or_by_shape() {
    let desk = Desk::new();
    desk.ok(&["zoo", "squeezenet1_1", "--size", "32", "--dynamic-batch", "-o", "open.onnx"]);
    let message = desk.fails(1, &["run", "open.onnx"]);
    assert!(message.contains("--shape input=1x3x32x32"), "{message}");
    let result = desk.json(&["run", "open.onnx", "--shape", "input=2x3x32x32", "--json"]);
    assert!(result[0]["type"].as_str().unwrap().contains("1000"), "{result}");
    mnnc::npy::write(&desk.path("x.npy"), &Tensor::new([3, 3, 32, 32], vec![0.5f32; 9 * 32 * 32])).unwrap();
    desk.ok(&["run", "open.onnx", "--input", "input=x.npy", "--output-dir", "."]);
    assert_eq!(mnnc::npy::read(&desk.path("output.npy")).unwrap().dims(), [3, 1000]);
}

#[test]
fn demo_makes_and_checks_three_things() {
    let desk = Desk::new();
    let result = desk.json(&["demo", "--network", "squeezenet1_1", "--output-dir", "out", "--runs", "2", "--json"]);
    assert_eq!(result["artefacts"].as_array().unwrap().len(), 3);
    assert!(result["min_ms"].as_f64().unwrap() > 0.0);
    for file in ["squeezenet1_1.onnx", "squeezenet1_1.mnn", "squeezenet1_1.o", "squeezenet1_1.h"] {
        assert!(desk.path("out").join(file).is_file(), "{file}");
    }
}

/// A tune file as `mnnc tune` writes it, for the small network, and a way to spoil it.
struct Tuned {
    desk: Desk,
    text: String,
}

impl Tuned {
    fn new() -> Tuned {
        let desk = Desk::new();
        desk.ok(&["tune", "net.onnx", "-o", "tune.json", "--budget", "1"]);
        let text = std::fs::read_to_string(desk.path("tune.json")).unwrap();
        Tuned { desk, text }
    }

    /// The message of a compilation with another text in the file.
    fn fails_with(&self, text: impl AsRef<[u8]>) -> String {
        std::fs::write(self.desk.path("bad.json"), text).unwrap();
        let message = self.desk.fails(1, &["compile", "net.onnx", "-o", "net.o", "--tune", "bad.json"]);
        assert_eq!(message.matches("error: ").count(), 1, "{message}");
        message
    }

    /// The file with one choice of our own in place of those that were found.
    fn with_choice(&self, schedule: serde_json::Value) -> String {
        let mut file: serde_json::Value = serde_json::from_str(&self.text).unwrap();
        let problem = serde_json::json!({
            "images": 1, "groups": 1, "inputs": 64, "outputs": 64, "kernel": [3, 3], "stride": [1, 1],
            "dilation": [1, 1], "out": [7, 7], "own_weights": false, "apart": 64,
        });
        let entry = serde_json::json!({"problem": problem, "schedule": schedule, "ms": 1.0, "untuned_ms": 1.0});
        file["choices"] = serde_json::json!([entry]);
        file.to_string()
    }
}

#[test]
fn a_tune_file_serves_its_model_and_no_other() {
    let tuned = Tuned::new();
    let desk = &tuned.desk;
    let file: serde_json::Value = serde_json::from_str(&tuned.text).unwrap();
    assert_eq!(file["format"], "mnnc tune");
    desk.ok(&["compile", "net.onnx", "-o", "net.o", "--tune", "tune.json"]);
    desk.ok(&["run", "net.onnx", "--tune", "tune.json"]);
    desk.ok(&["bench", "net.onnx", "--tune", "tune.json", "--runs", "1"]);

    desk.ok(&["zoo", "squeezenet1_1", "-o", "other.onnx", "--seed", "1", "--size", "32x32"]);
    let message = desk.fails(1, &["run", "other.onnx", "--tune", "tune.json"]);
    assert!(message.contains("another model"), "{message}");
    let message = desk.fails(1, &["compile", "net.onnx", "-o", "net.o", "--tune", "tune.json", "--cpu", "v2"]);
    assert!(message.contains("not on x86-64-v2"), "{message}");
    let message = desk.fails(1, &["run", "net.onnx", "--tune", "missing.json"]);
    assert!(message.contains("missing.json"), "{message}");
}

#[test]
fn damaged_tune_files_are_one_error_each() {
    let tuned = Tuned::new();
    let text = &tuned.text;
    for (bad, says) in [
        (String::new(), "not a tune file"),
        ("nonsense".into(), "not a tune file"),
        ("[1, 2]".into(), "not a tune file"),
        (text[..text.len() / 2].into(), "or a part of one"),
        (text.replacen("mnnc tune", "other tune", 1), "not a tune file"),
        (text.replacen("\"version\": 2", "\"version\": 1", 1), "version 1"),
        (text.replacen("\"mnnc\": \"", "\"mnnc\": \"9.", 1), "made by mnnc 9."),
        (text.replacen("\"model\": \"", "\"model\": \"0", 1), "another model"),
        (text.replacen("\"cpu\": \"", "\"cpu\": \"other ", 1), "made on other "),
        (text.replacen("\"choices\"", "\"chosen\"", 1), "damaged"),
        (format!("{}{}", text, " ".repeat(17 << 20)), "at most"),
        ("[".repeat(1 << 20), "not a tune file"),
    ] {
        let message = tuned.fails_with(&bad);
        assert!(message.contains(says), "{says}: {message}");
    }
    assert!(tuned.fails_with([0xff, 0xfe, 0x00]).contains("no text"));
    for schedule in [
        serde_json::json!({"method": "direct", "vectors": 2, "tile": [1, 999], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "direct", "vectors": 0, "tile": [1, 7], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "direct", "vectors": 1, "tile": [1, 0], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "direct", "vectors": 1, "tile": [4_294_967_295u32, 4_294_967_295u32], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "direct", "vectors": 1, "tile": [1, 7], "rows": 8, "panels_outside": false}),
        serde_json::json!({"method": "winograd", "products": [6, 6], "taps": [6, 3], "band": 1, "images": 1}),
        serde_json::json!({"method": "winograd", "products": [6, 6], "taps": [4_294_967_295u32, 5], "band": 1, "images": 1}),
        serde_json::json!({"method": "winograd", "products": [6, 6], "taps": [5, 5], "band": 1, "images": 1}),
        serde_json::json!({"method": "winograd", "products": [6, 6], "taps": [3, 3], "band": 99, "images": 1}),
    ] {
        let message = tuned.fails_with(tuned.with_choice(schedule));
        assert!(message.contains("out of range"), "{message}");
    }
    for schedule in [
        serde_json::json!({"method": "direct", "vectors": -1, "tile": [1, 7], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "direct", "vectors": 1e30, "tile": [1, 7], "rows": 7, "panels_outside": false}),
        serde_json::json!({"method": "magic"}),
    ] {
        let message = tuned.fails_with(tuned.with_choice(schedule));
        assert!(message.contains("damaged"), "{message}");
    }
    let right = tuned.with_choice(
        serde_json::json!({"method": "direct", "vectors": 1, "tile": [1, 7], "rows": 7, "panels_outside": false}),
    );
    std::fs::write(tuned.desk.path("good.json"), right).unwrap();
    tuned.desk.ok(&["compile", "net.onnx", "-o", "net.o", "--tune", "good.json"]);
}

/// Reduced precision states its error, or why there is none; it is no matter of .mnn files.
#[test]
fn low_precision_reports_its_error() {
    let desk = Desk::new();
    let done = desk.json(&["compile", "net.onnx", "-o", "net.o", "--precision", "low", "--json"]);
    let notes: Vec<&str> = done["notes"].as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
    assert!(
        notes.iter().any(|n| n.contains("in bf16: outputs are off by") || n.contains("computed in f32")),
        "{notes:?}"
    );
    let rms = done["outputs"][0]["rms"].as_f64().unwrap();
    assert!(rms < 0.1, "{rms}");
    let plain = desk.json(&["compile", "net.onnx", "-o", "avx2.o", "--cpu", "avx2", "--precision", "low", "--json"]);
    assert!(plain["notes"].to_string().contains("computed in f32"), "{plain}");
    assert!(desk.fails(2, &["compile", "net.onnx", "-o", "net.mnn", "--precision", "low"]).contains("native code"));
    assert!(
        desk.fails(1, &["compile", "net.onnx", "-o", "net.o", "--precision", "tiny"]).contains("high, normal, low")
    );
}
