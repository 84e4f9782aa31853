//! `dynamic-quant`: where activations are integers of at most 127, their quantisation loses nothing, and results are what they were.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_transform::{Hooks, Manager, Pipeline};

fn emit(g: &mut Graph, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    let spec = NodeSpec::new(mnnc_ops::lookup(op).expect("an op"), inputs.iter().copied()).attrs(attrs).outputs(["y"]);
    g.emit(spec).unwrap_or_else(|e| panic!("{op}: {e:?}"))
}

/// Weights of a signed byte each, with a scale for each index of dimension `axis`.
fn weights(graph: &mut Graph, g: &mut Gen, dims: &[usize], axis: usize, zero: bool) -> ValueId {
    let n: usize = dims.iter().product();
    let values: Vec<i8> = (0..n).map(|_| (g.below(200) as i64 - 100) as i8).collect();
    let mut inputs = vec![graph.add_const("q", Tensor::new(dims, values))];
    let scales: Vec<f32> = (0..dims[axis]).map(|_| g.pick(&[0.5, 0.25, 0.125])).collect();
    inputs.push(graph.add_const("s", Tensor::new([dims[axis]], scales)));
    if zero {
        let zeros: Vec<i8> = (0..dims[axis]).map(|_| (g.below(40) as i64 - 20) as i8).collect();
        inputs.push(graph.add_const("z", Tensor::new([dims[axis]], zeros)));
    }
    emit(graph, "dequantize_linear", &inputs, Attrs::new().with("axis", axis as i64))
}

/// Integers, of which those that `largest` names are the greatest that a byte holds.
fn integers(g: &mut Gen, dims: &[usize], largest: impl Fn(usize) -> bool, signed: bool) -> Tensor {
    let n: usize = dims.iter().product();
    let value = |i: usize, g: &mut Gen| match (largest(i), signed) {
        (true, true) => 127.0,
        (true, false) => 255.0,
        (false, true) => g.below(255) as f32 - 127.0,
        (false, false) => g.below(256) as f32,
    };
    Tensor::new(dims, (0..n).map(|i| value(i, g)).collect::<Vec<f32>>())
}

fn check(mut graph: Graph, y: ValueId, input: &Tensor, integer: &str, what: &str) {
    graph.set_results(graph.main(), vec![y]);
    let expected = Evaluator::new(&graph).run(std::slice::from_ref(input)).expect("evaluates").remove(0);
    let pipeline = Pipeline::parse("dynamic-quant,expand-weights{native=1},fold,dce").expect("a pipeline");
    Manager::new(&Hooks::default()).run(&mut graph, &pipeline).expect("runs");
    let ops: Vec<&str> = graph.schedule().iter().map(|&n| graph.node(n).op.name).collect();
    assert!(ops.contains(&"dynamic_quantize_rows") && ops.contains(&integer), "{what}: {ops:?}");
    let got = Evaluator::new(&graph).run(std::slice::from_ref(input)).expect("evaluates").remove(0);
    let largest = expected.view::<f32>().iter().fold(0f32, |m, x| m.max(x.abs()));
    for (a, b) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()) {
        assert!((a - b).abs() <= 1e-6 * largest, "{what}: {a} instead of {b} of {largest}");
    }
}

#[test]
fn convolutions_of_integers_stay_as_they_are() {
    for seed in 0..60 {
        let mut g = Gen::new(seed);
        let (inputs, outputs, groups) = (8 + g.below(9), 2 + g.below(9), 1 + g.below(2));
        let kernel = g.pick(&[[1, 1], [1, 1], [3, 3], [2, 3]]);
        let stride = if g.coin() { 1i64 } else { 2 };
        let mut graph = Graph::new("conv");
        let dims = [2, groups * inputs, 6 + g.below(4), 6 + g.below(4)];
        let x = graph.add_input("x", TensorType::new(DType::F32, dims));
        let signed = g.coin();
        let data = if signed { x } else { emit(&mut graph, "relu", &[x], Attrs::new()) };
        let w = weights(&mut graph, &mut g, &[groups * outputs, inputs, kernel[0], kernel[1]], 0, seed % 3 == 0);
        let mut operands = vec![data, w];
        if g.coin() {
            operands.push(graph.add_const("b", g.f32s(&[groups * outputs])));
        }
        let pad = i64::from(kernel != [1, 1]);
        let attrs = Attrs::new()
            .with("group", groups as i64)
            .with("strides", vec![stride, stride])
            .with("pads", vec![pad, pad, 0, 0]);
        let y = emit(&mut graph, "conv", &operands, attrs);
        let plane = dims[2] * dims[3];
        // The first channel is the largest of each pixel.
        let input = integers(&mut g, &dims, |i| (i / plane).is_multiple_of(dims[1]), signed);
        check(graph, y, &input, "conv_integer", &format!("seed {seed}: {dims:?} {kernel:?} stride {stride}"));
    }
}

#[test]
fn products_of_integers_stay_as_they_are() {
    for seed in 0..60 {
        let mut g = Gen::new(100 + seed);
        let (rows, depth, cols) = (8 + g.below(5), 4 * (1 + g.below(6)), 2 + g.below(20));
        let mut graph = Graph::new("product");
        let dims = [rows, depth];
        let x = graph.add_input("x", TensorType::new(DType::F32, dims));
        let zero = g.coin();
        let y = match g.below(3) {
            0 => {
                let w = weights(&mut graph, &mut g, &[depth, cols], 1, zero);
                emit(&mut graph, "matmul", &[x, w], Attrs::new())
            }
            n => {
                let transposed = n == 1;
                let shape = if transposed { [cols, depth] } else { [depth, cols] };
                let w = weights(&mut graph, &mut g, &shape, usize::from(!transposed), zero);
                let b = graph.add_const("b", g.f32s(&[cols]));
                let attrs = Attrs::new().with("transB", transposed).with("alpha", 0.5).with("beta", 2.0);
                emit(&mut graph, "gemm", &[x, w, b], attrs)
            }
        };
        let input = integers(&mut g, &dims, |i| i % depth == 0, true);
        check(graph, y, &input, "matmul_integer", &format!("seed {seed}: {rows}x{depth}x{cols}"));
    }
}

/// Scales in blocks, and products for each channel, are left to kernels in `f32`.
#[test]
fn other_weights_stay_packed() {
    let mut g = Gen::new(1);
    let mut graph = Graph::new("depthwise");
    let x = graph.add_input("x", TensorType::new(DType::F32, [1usize, 8, 5, 5]));
    let w = weights(&mut graph, &mut g, &[8, 1, 3, 3], 0, false);
    let y = emit(&mut graph, "conv", &[x, w], Attrs::new().with("group", 8i64));
    graph.set_results(graph.main(), vec![y]);
    let pipeline = Pipeline::parse("dynamic-quant,expand-weights{native=1},fold,dce").expect("a pipeline");
    Manager::new(&Hooks::default()).run(&mut graph, &pipeline).expect("runs");
    let ops: Vec<&str> = graph.schedule().iter().map(|&n| graph.node(n).op.name).collect();
    assert_eq!(ops, ["dequantize_linear", "conv"]);
}
