//! ONNX Runtime as the authority on what a model computes.

use std::path::Path;
use std::process::Command;

use mnnc::npy;
use mnnc_ir::Tensor;

/// The outputs of the model at `model`, in its order. `None`, said aloud, where there is no ONNX Runtime.
///
/// # Panics
/// If ONNX Runtime does not take the model.
pub fn run(model: &Path, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    run_as(model, inputs, &[])
}

/// The same of the model as it is written: ONNX Runtime merges no operators.
///
/// # Panics
/// As [`run`].
pub fn run_plain(model: &Path, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    run_as(model, inputs, &["plain"])
}

fn run_as(model: &Path, inputs: &[Tensor], how: &[&str]) -> Option<Vec<Tensor>> {
    let python = crate::python()?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |kind: &str, i: usize| folder.path().join(format!("{kind}_{i}.npy"));
    for (i, t) in inputs.iter().enumerate() {
        npy::write(&file("input", i), t).expect("the folder is writable");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/network_run.py");
    let out = Command::new(python).arg(script).arg(model).arg(folder.path()).args(how).output().expect("python starts");
    assert!(out.status.success(), "{}: {}", model.display(), String::from_utf8_lossy(&out.stderr));
    let outputs = (0..).map(|i| file("output", i)).take_while(|f| f.exists());
    Some(outputs.map(|f| npy::read(&f).expect("what numpy wrote")).collect())
}
