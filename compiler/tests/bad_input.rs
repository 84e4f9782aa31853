//! The command line given broken models, and places where it cannot write: the promised exit code, one clear error on
//! stderr, nothing on stdout, no file left behind.

#[path = "../../tests/tests/common/broken.rs"]
mod broken;
#[path = "../../tests/tests/common/build.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod build;

use mnnc_schema::onnx::Message;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn mnnc(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mnnc")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn each_broken_model_ends_with_its_exit_code() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/broken");
    let mut wrong = Vec::new();
    for (name, build) in broken::CASES {
        let dir = tempfile::tempdir().unwrap();
        let model = build(dir.path());
        let out = dir.path().join("out.o");
        let said = mnnc(&["compile", text(&model), "-o", text(&out)]);
        let whole = fs::read_to_string(expected.join(format!("{name}.txt"))).unwrap();
        let (exit, message) = whole.split_once('\n').unwrap();
        let message = message.replace("FOLDER", text(dir.path()));
        let stderr = String::from_utf8_lossy(&said.stderr);
        if said.status.code().map(|c| format!("exit {c}")).as_deref() != Some(exit)
            || !stderr.contains(message.trim_end())
            || !said.stdout.is_empty()
            || out.exists()
        {
            wrong.push(format!("{name}: {:?}, stderr:\n{stderr}", said.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.onnx");
    fs::write(&model, build::single(build::node("Relu", &["x"], &["y"]), vec![]).encode_to_vec()).unwrap();
    fs::create_dir(dir.path().join("folder.o")).unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let before = listing(dir.path());
    for (place, part) in [("none/out.o", "none"), ("file/out.o", "file"), ("folder.o", "folder.o")] {
        for verb in ["compile", "zoo"] {
            let out = dir.path().join(place);
            let input = if verb == "zoo" { "squeezenet1_1" } else { text(&model) };
            let said = mnnc(&[verb, input, "-o", text(&out)]);
            let stderr = String::from_utf8_lossy(&said.stderr);
            assert_eq!(said.status.code(), Some(1), "{verb} {place}: {stderr}");
            assert!(stderr.contains(part) && stderr.starts_with("error: "), "{verb} {place}: {stderr}");
            assert_eq!(listing(dir.path()), before, "{verb} {place} left something");
        }
    }
}

fn listing(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

#[test]
fn processors_threads_and_sizes_that_cannot_be_end_in_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("open.onnx"), dir.path().join("out.o"));
    let made = mnnc(&["zoo", "squeezenet1_1", "--size", "32", "--dynamic-batch", "-o", text(&model)]);
    assert!(made.status.success());
    let foreign = if cfg!(target_arch = "aarch64") { "x86_64-linux" } else { "aarch64-linux" };
    let one = ["--shape", "input=1x3x32x32"];
    let huge = ["--shape", "input=40000000000x3x32x32", "--max-tensor-bytes", "9223372036854775807"];
    let (onto, x64) = (["--no-verify", "-o", text(&out)], ["--target", "x86_64-linux", "--cpu"]);
    let cases: &[(&str, &[&[&str]], i32, &str)] = &[
        ("compile", &[&one, &onto, &x64, &["x86-64-v9"]], 1, "unknown cpu x86-64-v9; known: native, x86-64-v1"),
        ("compile", &[&one, &onto, &x64, &["x86-64-v4+sve"]], 1, "has no feature sve"),
        ("compile", &[&one, &onto, &x64, &["x86-64-v2+vnni"]], 1, "x86-64-v2 has no features"),
        ("compile", &[&one, &onto, &["--target", "sparc-linux"]], 1, "unknown target sparc-linux"),
        ("compile", &[&huge, &onto], 1, "choose smaller shapes"),
        ("run", &[&one, &["--target", foreign]], 2, "cannot run code for"),
        ("bench", &[&one, &["--target", foreign]], 2, "cannot run code for"),
        ("verify", &[&one, &["--target", foreign]], 2, "cannot run code for"),
        ("bench", &[&one, &["--threads", "0"]], 1, "--threads"),
        ("bench", &[&one, &["--threads", "10000"]], 1, "10000"),
    ];
    for &(verb, arguments, exit, part) in cases {
        let all: Vec<&str> =
            [verb, text(&model)].into_iter().chain(arguments.iter().copied().flatten().copied()).collect();
        let said = mnnc(&all);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(exit), "{all:?}: {stderr}");
        assert!(stderr.contains(part) && stderr.matches("error: ").count() == 1, "{all:?}: {stderr}");
        assert!(said.stdout.is_empty() && !out.exists(), "{all:?}");
    }
}
