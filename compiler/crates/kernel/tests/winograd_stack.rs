//! Stacks of convolutions whose results lie over the images that they are made of, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::plan::check::check;
use mnnc_kernel::schedule::BufferKind;
use mnnc_kernel::{Plan, Schedule, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::family::arithmetic::ADD;
use mnnc_ops::family::conv::CONV;
use mnnc_ops::sample::Gen;

/// Most of the largest output that a layer may be off by; see `conv_family`.
const LAYER: f32 = 6e-6;

/// A convolution with as many outputs as inputs, whatever its filter.
fn layer(graph: &mut Graph, g: &mut Gen, x: ValueId, [outputs, inputs]: [usize; 2], name: &str) -> ValueId {
    let kernel = g.pick(&[[3, 3], [3, 3], [5, 5], [1, 3], [3, 1], [5, 3], [4, 4], [2, 3]]);
    // Padding on both sides, or all of it on one.
    let before = [0, 1].map(|d| g.pick(&[(kernel[d] - 1) / 2, (kernel[d] - 1) / 2, 0, kernel[d] - 1]));
    let pads = [before[0], before[1], kernel[0] - 1 - before[0], kernel[1] - 1 - before[1]];
    let scale = 1.0 / ((inputs * kernel[0] * kernel[1]) as f32).sqrt();
    let w = g.f32s(&[outputs, inputs, kernel[0], kernel[1]]);
    let w: Vec<f32> = w.view::<f32>().iter().map(|x| x * scale).collect();
    let w = Tensor::new([outputs, inputs, kernel[0], kernel[1]], w);
    let (w, b) = (graph.add_const(&format!("{name}.w"), w), graph.add_const(&format!("{name}.b"), g.f32s(&[outputs])));
    let attrs = Attrs::new().with("pads", pads.iter().map(|&p| p as i64).collect::<Vec<i64>>());
    graph.emit(NodeSpec::new(&CONV, [x, w, b]).attrs(attrs).outputs([name])).expect("a valid convolution")
}

/// Two to five of them, some with a sum that reads an earlier image once more.
fn stack(g: &mut Gen) -> (Graph, Tensor, usize) {
    let mut graph = Graph::new("stack");
    let channels = 32 + g.below(40);
    let dims = [1 + g.below(2), 1 + g.below(40), 5 + g.below(40), 5 + g.below(60)];
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let mut values = vec![layer(&mut graph, g, x, [channels, dims[1]], "first")];
    let depth = 2 + g.below(4);
    for i in 0..depth {
        let last = *values.last().expect("one at least");
        let mut y = layer(&mut graph, g, last, [channels, channels], &format!("layer{i}"));
        if g.below(4) == 0 {
            let other = g.pick(&values);
            let spec = NodeSpec::new(&ADD, [y, other]).outputs([format!("sum{i}").as_str()]);
            y = graph.emit(spec).expect("a valid sum");
        }
        values.push(y);
    }
    let last = *values.last().expect("one at least");
    graph.set_results(graph.main(), vec![last]);
    (graph, g.f32s(&dims), depth + 1)
}

/// Results that lie over others.
fn over(s: &Schedule) -> usize {
    s.buffers.iter().filter(|(_, b)| matches!(b.kind, BufferKind::Within(..))).count()
}

#[test]
fn stacks_equal_the_reference() {
    for target in native_targets() {
        let mut shared = 0;
        for seed in 0..60 {
            let mut g = Gen::new(9000 + seed);
            let (graph, input, depth) = stack(&mut g);
            let expected = Evaluator::new(&graph).run(std::slice::from_ref(&input)).expect("evaluates").remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {}", e.len()));
            check(&schedule, &Plan::new(&schedule)).unwrap_or_else(|e| panic!("{target} seed {seed}: {}", e[0]));
            shared += over(&schedule);
            let results = [(DType::F32, expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(&[input], &results, seed % 2 == 0).remove(0);
            let (got, expected) = (got.view::<f32>(), expected.view::<f32>());
            let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = got.iter().zip(expected.iter()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            let most = LAYER * depth as f32 * largest;
            assert!(worst <= most, "{target} seed {seed}: off by {worst} of {largest}, {}", schedule.show(None));
        }
        assert!(shared >= 40, "{target}: only {shared} results lie over others");
    }
}
