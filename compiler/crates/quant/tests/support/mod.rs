//! A small network with every kind of layer that has weights.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::family::{activation, conv, conv_transpose, linear};

/// Numbers that look random, in -1..1, with a few that are much larger.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|i| next() * next() * if i % 61 == 7 { 3.0 } else { 1.0 }).collect()
}

pub fn constant(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let n = dims.iter().product();
    g.add_const(name, Tensor::new(dims, numbers(n, n as u32)))
}

/// A first convolution, a depthwise one, a 3x3, a transposed one, then three products.
pub fn network() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", TensorType::new(DType::F32, [1usize, 3, 6, 6]));
    let attrs = |pads: i64, group: i64| Attrs::new().with("pads", vec![pads; 4]).with("group", group);
    let w = constant(&mut g, "w0", &[32, 3, 3, 3]);
    let y = g.emit(NodeSpec::new(&conv::CONV, [x, w]).attrs(attrs(1, 1)).named("stem").outputs(["stem_y"])).unwrap();
    let y = g.emit(NodeSpec::new(&activation::RELU, [y])).unwrap();
    let w = constant(&mut g, "w1", &[32, 1, 3, 3]);
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w]).attrs(attrs(1, 32)).named("dw")).unwrap();
    let w = constant(&mut g, "w2", &[48, 32, 3, 3]);
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w]).attrs(attrs(0, 1)).named("dense")).unwrap();
    let w = constant(&mut g, "w3", &[48, 16, 3, 3]);
    let y = g.emit(NodeSpec::new(&conv_transpose::CONV_TRANSPOSE, [y, w]).named("up")).unwrap();
    let flat = g.add_const("flat", Tensor::ints(&[36, 16]));
    let y = g.emit(NodeSpec::new(&mnnc_ops::family::reshape::RESHAPE, [y, flat])).unwrap();
    let w = constant(&mut g, "w4", &[16, 96]);
    let y = g.emit(NodeSpec::new(&linear::MATMUL, [y, w]).named("right")).unwrap();
    let w = constant(&mut g, "w5", &[64, 96]);
    let attrs = Attrs::new().with("transB", true);
    let y = g.emit(NodeSpec::new(&linear::GEMM, [y, w]).attrs(attrs).named("gemm")).unwrap();
    let w = constant(&mut g, "w6", &[40, 36]);
    let y = g.emit(NodeSpec::new(&linear::MATMUL, [w, y]).named("left")).unwrap();
    g.set_results(g.main(), vec![y]);
    g
}

/// `10 log10(sum ref^2 / sum (ref - got)^2)`.
pub fn decibels(reference: &[f64], got: &[f64]) -> f64 {
    let signal: f64 = reference.iter().map(|x| x * x).sum();
    let noise: f64 = reference.iter().zip(got).map(|(a, b)| (a - b) * (a - b)).sum();
    10.0 * (signal / noise).log10()
}
