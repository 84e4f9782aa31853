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
