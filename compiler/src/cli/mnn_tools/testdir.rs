//! `--testdir`: a converted model against expected outputs, in the layout of MNN's test folders:
//!
//! * `input.json`: `{"inputs": [{"name": …, "shape": […]?, "value": x?}], "outputs": […]}`;
//! * `NAME.txt`: the numbers of an input in row-major order, unless `value` fills it;
//! * `NAME.txt`, else `INDEX.txt`: the numbers that an output should be.
//!
//! An output passes if its largest difference is at most the threshold times the largest expected magnitude. Unlike with MNN, an expected file that
//! is missing or of another length is a failure, and so is any failure for the exit code.

use std::path::{Path, PathBuf};

use mnnc::error::{self, Result};
use mnnc::{Compiler, Engine, Model};
use mnnc_ir::{DType, Diagnostic, Tensor, TensorType};
use serde::Deserialize;

use super::super::stdout::print;

/// Magnitudes below this count as this.
const LEAST: f64 = 1e-4;

#[derive(Deserialize)]
struct Description {
    inputs: Vec<Input>,
    outputs: Vec<String>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Option<Vec<usize>>,
    value: Option<f64>,
}

/// How MNN would run the model; what of it means something here.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    backend: i64,
    mode: Option<i64>,
    precision: Option<i64>,
    memory: Option<i64>,
    power: Option<i64>,
    hints: Vec<i64>,
}

fn bad(message: String, path: &Path) -> error::Error {
    Diagnostic::bad_input(message).file(path.display()).into()
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))
}

/// The numbers in a file.
fn numbers(path: &Path) -> Result<Vec<f64>> {
    let parse = |word: &str| word.parse::<f64>().map_err(|_| bad(format!("`{word}` is no number"), path));
    text(path)?.split_whitespace().map(parse).collect()
}

/// What `--testconfig` says is what MNN would do; this tool computes on one CPU in the precision of the model.
fn check_config(path: &Path) -> Result<()> {
    let config: Config =
        serde_json::from_str(&text(path)?).map_err(|e| bad(format!("no test configuration: {e}"), path))?;
    if config.backend != 0 {
        let message = format!("backend {}: outputs are computed on the CPU, which is 0", config.backend);
        return Err(Diagnostic::unsupported(message).file(path.display()).into());
    }
    let ignored = [
        ("mode", config.mode.is_some()),
        ("precision", config.precision.is_some_and(|p| p > 1)),
        ("memory", config.memory.is_some_and(|m| m == 2)),
        ("power", config.power.is_some()),
        ("hints", !config.hints.is_empty()),
    ];
    let ignored: Vec<&str> = ignored.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if !ignored.is_empty() {
        eprintln!("note: {} of {} change nothing here: computation is in f32", ignored.join(", "), path.display());
    }
    Ok(())
}

/// A tensor of a type from numbers.
fn tensor(dtype: DType, dims: Vec<usize>, values: Vec<f64>) -> Option<Tensor> {
    macro_rules! of {
        ($t:ty) => {
            Tensor::new(dims, values.into_iter().map(|x| x as $t).collect::<Vec<$t>>())
        };
    }
    Some(match dtype {
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        DType::I8 => of!(i8),
        DType::U8 => of!(u8),
        DType::I32 => of!(i32),
        DType::I64 => of!(i64),
        DType::Bool => Tensor::bools(dims, values.into_iter().map(|x| x != 0.0).collect()),
        _ => return None,
    })
}

fn input(folder: &Path, given: &Input, ty: &TensorType) -> Result<Tensor> {
    let json = folder.join("input.json");
    let dims = match (&given.shape, ty.static_dims()) {
        (Some(shape), Some(dims)) if *shape != dims => {
            return Err(bad(format!("input {} has shape {shape:?}, the model's is {dims:?}", given.name), &json));
        }
        (Some(shape), _) => shape.clone(),
        (None, Some(dims)) => dims,
        (None, None) => {
            return Err(bad(format!("input {} has no shape, and the model leaves it open", given.name), &json));
        }
    };
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= 1 << 30);
    let count = count.ok_or_else(|| bad(format!("input {} has the absurd shape {dims:?}", given.name), &json))?;
    let (values, path) = match given.value {
        Some(value) => (vec![value; count], json),
        None => {
            let path = folder.join(format!("{}.txt", given.name));
            (numbers(&path)?, path)
        }
    };
    if values.len() != count {
        return Err(bad(format!("{} numbers for shape {dims:?}", values.len()), &path));
    }
    tensor(ty.dtype, dims, values).ok_or_else(|| bad(format!("inputs of type {} cannot be given", ty.dtype), &path))
}

/// The inputs that `input.json` describes, with their shapes, in the order of the file.
pub fn shapes(folder: &Path) -> Result<Vec<(String, Vec<u64>)>> {
    let shapes = describe(folder)?.inputs.into_iter().filter_map(|input| Some((input.name, input.shape?)));
    Ok(shapes.map(|(name, shape)| (name, shape.into_iter().map(|d| d as u64).collect())).collect())
}

fn describe(folder: &Path) -> Result<Description> {
    let path = folder.join("input.json");
    serde_json::from_str(&text(&path)?).map_err(|e| bad(format!("no description of a test: {e}"), &path))
}

/// The file with what an output should be.
fn expected(folder: &Path, name: &str, index: usize) -> Option<PathBuf> {
    [format!("{name}.txt"), format!("{index}.txt")].into_iter().map(|file| folder.join(file)).find(|path| path.exists())
}

/// Runs `model` on the inputs in `folder` and compares. Says `TEST_SUCCESS`, or fails.
pub fn check(compiler: &Compiler, model: &Model, folder: &Path, config: Option<&Path>, threshold: f64) -> Result<()> {
    if let Some(config) = config {
        check_config(config)?;
    }
    let test = describe(folder)?;
    let graph = model.graph();
    let mut inputs = Vec::new();
    for &v in graph.inputs() {
        let name = &graph.value(v).name;
        let given = test.inputs.iter().find(|input| input.name == *name);
        let given =
            given.ok_or_else(|| bad(format!("input {name} of the model is not there"), &folder.join("input.json")))?;
        inputs.push(input(folder, given, graph.ty(v))?);
    }
    let outputs = Engine::jit(compiler.jit(model)?).run(&inputs)?;
    let mut failed: Vec<Diagnostic> = Vec::new();
    for (index, name) in test.outputs.iter().enumerate() {
        let fail = |what: String| Diagnostic::verification(format!("TESTERROR {name} {what}"));
        let Some(got) = graph.outputs().iter().position(|&v| graph.value(v).name == *name) else {
            failed.push(fail("is no output of the model".into()));
            continue;
        };
        let Some(path) = expected(folder, name, index) else {
            failed.push(fail(format!("has neither {name}.txt nor {index}.txt to be compared with")));
            continue;
        };
        let (want, got) = (numbers(&path)?, outputs[got].to_f64s());
        failed.extend(compare(&want, &got, threshold).err().map(fail));
    }
    if failed.is_empty() {
        print("TEST_SUCCESS\n");
        return Ok(());
    }
    Err(failed.into_iter().collect())
}

fn compare(want: &[f64], got: &[f64], threshold: f64) -> std::result::Result<(), String> {
    if want.len() != got.len() {
        return Err(format!("has {} elements, {} are expected", got.len(), want.len()));
    }
    if got.iter().any(|x| !x.is_finite()) {
        return Err("is infinite or not a number".into());
    }
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    // `f64::max` would drop what is no number.
    let larger = |m: f64, x: f64| if x.is_nan() || x > m { x } else { m };
    let off = want.iter().zip(got).map(|(w, g)| (w - g).abs()).fold(0.0, larger);
    // Written so that an expectation that is no number fails.
    if off <= threshold * largest.max(LEAST) && largest.is_finite() {
        return Ok(());
    }
    Err(format!("value error : absMaxV:{largest} - DiffMax {off}"))
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn the_largest_difference_counts_against_the_largest_magnitude() {
        assert!(compare(&[0.0, 10.0], &[0.1, 10.0], 0.01).is_ok());
        assert!(compare(&[0.0, 10.0], &[0.11, 10.0], 0.01).is_err());
        assert!(compare(&[1.0], &[1.0, 2.0], 0.01).is_err());
        assert!(compare(&[1.0], &[f64::NAN], 0.01).is_err());
        assert!(compare(&[f64::NAN], &[1.0], 0.01).is_err());
    }
}
