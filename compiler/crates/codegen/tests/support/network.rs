//! A small network that uses what drivers and writers have to get right: weights, several inputs and outputs, intermediate
//! results, a concatenation in place, views, a reduction, library functions.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType};

/// Deterministic numbers in -1 .. 1.
pub fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The network and inputs for it.
pub fn network() -> (Graph, Vec<Tensor>) {
    let op = |n: &str| mnnc_ops::lookup(n).unwrap_or_else(|| panic!("no op {n}"));
    let mut g = Graph::new("tiny.net");
    let x = g.add_input("x", TensorType::new(DType::F32, [1usize, 3, 10, 10]));
    let k = g.add_input("k", TensorType::new(DType::I64, [2usize]));
    let w = g.add_const("w", Tensor::new(vec![8, 3, 3, 3], floats(216, 1)));
    let b = g.add_const("b", Tensor::new(vec![8], floats(8, 2)));
    let fc = g.add_const("fc", Tensor::new(vec![2 * 8 * 100, 5], floats(8000, 3)));
    let shape = g.add_const("shape", Tensor::ints(&[1, 1600]));
    let conv = NodeSpec::new(op("conv"), [x, w, b]).attrs(Attrs::new().with("pads", vec![1i64; 4]));
    let conv = g.emit(conv).unwrap();
    let relu = g.emit(NodeSpec::new(op("relu"), [conv])).unwrap();
    let tanh = g.emit(NodeSpec::new(op("tanh"), [conv])).unwrap();
    let cat = NodeSpec::new(op("concat"), [relu, tanh]).attrs(Attrs::new().with("axis", 1i64));
    let cat = g.emit(cat).unwrap();
    let flat = g.emit(NodeSpec::new(op("reshape"), [cat, shape])).unwrap();
    let fc = g.emit(NodeSpec::new(op("matmul"), [flat, fc])).unwrap();
    let prob = g.emit(NodeSpec::new(op("softmax"), [fc]).attrs(Attrs::new().with("axis", -1i64))).unwrap();
    let erf = g.emit(NodeSpec::new(op("erf"), [tanh])).unwrap();
    let kk = g.emit(NodeSpec::new(op("mul"), [k, k])).unwrap();
    for (v, name) in [(prob, "prob"), (erf, "features/erf"), (kk, "k squared")] {
        g.rename_value(v, name);
    }
    g.set_results(g.main(), vec![prob, erf, kk]);
    let feeds = vec![Tensor::new(vec![1, 3, 10, 10], floats(300, 9)), Tensor::ints(&[-7, 1 << 20])];
    (g, feeds)
}
