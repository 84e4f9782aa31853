//! Kernels on packed weights against the reference evaluation of the graph that dequantises them, and the size of what they read.

use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::{KernelCode, Schedule, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;
use rayon::prelude::*;

/// How a constant is compressed.
#[derive(Copy, Clone, Debug)]
struct Scheme {
    /// 16 for half floats, 8 or 4 for integers.
    bits: u32,
    zero: bool,
    unsigned: bool,
    /// Input channels that share a factor; 0 for one an output channel.
    block: usize,
    half_scales: bool,
    one_scale: bool,
}

impl Scheme {
    fn random(g: &mut Gen, blocks: &[usize]) -> Scheme {
        Scheme {
            bits: g.pick(&[16, 8, 8, 4, 4]),
            zero: g.coin(),
            unsigned: g.coin(),
            block: if g.coin() { 0 } else { g.pick(blocks) },
            half_scales: g.coin(),
            one_scale: g.below(8) == 0,
        }
    }
}

fn emit(graph: &mut Graph, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    let spec = NodeSpec::new(mnnc_ops::lookup(op).expect("an op"), inputs.iter().copied()).attrs(attrs).outputs(["y"]);
    graph.emit(spec).unwrap_or_else(|e| panic!("{op}: {e:?}"))
}

/// A compressed constant of shape `dims`, whose dimension `output` has factors of its own and `input` blocks of them.
fn compressed(graph: &mut Graph, g: &mut Gen, dims: &[usize], output: usize, input: usize, s: Scheme) -> ValueId {
    let n: usize = dims.iter().product();
    if s.bits == 16 {
        let values: Vec<half::f16> = (0..n).map(|_| half::f16::from_f32(g.below(2001) as f32 / 1000.0 - 1.0)).collect();
        let c = graph.add_const("c", Tensor::new(dims, values));
        return emit(graph, "cast", &[c], Attrs::new().with("to", DType::F32));
    }
    let levels = 1usize << s.bits;
    let low = if s.unsigned { 0 } else { -(levels as i64 / 2) };
    let numbers = |g: &mut Gen, dims: &[usize]| {
        let n: usize = dims.iter().product();
        let all: Vec<i64> = (0..n).map(|_| low + g.below(levels) as i64).collect();
        match s.unsigned {
            true => Tensor::new(dims, all.iter().map(|&x| x as u8).collect::<Vec<u8>>()),
            false => Tensor::new(dims, all.iter().map(|&x| x as i8).collect::<Vec<i8>>()),
        }
    };
    let (scales, block) = match s {
        Scheme { one_scale: true, .. } => (vec![], 0),
        Scheme { block: 0, .. } => (vec![dims[output]], 0),
        Scheme { block, .. } => {
            let mut scales = dims.to_vec();
            scales[input] = dims[input].div_ceil(block);
            (scales, block)
        }
    };
    let count: usize = scales.iter().product();
    let factor = 2.0 / levels as f32;
    let values =
        (0..count).map(|_| factor * (1.0 + g.below(64) as f32 / 64.0) + if s.half_scales { 0.0 } else { 1e-7 });
    let scale = graph.add_const("scale", Tensor::new(&scales[..], values.collect::<Vec<f32>>()));
    let q = graph.add_const("q", numbers(g, dims));
    let mut inputs = vec![q, scale];
    if s.zero || s.unsigned {
        inputs.push(graph.add_const("zero", numbers(g, &scales)));
    }
    let axis = if block > 0 { input } else { output };
    let attrs = Attrs::new().with("axis", axis as i64).with("block_size", block as i64).with("bits", i64::from(s.bits));
    emit(graph, "dequantize_linear", &inputs, attrs)
}

/// The largest difference, relative to the sum of magnitudes that rounding can move.
fn check(graph: &Graph, input: &Tensor, target: Target, split: bool, what: &str) -> Schedule {
    let expected = Evaluator::new(graph).run(std::slice::from_ref(input)).expect("evaluates").remove(0);
    let schedule = lower(graph, &target, families::ALL).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let shape = [(DType::F32, expected.dims().to_vec())];
    let got = Machine::new(&schedule).run(std::slice::from_ref(input), &shape, split).remove(0);
    let largest = expected.view::<f32>().iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
        assert!(
            (a - b).abs() <= 1e-5 * largest + 1e-5 * b.abs(),
            "{target} {what}: element {i} is {a}, not {b} of {largest}"
        );
    }
    schedule
}

fn packed(s: &Schedule) -> bool {
    s.kernels.iter().any(|(_, k)| ["_f16", "_i8", "_i4"].iter().any(|p| k.name.contains(p)))
}

fn has_loops(s: &Schedule) -> bool {
    s.kernels.iter().any(|(_, k)| matches!(k.code, KernelCode::Loops(_)))
}

fn convolution(g: &mut Gen) -> (Graph, Tensor, String, bool) {
    let groups = g.pick(&[1, 1, 1, 1, 2, 3]);
    let whole = g.coin();
    let channels = |g: &mut Gen| if groups == 1 { 1 + g.below(100) } else { g.pick(&[16, 32, 5]) };
    let (inputs, outputs) = (channels(g), channels(g));
    let kernel = g.pick(&[[1, 1], [1, 1], [3, 3], [1, 5], [7, 2]]);
    let size = [kernel[0] + g.below(9), kernel[1] + g.below(20)];
    let mut graph = Graph::new("conv");
    let dims = [1 + g.below(2), groups * inputs, size[0], size[1]];
    let x = graph.add_input("x", TensorType::new(DType::F32, dims));
    let s = Scheme::random(g, &[8, 16, 32, 64, 7]);
    let w = compressed(&mut graph, g, &[groups * outputs, inputs, kernel[0], kernel[1]], 0, 1, s);
    let mut operands = vec![x, w];
    if whole {
        operands.push(graph.add_const("b", g.f32s(&[groups * outputs])));
    }
    let stride = vec![1 + g.below(2) as i64, 1 + g.below(2) as i64];
    let pads = vec![kernel[0] as i64 / 2, kernel[1] as i64 / 2, 0, 0];
    let attrs = Attrs::new().with("group", groups as i64).with("strides", stride).with("pads", pads);
    let y = emit(&mut graph, "conv", &operands, attrs);
    graph.set_results(graph.main(), vec![y]);
    let what = format!("{inputs}->{outputs} groups {groups} {kernel:?} {dims:?} {s:?}");
    let must = groups == 1 && inputs > 4 && (s.block == 0 || s.one_scale || s.bits == 16);
    (graph, g.f32s(&dims), what, must)
}

#[test]
fn convolutions_equal_the_reference() {
    for target in native_targets() {
        (0..600u64).into_par_iter().for_each(|seed| {
            let mut g = Gen::new(seed);
            let (graph, input, what, must) = convolution(&mut g);
            let schedule = check(&graph, &input, target, seed % 2 == 0, &format!("seed {seed}: {what}"));
            assert!(!has_loops(&schedule), "{what}: not by tuned kernels alone");
            assert!(packed(&schedule) || !must, "{target} {what}: weights are not packed");
        });
    }
}

#[test]
fn products_equal_the_reference() {
    for target in native_targets() {
        (0..600u64).into_par_iter().for_each(|seed| {
            let mut g = Gen::new(7000 + seed);
            let rows = if g.coin() { 1 } else { 1 + g.below(60) };
            let (depth, cols) = (1 + g.below(150), 1 + g.below(150));
            let mut graph = Graph::new("product");
            let x = graph.add_input("x", TensorType::new(DType::F32, [rows, depth]));
            let s = Scheme::random(&mut g, &[8, 16, 32, 64, 7]);
            let op = if g.coin() { "gemm" } else { "matmul" };
            let transposed = op == "gemm" && g.coin();
            let w = match transposed {
                true => compressed(&mut graph, &mut g, &[cols, depth], 0, 1, s),
                false => compressed(&mut graph, &mut g, &[depth, cols], 1, 0, s),
            };
            let mut attrs = Attrs::new();
            let mut alpha = 1.0;
            if op == "gemm" {
                alpha = g.pick(&[1.0, 0.75]);
                attrs = attrs.with("transB", transposed).with("alpha", alpha);
            }
            let y = emit(&mut graph, op, &[x, w], attrs);
            let y = if g.coin() { emit(&mut graph, "relu", &[y], Attrs::new()) } else { y };
            graph.set_results(graph.main(), vec![y]);
            let what = format!("seed {seed}: {op} {rows}x{depth}x{cols} transposed {transposed} {s:?}");
            let schedule = check(&graph, &g.f32s(&[rows, depth]), target, seed % 2 == 0, &what);
            let must = s.block != 7 && (s.bits != 16 || alpha == 1.0);
            // Zero points of unsigned blocks may need nine bits.
            let blocks = s.block > 0 && s.unsigned && !s.one_scale;
            assert!(packed(&schedule) || !must || blocks, "{target} {what}: weights are not packed");
        });
    }
}

/// A compressed constant that is also read as numbers, or is a result, exists in both forms.
#[test]
fn other_readers_get_numbers() {
    for target in native_targets() {
        let mut g = Gen::new(1);
        let mut graph = Graph::new("both");
        let x = graph.add_input("x", TensorType::new(DType::F32, [2usize, 40]));
        let s = Scheme { bits: 4, zero: true, unsigned: false, block: 0, half_scales: true, one_scale: false };
        let w = compressed(&mut graph, &mut g, &[40, 40], 1, 0, s);
        let y = emit(&mut graph, "matmul", &[x, w], Attrs::new());
        let n = emit(&mut graph, "neg", &[w], Attrs::new());
        let n = emit(&mut graph, "matmul", &[y, n], Attrs::new());
        graph.set_results(graph.main(), vec![n]);
        check(&graph, &g.f32s(&[2, 40]), target, false, "two readers");
    }
}

/// What kernels read is as small as what the graph stores.
#[test]
fn weights_are_packed() {
    let size = |bits: u32, block: usize, zero: bool| {
        let mut g = Gen::new(3);
        let mut graph = Graph::new("size");
        let x = graph.add_input("x", TensorType::new(DType::F32, [1usize, 64, 14, 14]));
        let s = Scheme { bits, zero, unsigned: false, block, half_scales: true, one_scale: false };
        let w = compressed(&mut graph, &mut g, &[128, 64, 3, 3], 0, 1, s);
        let pads = Attrs::new().with("pads", vec![1i64; 4]);
        let y = emit(&mut graph, "conv", &[x, w], pads);
        let y = emit(&mut graph, "global_average_pool", &[y], Attrs::new());
        let y = emit(&mut graph, "flatten", &[y], Attrs::new());
        let v = compressed(&mut graph, &mut g, &[128, 1024], 1, 0, s);
        let y = emit(&mut graph, "matmul", &[y, v], Attrs::new());
        graph.set_results(graph.main(), vec![y]);
        lower(&graph, &Target::AVX512, families::ALL).expect("lowers").weights.len() as f64
    };
    let elements = (128 * 64 * 9 + 128 * 1024) as f64;
    // Beside the weights: a bias, and where there are no blocks a factor and a zero point, in four bytes each.
    let channels = |vectors: f64| (128.0 + 1024.0) * 4.0 * vectors + 256.0;
    assert!(size(16, 0, false) <= 2.0 * elements + channels(1.0));
    assert!(size(8, 0, false) <= elements + channels(2.0));
    assert!(size(8, 0, true) <= elements + channels(3.0));
    assert!(size(4, 0, false) <= 0.5 * elements + channels(2.0));
    assert!(size(4, 32, false) <= (0.5 + 2.0 / 32.0) * elements + channels(1.0));
    assert!(size(4, 32, true) <= (0.5 + 3.0 / 32.0) * elements + channels(1.0));
}
