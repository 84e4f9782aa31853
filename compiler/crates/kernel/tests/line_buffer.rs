//! Chains of layers that run through rings of rows, on random shapes, against the reference evaluation.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::plan::check::check;
use mnnc_kernel::{KernelCode, Plan, families, lower};
use mnnc_ops::eval::Evaluator;
use mnnc_ops::family::arithmetic::MUL;
use mnnc_ops::family::conv::CONV;
use mnnc_ops::family::pool::{GLOBAL_AVERAGE_POOL, MAX_POOL};
use mnnc_ops::sample::Gen;

fn ints(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&x| x as i64).collect()
}

/// A window: kernel, stride, dilation, pads (top, left, bottom, right).
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 4],
}

impl Window {
    fn attrs(&self) -> Attrs {
        Attrs::new()
            .with("strides", ints(&[self.stride; 2]))
            .with("dilations", ints(&[self.dilation; 2]))
            .with("pads", ints(&self.pads))
    }
    fn random(g: &mut Gen, kernels: &[usize]) -> Window {
        let kernel = g.pick(kernels);
        let dilation = if kernel > 1 && g.below(5) == 0 { 2 } else { 1 };
        let reach = (kernel - 1) * dilation + 1;
        let stride = g.pick(&[1, 1, 2, 3]);
        Window { kernel, stride, dilation, pads: std::array::from_fn(|_| g.below(reach.min(4))) }
    }
}

fn conv(
    graph: &mut Graph,
    g: &mut Gen,
    x: ValueId,
    [outputs, inputs, groups]: [usize; 3],
    w: &Window,
    name: &str,
) -> Option<ValueId> {
    let weight = graph.add_const("w", g.f32s(&[outputs, inputs / groups, w.kernel, w.kernel]));
    let bias = graph.add_const("b", g.f32s(&[outputs]));
    let attrs = w.attrs().with("group", groups as i64);
    graph.emit(NodeSpec::new(&CONV, [x, weight, bias]).attrs(attrs).outputs([name])).ok()
}

/// What makes a chain special.
#[derive(Copy, Clone, PartialEq)]
enum Shape {
    /// Nothing.
    Any,
    /// The second layer makes more than L2 holds.
    Large,
    /// Rows are longer than a ring holds.
    Wide,
}

/// A chain of two or three layers. `None` if a window is larger than its input.
fn chain(g: &mut Gen, shape: Shape) -> Option<(Graph, Tensor)> {
    let mut graph = Graph::new("chain");
    let large = shape == Shape::Large;
    let batch = 1 + g.below(2);
    let inputs = g.pick(&[1, 3, 16, 24, 37]);
    let (size, channels) = match shape {
        Shape::Any => ([8 + g.below(40), 8 + g.below(70)], 1 + g.below(70)),
        Shape::Large => ([30 + g.below(20), 60 + g.below(60)], 48 + g.below(60)),
        Shape::Wide => ([8 + g.below(12), 300 + g.below(500)], 1 + g.below(40)),
    };
    let dims = [batch, inputs, size[0], size[1]];
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let first = if large {
        Window { kernel: g.pick(&[1, 3]), stride: 1, dilation: 1, pads: [1; 4] }
    } else {
        Window::random(g, &[1, 1, 3, 5])
    };
    let a = conv(&mut graph, g, x, [channels, inputs, 1], &first, "a")?;
    let second = if large {
        Window { kernel: g.pick(&[3, 5]), stride: g.pick(&[1, 2]), dilation: 1, pads: [1, 2, 2, 1] }
    } else {
        Window::random(g, &[2, 3, 5, 7])
    };
    let b = if g.below(3) == 0 && !large {
        let pads = second.pads.map(|p| p.min(second.kernel - 1));
        let attrs = Attrs::new()
            .with("kernel_shape", ints(&[second.kernel; 2]))
            .with("strides", ints(&[second.stride; 2]))
            .with("pads", ints(&pads));
        graph.emit(NodeSpec::new(&MAX_POOL, [a]).attrs(attrs).outputs(["b"])).ok()?
    } else {
        conv(&mut graph, g, a, [channels, channels, channels], &second, "b")?
    };
    // Squeeze and excite, without the excitation.
    let squeeze = shape != Shape::Wide && g.below(3) == 0;
    let b = if squeeze {
        let pooled = graph.emit(NodeSpec::new(&GLOBAL_AVERAGE_POOL, [b]).outputs(["pooled"])).ok()?;
        graph.emit(NodeSpec::new(&MUL, [b, pooled]).outputs(["scaled"])).ok()?
    } else {
        b
    };
    let y = if large || g.coin() {
        let point = Window { kernel: 1, stride: 1, dilation: 1, pads: [0; 4] };
        let outputs = 1 + g.below(50);
        conv(&mut graph, g, b, [outputs, channels, 1], &point, "y")?
    } else {
        b
    };
    graph.set_results(graph.main(), vec![y]);
    Some((graph, g.f32s(&dims)))
}

fn compare(seeds: std::ops::Range<u64>, shape: Shape) -> [usize; 2] {
    let mut counts = [0, 0];
    for target in native_targets() {
        for seed in seeds.clone() {
            let Some((graph, input)) = chain(&mut Gen::new(seed), shape) else { continue };
            let expected = Evaluator::new(&graph).run(std::slice::from_ref(&input)).expect("evaluates").remove(0);
            let schedule = lower(&graph, &target, families::ALL).unwrap_or_else(|e| panic!("seed {seed}: {}", e.len()));
            check(&schedule, &Plan::new(&schedule)).unwrap_or_else(|e| panic!("{target} seed {seed}: {}", e[0]));
            let programs =
                schedule.steps.iter().filter(|s| matches!(schedule.kernels[s.kernel].code, KernelCode::Program(_)));
            let programs = programs.count();
            counts[0] += usize::from(programs > 0);
            counts[1] += usize::from(programs > 1);
            let dims = expected.dims().to_vec();
            let got = Machine::new(&schedule).run(&[input], &[(DType::F32, dims)], seed % 2 == 0).remove(0);
            let (got, expected) = (got.view::<f32>(), expected.view::<f32>());
            let largest = expected.iter().fold(1f32, |m, x| m.max(x.abs()));
            for (i, (a, b)) in got.iter().zip(expected.iter()).enumerate() {
                assert!((a - b).abs() <= 1e-5 * largest, "{target} seed {seed}: element {i} is {a}, not {b}");
            }
        }
    }
    counts
}

#[test]
fn random_chains_equal_the_reference() {
    let targets = native_targets().len();
    let [fused, _] = compare(0..120, Shape::Any);
    assert!(fused >= 40 * targets, "only {fused} chains on {targets} targets ran through a ring");
}

#[test]
fn chains_in_strips_equal_the_reference() {
    let targets = native_targets().len();
    let [_, strips] = compare(0..20, Shape::Large);
    assert!(strips >= 6 * targets, "only {strips} chains on {targets} targets ran in strips");
}

#[test]
fn chains_with_long_rows_equal_the_reference() {
    let targets = native_targets().len();
    let [_, chunks] = compare(0..24, Shape::Wide);
    assert!(chunks >= 10 * targets, "only {chunks} chains on {targets} targets were cut into chunks");
}
