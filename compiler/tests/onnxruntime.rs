//! `mnnc verify --against onnxruntime`, where a Python with `onnx` and `onnxruntime` is at hand.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mnnc::zoo::{Options, build, write};

/// `MNNC_PYTHON`, or that of the project's own environment, or `python3`; the first that has the packages.
fn python() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/python");
    let has = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import onnx, onnxruntime, numpy"]).output();
        output.is_ok_and(|o| o.status.success())
    };
    std::env::var_os("MNNC_PYTHON").map(PathBuf::from).into_iter().chain([own, "python3".into()]).find(has)
}

fn verify(model: &Path, python: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnnc"));
    command.arg("verify").arg(model).args(["--against", "onnxruntime", "--python"]).arg(python).args(more);
    command.output().unwrap()
}

fn small_network(folder: &Path) -> PathBuf {
    let path = folder.join("net.onnx");
    let options = Options { size: (32, 32), ..Options::default() };
    write(&build("squeezenet1_1", &options).unwrap(), &mut std::fs::File::create(&path).unwrap()).unwrap();
    path
}

#[test]
fn layers_and_outputs_agree_with_onnxruntime() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with onnx and onnxruntime (set MNNC_PYTHON)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = verify(&small_network(folder.path()), &python, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["outputs"].as_array().unwrap().len(), 1);
    // Each of the 26 convolutions has its rectifier fused; that value and those of other ops keep their names.
    let layers = found["layers"].as_array().unwrap();
    assert!(layers.len() >= 26, "{} layers: {layers:?}", layers.len());
    for row in layers {
        assert!(row["of_tolerance"].as_f64().unwrap() <= 1.0, "{row}");
    }
}

#[test]
fn a_missing_python_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let output = verify(&small_network(folder.path()), &folder.path().join("none"), &[]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("pip install onnx==1.23.2 onnxruntime==1.32.0"), "{message}");
}
