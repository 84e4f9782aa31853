//! Broken models: one clear error each, never a panic, bounded time and memory.
//!
//! `MNNC_UPDATE_EXPECTED=1` rewrites the expected messages; read the difference before keeping it.

mod common;

use common::{broken, build, cases};
use mnnc_import::{ImportOptions, Limits, load, load_onnx_bytes};
use mnnc_ir::{DType, Graph, Tensor};
use mnnc_ops::Evaluator;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn expected_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("broken")
}

#[test]
fn each_broken_model_has_its_message() {
    let update = std::env::var_os("MNNC_UPDATE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    for (name, build) in broken::CASES {
        let dir = tempfile::tempdir().unwrap();
        let path = build(dir.path());
        let error = match load(&path, &ImportOptions::default()) {
            Err(e) => e,
            Ok(_) => {
                wrong.push(format!("{name}: imported"));
                continue;
            }
        };
        let text =
            format!("exit {}\n{error}\n", error.exit_code()).replace(&dir.path().display().to_string(), "FOLDER");
        let file = expected_folder().join(format!("{name}.txt"));
        if update {
            fs::write(&file, &text).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != text {
            wrong.push(format!("{name}: got\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let built: BTreeSet<String> = broken::CASES.iter().map(|(n, _)| format!("{n}.txt")).collect();
    let listed: BTreeSet<String> =
        fs::read_dir(expected_folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(built, listed, "cases and files with expected messages differ");
}

/// A stream of seeded numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Limits under which a broken model of a few kilobytes cannot do harm.
fn tight() -> ImportOptions {
    let limits = Limits { max_tensor_bytes: 16 << 20, max_memory: 64 << 20, max_nodes: 10_000, ..Limits::default() };
    ImportOptions { limits, ..ImportOptions::default() }
}

fn zeros(g: &Graph) -> Option<Vec<Tensor>> {
    g.inputs()
        .iter()
        .map(|&v| {
            let ty = g.ty(v);
            let n = ty.num_bytes().filter(|&n| n <= 16 << 20)?;
            let bytes = mnnc_ir::bytes::Bytes::from_vec(vec![0u8; n]);
            Tensor::from_bytes(if ty.dtype == DType::Bool { DType::Bool } else { ty.dtype }, ty.static_dims()?, bytes)
        })
        .collect()
}

/// Imports and, if that works, evaluates. Says what broke.
fn survives(what: &str, bytes: Vec<u8>) -> Result<bool, String> {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| match load_onnx_bytes(bytes, &tight()) {
        Err(e) => {
            let text = e.to_string();
            let clear = !text.is_empty() && matches!(e.exit_code(), 1 | 2);
            if clear { Ok(false) } else { Err(format!("{what}: exit {} with \"{text}\"", e.exit_code())) }
        }
        Ok(m) => {
            if let Some(inputs) = zeros(&m.graph) {
                let _ = Evaluator::new(&m.graph).max_bytes(64 << 20).run(&inputs);
            }
            Ok(true)
        }
    }));
    let took = start.elapsed();
    match outcome {
        Err(p) => {
            let text = p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(|s| s.to_string()));
            Err(format!("{what}: panicked: {}", text.unwrap_or_default()))
        }
        Ok(_) if took > Duration::from_secs(5) => Err(format!("{what}: took {took:?}")),
        Ok(r) => r,
    }
}

/// High-water mark of this process's memory in bytes, where the system tells.
fn peak() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kb| kb << 10)
}

#[test]
fn truncation_at_every_length_is_an_error() {
    let whole = build::network();
    if let Err(e) = load_onnx_bytes(whole.clone(), &tight()) {
        panic!("the network itself must import:\n{e}");
    }
    let mut wrong = Vec::new();
    for n in 1..whole.len() {
        match survives(&format!("first {n} bytes"), whole[..n].to_vec()) {
            Err(e) => wrong.push(e),
            // The opset comes last in the file: nothing shorter is a model.
            Ok(true) => wrong.push(format!("the first {n} of {} bytes imported", whole.len())),
            Ok(false) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn flipped(seed: u64, whole: &[u8], flips: usize) -> Vec<u8> {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = whole.to_vec();
    for _ in 0..flips {
        let i = r.below(bytes.len());
        bytes[i] ^= 1 << r.below(8);
    }
    bytes
}

#[test]
fn flipped_bits_do_no_harm() {
    let before = peak();
    let mut wrong = Vec::new();
    let whole = build::network();
    for seed in 1..=2000u64 {
        let flips = 1 + seed as usize % 4;
        if let Err(e) = survives(&format!("network, seed {seed}"), flipped(seed, &whole, flips)) {
            wrong.push(e);
        }
    }
    // Every operator, one flip for each of ONNX's own models.
    if let Some(folder) = common::onnx_cases() {
        for (i, case) in cases::collect(&folder).iter().enumerate() {
            let whole = fs::read(case.model()).unwrap();
            if whole.len() > 200_000 {
                continue;
            }
            if let Err(e) = survives(&format!("{}, seed {i}", case.name), flipped(i as u64 + 1, &whole, 1)) {
                wrong.push(e);
            }
        }
    } else {
        eprintln!("skipped: no Python with the package onnx");
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    if let (Some(before), Some(after)) = (before, peak()) {
        assert!(after - before < 512 << 20, "memory grew by {} MiB", (after - before) >> 20);
    }
}

#[test]
fn every_unsupported_node_is_reported_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let (_, build) = broken::CASES.iter().find(|(n, _)| *n == "several_unsupported").unwrap();
    let e = load(&build(dir.path()), &ImportOptions::default()).unwrap_err();
    let nodes: Vec<_> = e.0.iter().filter_map(|d| d.node.as_deref()).collect();
    assert_eq!((nodes, e.exit_code()), (vec!["/a", "/c"], 2));
}
