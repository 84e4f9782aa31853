//! Runs `.mnn` files in MNN, in processes of its own because it may take them down with it.

use mnnc_ir::{DType, Tensor, bytes::Bytes};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One file with inputs.
pub struct Case {
    /// The file's bytes.
    pub model: Vec<u8>,
    /// Which of MNN's interfaces runs it: `module` or `session`.
    pub api: &'static str,
    /// MNN's setting: `normal`, or `low`, in which it computes on compressed weights (`module` only).
    pub memory: &'static str,
    /// Names and values.
    pub inputs: Vec<(String, Tensor)>,
    /// Names, in the order of the results.
    pub outputs: Vec<String>,
    /// The file of weights beside the model, if it has one.
    pub beside: Option<Vec<u8>>,
}

/// What MNN made of a case: its outputs, or how it failed.
pub type Outcome = Result<Vec<Tensor>, String>;

fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::U8 => "uint8",
        DType::I8 => "int8",
        DType::Bool => "bool",
        other => panic!("{other} does not cross into MNN"),
    }
}

fn from_numpy(name: &str) -> DType {
    match name {
        "float32" => DType::F32,
        "int32" => DType::I32,
        "uint8" => DType::U8,
        "int8" => DType::I8,
        other => panic!("MNN gave {other}"),
    }
}

fn stem(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("case{index}"))
}

fn describe(folder: &Path, index: usize, case: &Case) -> Value {
    let stem = stem(folder, index);
    let model = stem.with_extension("mnn");
    std::fs::write(&model, &case.model).expect("the test's folder is writable");
    if let Some(weights) = &case.beside {
        std::fs::write(stem.with_extension("mnn.weight"), weights).expect("the test's folder is writable");
    }
    let inputs: Vec<Value> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, (name, tensor))| {
            let file = stem.with_extension(format!("in{i}"));
            std::fs::write(&file, &tensor.bytes()[..]).expect("the test's folder is writable");
            json!({"name": name, "dtype": numpy_name(tensor.dtype()), "shape": tensor.dims(), "file": file})
        })
        .collect();
    json!({"model": model, "api": case.api, "memory": case.memory, "outputs": case.outputs, "stem": stem, "inputs": inputs})
}

fn outputs(stem: &Path, report: &Value) -> Vec<Tensor> {
    let list = report["outputs"].as_array().expect("a list of outputs");
    list.iter()
        .enumerate()
        .map(|(i, output)| {
            let bytes = std::fs::read(format!("{}.{i}", stem.display())).expect("the output that was told of");
            let dtype = from_numpy(output["dtype"].as_str().expect("dtype"));
            let shape: Vec<usize> =
                output["shape"].as_array().expect("shape").iter().map(|d| d.as_u64().expect("dim") as usize).collect();
            Tensor::from_bytes(dtype, shape, Bytes::from_vec(bytes)).expect("elements fill the shape")
        })
        .collect()
}

/// Runs all cases; a case that takes its process down, or runs longer than `limit`, is that case's failure only.
pub fn run(python: &Path, cases: &[Case], limit: Duration) -> Vec<Outcome> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/mnn_run.py");
    let list: Vec<Value> = cases.iter().enumerate().map(|(i, case)| describe(folder.path(), i, case)).collect();
    let manifest = folder.path().join("cases.json");
    std::fs::write(&manifest, Value::from(list).to_string()).expect("the test's folder is writable");
    let mut results: Vec<Outcome> = Vec::with_capacity(cases.len());
    while results.len() < cases.len() {
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).expect("the test's folder is writable");
        let mut child = Command::new(python)
            .arg(&script)
            .arg(&manifest)
            .arg(results.len().to_string())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("the child is ours") {
                Some(status) => break status.to_string(),
                None if start.elapsed() > limit => {
                    child.kill().expect("the child is ours");
                    child.wait().expect("the child is ours");
                    break format!("no answer within {limit:?}");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = String::from_utf8_lossy(&std::fs::read(&log).expect("the log is there")).into_owned();
        let before = results.len();
        for line in text.lines().filter_map(|line| line.strip_prefix("@ ")) {
            let report: Value = serde_json::from_str(line).expect("a line of JSON");
            let index = results.len();
            results.push(match report["error"].as_str() {
                Some(error) => Err(error.to_string()),
                None => Ok(outputs(&stem(folder.path(), index), &report)),
            });
        }
        if results.len() < cases.len() {
            let noise = text.lines().rfind(|line| !line.starts_with('@') && !line.trim().is_empty()).unwrap_or("");
            results.push(Err(format!("MNN's process ended: {status} {noise}")));
        }
        assert!(results.len() > before);
    }
    results
}

/// The greatest of |got - want| / (1e-4 + 1e-3 |want|): right is at most 1. Integers have to be equal; NaN and
/// infinities have to stand where they should.
pub fn error(got: &Tensor, want: &Tensor) -> Result<f64, String> {
    if got.dims() != want.dims() {
        return Err(format!("shape {:?}, not {:?}", got.dims(), want.dims()));
    }
    if got.dtype().is_float() != want.dtype().is_float() {
        return Err(format!("{}, not {}", got.dtype(), want.dtype()));
    }
    let mut worst = 0.0f64;
    for (at, (g, w)) in got.to_f64s().into_iter().zip(want.to_f64s()).enumerate() {
        if g == w || (g.is_nan() && w.is_nan()) {
            continue;
        }
        if !want.dtype().is_float() || !w.is_finite() || !g.is_finite() {
            return Err(format!("element {at} is {g}, not {w}"));
        }
        worst = worst.max((g - w).abs() / (1e-4 + 1e-3 * w.abs()));
    }
    Ok(worst)
}

/// Root of the mean square of the differences, as a share of that of `want`.
pub fn rms(got: &Tensor, want: &Tensor) -> f64 {
    let square = |x: f64| x * x;
    let (got, want) = (got.to_f64s(), want.to_f64s());
    let noise: f64 = got.iter().zip(&want).map(|(g, w)| square(g - w)).sum();
    (noise / want.iter().map(|&w| square(w)).sum::<f64>()).sqrt()
}
