//! Every op of the catalogue against ONNX Runtime, on the op's own samples.
//!
//! What ONNX Runtime does not implement is counted and shown. Where it refuses or answers otherwise although ONNX's
//! definition is with us, [`DEVIATIONS`] says so.

use mnnc_ir::bytes::Bytes;
use mnnc_ir::decl::Sample;
use mnnc_ir::{Attr, DType, OpDecl, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Ops on which ONNX Runtime is not the authority: a part of the failure text, and why.
const DEVIATIONS: &[(&str, &str)] = &[
    ("shrink Attrs([]) on bf16", "ONNX's Shrink takes no bfloat16"),
    ("Ellipsis for input 1 represents 0 dimensions", "ONNX Runtime does not broadcast ellipses, the definition does"),
    ("is not defined for empty set with bool", "ONNX's own test defines it: the neutral element"),
];

const SEEDS: u64 = 2;

/// Appends the bytes of a tensor to `blob`.
fn describe(t: &Tensor, blob: &mut Vec<u8>) -> Value {
    let offset = blob.len();
    blob.extend_from_slice(t.bytes());
    json!({"dtype": t.dtype().name(), "dims": t.dims(), "offset": offset, "bytes": t.bytes().len()})
}

fn attribute((name, value): (&str, &Attr)) -> Value {
    let plain = match value {
        Attr::Int(x) => json!(x),
        Attr::Float(x) => json!(x),
        Attr::Bool(x) => json!(x),
        Attr::Str(x) => json!(x),
        Attr::DType(x) => json!(x.name()),
        Attr::Ints(x) => json!(x),
        Attr::Floats(x) => json!(x),
        Attr::Strs(x) => json!(x),
    };
    json!([name, format!("{:?}", value.kind()), plain])
}

/// A tensor that the script wrote.
fn tensor(v: &Value, blob: &[u8]) -> Tensor {
    let number = |k: &str| v[k].as_u64().unwrap() as usize;
    let dims: Vec<usize> = v["dims"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let dtype = DType::from_name(v["dtype"].as_str().unwrap()).unwrap();
    let bytes = blob[number("offset")..number("offset") + number("bytes")].to_vec();
    Tensor::from_bytes(dtype, dims, Bytes::from_vec(bytes)).unwrap()
}

/// The first difference beyond rounding.
fn difference(got: &Tensor, want: &Tensor) -> Option<String> {
    let widened = got.dtype() == DType::BF16 && want.dtype() == DType::F32;
    if got.dims() != want.dims() || got.dtype() != want.dtype() && !widened {
        let show = |t: &Tensor| format!("{}{:?}", t.dtype(), t.dims());
        return Some(format!("{} instead of {}", show(got), show(want)));
    }
    if got.dtype().is_int() || got.dtype() == DType::Bool {
        return (got.to_i64s() != want.to_i64s())
            .then(|| format!("{:?} instead of {:?}", got.to_i64s(), want.to_i64s()));
    }
    let tolerance = match got.dtype() {
        DType::F32 => 2e-5,
        DType::F64 => 1e-9,
        DType::F16 => 2e-3,
        _ => 1.6e-2,
    };
    let (g, w) = (got.to_f64s(), want.to_f64s());
    let close = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * b.abs().max(1.0);
    let at = g.iter().zip(&w).position(|(&a, &b)| !close(a, b))?;
    Some(format!("element {at} is {} instead of {}", g[at], w[at]))
}

/// Runs all cases in one process.
fn run(python: &Path, cases: &[(&'static OpDecl, Sample)]) -> (Vec<Value>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut blob = Vec::new();
    let mut list = Vec::new();
    for (op, s) in cases {
        let inputs: Vec<Value> =
            s.inputs.iter().map(|t| t.as_ref().map_or(Value::Null, |t| describe(t, &mut blob))).collect();
        let attrs: Vec<Value> = s.attrs.iter().map(attribute).collect();
        let own = mnnc_ops::evaluate_op(op, &s.attrs, &s.inputs, s.num_outputs, 1 << 28).unwrap_or_default();
        let widen = own.iter().any(|t| t.dtype() == DType::BF16);
        list.push(json!({"op": op.name, "attrs": attrs, "inputs": inputs, "outputs": s.num_outputs, "widen": widen}));
    }
    fs::write(folder.path().join("cases.json"), Value::Array(list).to_string()).unwrap();
    fs::write(folder.path().join("inputs.bin"), &blob).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/run_onnx.py");
    let status = Command::new(python).arg(script).arg(folder.path()).status().unwrap();
    assert!(status.success(), "run_onnx.py ended with {status}");
    let results: Value = serde_json::from_slice(&fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    (results.as_array().unwrap().clone(), fs::read(folder.path().join("outputs.bin")).unwrap())
}

#[test]
fn ops_agree_with_onnxruntime() {
    let Some(python) = mnnc_tests::python() else { return };
    let cases: Vec<(&'static OpDecl, Sample)> = mnnc_ops::ALL
        .iter()
        .filter(|op| op.regions == 0)
        .flat_map(|&op| (0..SEEDS).flat_map(move |seed| mnnc_ops::samples(op, seed)).map(move |s| (op, s)))
        .collect();
    let (results, blob) = run(python, &cases);
    assert_eq!(results.len(), cases.len());
    let (mut agreed, mut missing, mut failures) = (0, BTreeMap::<&str, usize>::new(), Vec::new());
    let mut excused = vec![0; DEVIATIONS.len()];
    for ((op, s), result) in cases.iter().zip(&results) {
        if result["status"] == "unimplemented" {
            *missing.entry(op.name).or_default() += 1;
            continue;
        }
        let trouble = if let Some(why) = result["why"].as_str() {
            Some(format!("refused: {why}"))
        } else {
            let want = result["outputs"].as_array().unwrap().iter().map(|v| tensor(v, &blob));
            match mnnc_ops::evaluate_op(op, &s.attrs, &s.inputs, s.num_outputs, 1 << 28) {
                Err(e) => Some(e.to_string()),
                Ok(got) => got
                    .iter()
                    .zip(want)
                    .enumerate()
                    .find_map(|(i, (g, w))| difference(g, &w).map(|d| format!("output {i}: {d}"))),
            }
        };
        match trouble.map(|why| format!("{} {}: {why}", op.name, s)) {
            None => agreed += 1,
            Some(text) => match DEVIATIONS.iter().position(|(part, _)| text.contains(part)) {
                Some(i) => excused[i] += 1,
                None => failures.push(text),
            },
        }
    }
    println!("{agreed} of {} samples agree", cases.len());
    println!("not implemented by ONNX Runtime: {missing:?}");
    for ((part, why), n) in DEVIATIONS.iter().zip(&excused) {
        if *n == 0 {
            failures.push(format!("no sample deviates at \"{part}\" any more: take it off the list"));
        }
        println!("{n} deviations: {part}: {why}");
    }
    assert!(agreed * 2 > cases.len(), "only {agreed} of {} samples were compared", cases.len());
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}
