//! Every op that a family takes, on the samples of its declaration, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{DType, Graph, NodeSpec, OpDecl, Tensor};
use mnnc_kernel::{KernelCode, families, lower};

/// A graph of one node; the inputs that are not constants, in order.
fn graph(op: &'static OpDecl, s: &Sample) -> Option<(Graph, Vec<Tensor>)> {
    let mut g = Graph::new(op.name);
    let mut inputs = Vec::new();
    let mut data = Vec::new();
    for (i, t) in s.inputs.iter().enumerate() {
        inputs.push(t.as_ref().map(|t| {
            if s.constant.get(i).copied().unwrap_or(false) {
                g.add_const(&format!("c{i}"), t.clone())
            } else {
                data.push(t.clone());
                g.add_input(&format!("x{i}"), t.ty())
            }
        }));
    }
    let mut spec = NodeSpec::new(op, []).attrs(s.attrs.clone());
    spec.inputs = inputs;
    spec = spec.outputs((0..s.num_outputs).map(|i| format!("y{i}")));
    let n = g.add_node(spec).ok()?;
    let results = g.node(n).outputs().to_vec();
    g.set_results(g.main(), results);
    Some((g, data))
}

fn reference(g: &Graph, s: &Sample) -> Vec<Tensor> {
    let node = g.schedule()[0];
    let facts = g.facts(node);
    let run_region = |_: usize, _: &[Tensor]| unreachable!("no regions");
    let ctx = EvalCtx { op: facts.of(g.node(node)), inputs: &s.inputs, run_region: &run_region };
    (g.node(node).op.eval)(&ctx).expect("a sample evaluates")
}

#[test]
fn families_equal_the_reference() {
    for target in native_targets() {
        let mut covered = std::collections::BTreeMap::new();
        for &op in mnnc_ops::ALL {
            for seed in 0..12 {
                for s in mnnc_ops::samples(op, seed) {
                    let Some((g, data)) = graph(op, &s) else { continue };
                    if g.values()
                        .any(|(_, v)| v.ty.dtype != DType::F32 && g.constant(g.find_value(&v.name).unwrap()).is_none())
                    {
                        continue;
                    }
                    let Ok(schedule) = lower(&g, &target, families::ALL) else { continue };
                    let generic = |k: &KernelCode| !matches!(k, KernelCode::Machine(_));
                    let own = schedule.steps.iter().filter(|s| s.node.is_some());
                    if own.clone().count() == 0 || own.clone().any(|s| generic(&schedule.kernels[s.kernel].code)) {
                        continue;
                    }
                    *covered.entry(op.name).or_insert(0) += 1;
                    let expected = reference(&g, &s);
                    let types: Vec<_> = expected.iter().map(|t| (t.dtype(), t.dims().to_vec())).collect();
                    let got = Machine::new(&schedule).run(&data, &types, seed % 2 == 1);
                    for (got, expected) in got.iter().zip(&expected) {
                        compare(
                            &format!("{target} {} seed {seed} {:?} {:?}", op.name, s.attrs, expected.dims()),
                            got,
                            expected,
                        );
                    }
                }
            }
        }
        eprintln!("{target}: {covered:?}");
        for op in ["conv", "max_pool", "average_pool", "global_average_pool", "gemm", "relu", "add"] {
            assert!(covered.get(op).is_some_and(|&n| n > 3), "{op} has no tuned kernel on {target}");
        }
    }
}

fn compare(what: &str, got: &Tensor, expected: &Tensor) {
    for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 + 1e-4 * b.abs();
        assert!(same, "{what}: element {i} is {a}, not {b}");
    }
}
