//! Attention of random sizes through the fused kernel, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{DType, Graph, NodeSpec, Tensor};
use mnnc_kernel::{KernelCode, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::family::attention::multi_head::MULTI_HEAD_ATTENTION;
use mnnc_ops::family::attention::strided::{MatrixView, StridedAttention};
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;

struct Case {
    graph: Graph,
    inputs: Vec<Tensor>,
    what: String,
}

/// Heads side by side in one tensor or in three, keys and values shared by groups of heads, masks of every kind. The views begin and
/// end inside their tensors, so that a read beyond them meets other data and one beyond the tensors meets the guards.
fn case(g: &mut Gen) -> Case {
    let (n, groups, each) = (1 + g.below(2), 1 + g.below(3), 1 + g.below(2));
    let heads = groups * each;
    let packed = g.coin();
    let queries = g.pick(&[1, 2, 7, 15, 16, 17, 31, 33, 50, 64, 97]);
    let depth = g.pick(&[1, 3, 8, 12, 16, 20, 32, 40, 64, 80, 128]);
    let (keys, width) = if packed {
        (queries, depth)
    } else {
        (g.pick(&[1, 2, 5, 14, 29, 50, 127, 128, 129, 300]), g.pick(&[1, 4, 8, 19, 32, 33, 48, 64, 72, 128]))
    };
    let total = (heads + 2 * groups) * depth;
    let view = |offset: usize, rows: usize, own: usize, of: usize, group: usize, head: usize| {
        let row = if packed { total } else { own };
        MatrixView {
            offset: if packed { offset } else { 0 },
            batch: vec![rows * row, group * of, head * of],
            row,
            col: 1,
        }
    };
    let mut a = StridedAttention {
        batch: vec![n, groups, each],
        queries,
        keys,
        depth,
        width,
        q: view(0, queries, heads * depth, depth, each, 1),
        k: view(heads * depth, keys, groups * depth, depth, 1, 0),
        v: view((heads + groups) * depth, keys, groups * width, width, 1, 0),
        masks: Vec::new(),
        y: MatrixView {
            offset: 0,
            batch: vec![queries * heads * width, each * width, width],
            row: heads * width,
            col: 1,
        },
        dims: vec![n, queries, heads * width],
        scale: 1.0 / (depth as f32).sqrt(),
        causal: g.below(4) == 0,
        zero_blind: g.coin(),
    };
    let mut shapes = if packed {
        vec![vec![n, queries, total]; 3]
    } else {
        vec![vec![n, queries, heads * depth], vec![n, keys, groups * depth], vec![n, keys, groups * width]]
    };
    if !packed && g.coin() {
        // Keys and queries the other way round.
        a.k = MatrixView { offset: 0, batch: vec![keys * groups * depth, depth * keys, 0], row: 1, col: keys };
        a.q = MatrixView {
            offset: 0,
            batch: vec![queries * heads * depth, each * depth * queries, depth * queries],
            row: 1,
            col: queries,
        };
    }
    let mut inputs: Vec<Tensor> = shapes.drain(..).map(|s| g.f32s(&s)).collect();
    if g.coin() {
        a.masks.push(MatrixView {
            offset: 0,
            batch: vec![0, each * queries * keys, queries * keys],
            row: 1,
            col: queries,
        });
        inputs.push(g.f32s(&[heads, keys, queries]));
    }
    if g.coin() {
        // Of every batch element some keys are out of sight, at times all.
        a.masks.push(MatrixView { offset: 0, batch: vec![keys, 0, 0], row: 0, col: 1 });
        let none = g.below(6) == 0 && a.zero_blind;
        let mask = (0..n * keys).map(|i| if none || i % keys > 0 && g.coin() { f32::NEG_INFINITY } else { 0.0 });
        inputs.push(Tensor::new(vec![n, keys], mask.collect::<Vec<f32>>()));
    }
    let mut graph = Graph::new("attention");
    let values: Vec<_> = inputs.iter().enumerate().map(|(i, t)| graph.add_input(&format!("x{i}"), t.ty())).collect();
    let spec = NodeSpec::new(&MULTI_HEAD_ATTENTION, values).attrs(a.attrs()).outputs(["y"]);
    let y = graph.emit(spec).expect("a valid attention");
    graph.set_results(graph.main(), vec![y]);
    Case { graph, inputs, what: format!("{a:?}") }
}

#[test]
fn random_attentions_equal_the_reference() {
    for target in native_targets() {
        for seed in 0..150 {
            let Case { graph, inputs, what } = case(&mut Gen::new(seed));
            let expected = Evaluator::new(&graph).run(&inputs).unwrap_or_else(|e| panic!("{what}: {e}")).remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            let generic = schedule.kernels.iter().any(|(_, k)| matches!(k.code, KernelCode::Loops(_)));
            assert!(!generic, "{target} seed {seed}: no kernel for {what}");
            let types = [(DType::F32, expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(&inputs, &types, seed % 2 == 0).remove(0);
            for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                let same = (a - b).abs() <= 2e-5 || (a.is_nan() && b.is_nan());
                assert!(same, "{target} seed {seed}: element {i} is {a}, not {b}; {what}");
            }
        }
    }
}

#[test]
fn random_attentions_compile_for_neon() {
    for seed in 0..60 {
        let Case { graph, what, .. } = case(&mut Gen::new(seed));
        lower(&graph, &Target::NEON, families::ALL).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    }
}
