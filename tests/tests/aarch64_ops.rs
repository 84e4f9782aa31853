//! Every op that a kernel family takes for NEON, on the samples of its declaration: one program for all of them, run under
//! emulation, against the reference evaluator.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use mnnc_codegen::artifact::{self, Kind};
use mnnc_codegen::{Model, Options, Target};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::decl::Sample;
use mnnc_ir::{Graph, NodeSpec, OpDecl, Tensor};
use mnnc_kernel::{KernelCode, families};
use mnnc_ops::Evaluator;
use mnnc_tests::machine::Machine;
use mnnc_tests::tools;

/// Rounds of samples of each op.
const SEEDS: u64 = 6;

/// A graph of one node, and its inputs that are not constant.
fn graph(op: &'static OpDecl, s: &Sample) -> Option<(Graph, Vec<Tensor>)> {
    let mut g = Graph::new(op.name);
    let (mut inputs, mut feeds) = (Vec::new(), Vec::new());
    for (i, t) in s.inputs.iter().enumerate() {
        inputs.push(t.as_ref().map(|t| {
            if s.constant.get(i) == Some(&true) {
                return g.add_const(&format!("c{i}"), t.clone());
            }
            feeds.push(t.clone());
            g.add_input(&format!("x{i}"), t.ty())
        }));
    }
    let mut spec = NodeSpec::new(op, []).attrs(s.attrs.clone());
    spec.inputs = inputs;
    let n = g.add_node(spec.outputs((0..s.num_outputs).map(|i| format!("y{i}")))).ok()?;
    let results = g.node(n).outputs().to_vec();
    g.set_results(g.main(), results);
    Some((g, feeds))
}

/// One sample, compiled.
struct Case {
    what: String,
    feeds: Vec<Tensor>,
    want: Vec<Tensor>,
}

fn write_cases(folder: &Path, target: &Target) -> (Vec<Case>, BTreeMap<&'static str, usize>) {
    let mut cases = Vec::new();
    let mut covered = BTreeMap::new();
    for &op in mnnc_ops::ALL {
        for seed in 0..SEEDS {
            for s in mnnc_ops::samples(op, seed) {
                let Some((g, feeds)) = graph(op, &s) else { continue };
                let options = Options { name: format!("s{}", cases.len()), ..Default::default() };
                let Ok(model) = Model::compile(&g, target, families::ALL, &options) else { continue };
                let tuned = |v: &mnnc_codegen::Variant| {
                    v.schedule.kernels.iter().any(|(_, k)| matches!(k.code, KernelCode::Machine(_)))
                };
                if !model.variants.iter().any(tuned) {
                    continue;
                }
                let want = Evaluator::new(&g).run(&feeds).expect("a sample evaluates");
                let path = folder.join(format!("s{}.o", cases.len()));
                artifact::write(&model, Kind::Object, &path).expect("writes");
                *covered.entry(op.name).or_insert(0) += 1;
                cases.push(Case { what: format!("{} {:?}, seed {seed}", op.name, s.attrs), feeds, want });
            }
        }
    }
    (cases, covered)
}

#[test]
fn families_equal_the_reference_on_neon() {
    let machine = Machine::Aarch64("cortex-a72");
    if !machine.is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let target = Target::parse(Some("aarch64-linux-gnu"), None).unwrap();
    let (cases, covered) = write_cases(folder, &target);
    for op in ["conv", "max_pool", "average_pool", "gemm", "relu", "add", "softmax"] {
        assert!(covered.get(op).is_some_and(|&n| n > 3), "{op} has no tuned kernel on NEON: {covered:?}");
    }
    eprintln!("{} samples on NEON: {covered:?}", cases.len());

    let names = (0..cases.len()).fold(String::new(), |mut text, i| {
        let _ = writeln!(text, "MODEL(s{i})");
        text
    });
    std::fs::write(folder.join("models.inc"), names).unwrap();
    std::fs::write(folder.join("abi.h"), "#include \"s0.h\"\n").unwrap();
    let objects = (0..cases.len()).fold(String::new(), |text, i| text + &format!("s{i}.o\n"));
    std::fs::write(folder.join("objects"), objects).unwrap();
    let program = folder.join("batch");
    let mut cc = Command::new(machine.compiler());
    cc.current_dir(folder).args(["-O1", "-Wall", "-Wextra", "-Werror", "-I.", "-o"]).arg(&program);
    cc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("c/batch.c")).args(["@objects", "-lm"]);
    tools::run(&mut cc, b"").unwrap_or_else(|e| panic!("{e}"));

    let feeds: Vec<u8> = cases.iter().flat_map(|c| &c.feeds).flat_map(|t| t.bytes().to_vec()).collect();
    let out = tools::run(&mut machine.start(&program), &feeds).unwrap_or_else(|e| {
        let last = e.trim().lines().last().unwrap_or_default().trim_start_matches('s').parse::<usize>();
        panic!("stopped at {}", last.map_or(e, |i| cases[i].what.clone()))
    });
    let mut bytes = &out.stdout[..];
    let mut wrong = Vec::new();
    for case in &cases {
        for want in &case.want {
            let (part, rest) = bytes.split_at(want.bytes().len());
            bytes = rest;
            let got = Tensor::from_bytes(want.dtype(), want.dims(), Bytes::from_vec(part.to_vec())).unwrap();
            wrong.extend(difference(&got, want).map(|d| format!("{}: {d}", case.what)));
        }
    }
    assert!(bytes.is_empty());
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The first element that is not within `1e-5 + 1e-4 |want|`.
fn difference(got: &Tensor, want: &Tensor) -> Option<String> {
    let (got, want) = (got.to_f64s(), want.to_f64s());
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 + 1e-4 * b.abs();
    let at = (0..want.len()).find(|&i| !same(got[i], want[i]))?;
    Some(format!("element {at} is {}, not {}", got[at], want[at]))
}
