//! Equalised networks compute the same with channels of like ranges.

mod support;

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::Evaluator;
use mnnc_ops::family::{activation, clip, conv, linear, pool, reshape};
use mnnc_quant::equalise::{Limits, equalise, pairs};
use support::{decibels, numbers};

/// Weights whose output channels differ a thousandfold.
fn uneven(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let n: usize = dims.iter().product();
    let row = n / dims[0];
    let scale = |i: usize| 10f32.powi((i / row % 4) as i32 - 2);
    let values = numbers(n, n as u32).iter().enumerate().map(|(i, x)| x * scale(i)).collect::<Vec<f32>>();
    g.add_const(name, Tensor::new(dims, values))
}

/// conv, relu, depthwise, relu, max pool, conv, global average, flatten, gemm; then relu6 ahead of the last one.
fn network() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", TensorType::new(DType::F32, [2usize, 3, 8, 8]));
    let bias = |g: &mut Graph, n: usize| g.add_const("b", Tensor::new([n], numbers(n, 77)));
    let pads = || Attrs::new().with("pads", vec![1i64; 4]);
    let (w, b) = (uneven(&mut g, "w0", &[8, 3, 3, 3]), bias(&mut g, 8));
    let y = g.emit(NodeSpec::new(&conv::CONV, [x, w, b]).attrs(pads()).named("a")).unwrap();
    let y = g.emit(NodeSpec::new(&activation::RELU, [y])).unwrap();
    let (w, b) = (uneven(&mut g, "w1", &[16, 1, 3, 3]), bias(&mut g, 16));
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w, b]).attrs(pads().with("group", 8i64)).named("dw")).unwrap();
    let y = g.emit(NodeSpec::new(&activation::LEAKY_RELU, [y])).unwrap();
    let y =
        g.emit(NodeSpec::new(&pool::MAX_POOL, [y]).attrs(Attrs::new().with("kernel_shape", vec![2i64, 2]))).unwrap();
    let w = uneven(&mut g, "w2", &[12, 4, 1, 1]);
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w]).attrs(Attrs::new().with("group", 4i64)).named("c")).unwrap();
    let y = g.emit(NodeSpec::new(&pool::GLOBAL_AVERAGE_POOL, [y])).unwrap();
    let y = g.emit(NodeSpec::new(&reshape::FLATTEN, [y])).unwrap();
    let (w, b) = (uneven(&mut g, "w3", &[10, 12]), bias(&mut g, 10));
    let y =
        g.emit(NodeSpec::new(&linear::GEMM, [y, w, b]).attrs(Attrs::new().with("transB", true)).named("d")).unwrap();
    let (zero, six) = (g.add_const("zero", Tensor::scalar(0f32)), g.add_const("six", Tensor::scalar(6f32)));
    let y = g.emit(NodeSpec::new(&clip::CLIP, [y, zero, six])).unwrap();
    let w = uneven(&mut g, "w4", &[10, 5]);
    let y = g.emit(NodeSpec::new(&linear::MATMUL, [y, w]).named("e")).unwrap();
    g.set_results(g.main(), vec![y]);
    g
}

fn run(g: &Graph) -> Vec<f64> {
    Evaluator::new(g).run(&[Tensor::new([2, 3, 8, 8], numbers(384, 4))]).unwrap()[0].to_f64s()
}

/// Ranges of the output channels of `w0`, largest over least.
fn spread(g: &Graph) -> f64 {
    let (_, node) = g.nodes().find(|(_, n)| n.name == "a").unwrap();
    let w = g.constant(node.input(1).unwrap()).unwrap().to_f64s();
    let ranges: Vec<f64> = w.chunks(27).map(|r| r.iter().fold(0.0, |m: f64, x| m.max(x.abs()))).collect();
    ranges.iter().fold(0.0, |m: f64, &x| m.max(x)) / ranges.iter().fold(f64::INFINITY, |m: f64, &x| m.min(x))
}

#[test]
fn channels_become_alike_and_results_stay() {
    let float = network();
    let names: Vec<_> = pairs(&float).iter().map(|p| (p.first.name.clone(), p.second.name.clone())).collect();
    let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
    assert_eq!(names, [pair("a", "dw"), pair("dw", "c"), pair("c", "d")]);
    let mut g = float.clone();
    let scaled = equalise(&mut g, Limits::default(), &|_| None);
    g.verify().unwrap();
    assert_eq!(scaled.len(), 3);
    assert!(scaled[0].factors.iter().any(|f| (f - 1.0).abs() > 0.5));
    let decibels = decibels(&run(&float), &run(&g));
    assert!(decibels > 100.0, "{decibels} dB");
    assert!(spread(&float) > 500.0 && spread(&g) < 0.2 * spread(&float), "{} {}", spread(&float), spread(&g));
}

#[test]
fn known_activations_count_instead_of_weights() {
    let float = network();
    let first = pairs(&float)[0].value;
    let mut g = float.clone();
    let mut factor = |range: f32| {
        g = float.clone();
        let seen = |v: ValueId| (v == first).then(|| (0..8).map(|i| if i == 3 { range } else { 1.0 }).collect());
        let scaled = equalise(&mut g, Limits { rounds: 1, factor: 1e6 }, &seen);
        scaled[0].factors[3]
    };
    // Where a channel is written a hundred times as large, its factor is ten times as large.
    let ratio = factor(100.0) / factor(1.0);
    assert!((ratio - 10.0).abs() < 1e-3, "{ratio}");
    assert!(decibels(&run(&float), &run(&g)) > 100.0);
}

#[test]
fn dead_channels_are_left_alone() {
    let mut float = network();
    let (node, weight) = {
        let (n, node) = float.nodes().find(|(_, n)| n.name == "a").unwrap();
        (n, node.input(1).unwrap())
    };
    let mut w = float.constant(weight).unwrap().to_vec::<f32>();
    w[27..54].fill(0.0);
    let dead = float.add_const("dead", Tensor::new([8, 3, 3, 3], w));
    float.set_input(node, 1, Some(dead));
    let mut g = float.clone();
    let scaled = equalise(&mut g, Limits::default(), &|_| None);
    assert_eq!(scaled[0].factors[1], 1.0);
    assert!(run(&g).iter().all(|x| x.is_finite()) && decibels(&run(&float), &run(&g)) > 100.0);
}
