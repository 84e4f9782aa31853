//! Weights in every form that the format has, in MNN against the reference evaluator on the same weights.

use crate::mnn::engine::{self, Case};
use half::f16;
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, ValueId};
use mnnc_mnn::WriteOptions;
use mnnc_ops::{Evaluator, sample::Gen};
use std::time::Duration;

/// Most that MNN may be off in its low-memory mode, where it rounds activations to 8 bits: root of the mean square, as a
/// share of the result's.
const LOW_MEMORY: f64 = 0.02;

/// How the weights of a case are stored.
#[derive(Clone, Copy, Debug)]
enum Coding {
    Half,
    Integers { bits: i64, dtype: DType, symmetric: bool, scales: Scales },
}

#[derive(Clone, Copy, Debug)]
enum Scales {
    One,
    /// One for each index of this dim.
    Axis(usize),
    /// One for so many indices of this dim.
    Blocks(usize, usize),
}

/// A layer: the op, its weight's shape, the input's, attributes.
#[derive(Clone, Debug)]
struct Layer {
    op: &'static str,
    x: Vec<usize>,
    w: Vec<usize>,
    attrs: Attrs,
    /// The dim of output channels, the dim of input channels.
    axes: (usize, usize),
}

fn layer(op: &'static str, x: &[usize], w: &[usize], attrs: Attrs) -> Layer {
    let axes = match op {
        "conv" => (0, 1),
        "conv_transpose" => (1, 0),
        "gemm" => (0, 1),
        _ => (1, 0),
    };
    Layer { op, x: x.to_vec(), w: w.to_vec(), attrs, axes }
}

fn layers() -> Vec<Layer> {
    let ints = |list: &[i64]| list.to_vec();
    let pads = |p: i64| Attrs::new().with("pads", ints(&[p; 4]));
    let group = |g: i64| pads(1).with("group", g);
    vec![
        layer("conv", &[1, 5, 9, 8], &[7, 5, 3, 3], pads(1)),
        layer("conv", &[2, 17, 6, 6], &[33, 17, 1, 1], Attrs::new()),
        layer("conv", &[1, 48, 7, 7], &[24, 48, 3, 3], pads(1).with("strides", ints(&[2, 2]))),
        layer("conv", &[1, 64, 5, 5], &[40, 64, 1, 1], Attrs::new()),
        layer("conv", &[1, 20, 6, 6], &[9, 20, 1, 1], Attrs::new()),
        layer("conv", &[1, 16, 11], &[6, 16, 5], Attrs::new()),
        layer("conv", &[1, 12, 8, 8], &[18, 4, 3, 3], group(3)),
        layer("conv", &[1, 64, 6, 6], &[32, 32, 1, 1], Attrs::new().with("group", 2i64)),
        layer("conv", &[1, 13, 9, 9], &[13, 1, 3, 3], group(13)),
        layer("conv", &[2, 32, 9, 9], &[32, 1, 5, 5], group(32)),
        layer("conv_transpose", &[1, 6, 5, 5], &[6, 10, 3, 3], Attrs::new().with("strides", ints(&[2, 2]))),
        layer("conv_transpose", &[1, 32, 4, 4], &[32, 7, 2, 2], Attrs::new().with("strides", ints(&[2, 2]))),
        layer("conv_transpose", &[1, 8, 5, 5], &[8, 3, 3, 3], Attrs::new().with("group", 2i64)),
        layer("conv_transpose", &[1, 9, 5, 5], &[9, 1, 3, 3], Attrs::new().with("group", 9i64)),
        layer("matmul", &[4, 37], &[37, 21], Attrs::new()),
        layer("matmul", &[2, 3, 64], &[64, 10], Attrs::new()),
        layer("gemm", &[3, 64], &[19, 64], Attrs::new().with("transB", true).with("alpha", 0.5f32)),
    ]
}

fn codings(layer: &Layer, random: &mut Gen) -> Vec<Coding> {
    let (outputs, inputs) = layer.axes;
    let mut list = vec![Coding::Half];
    for bits in 2..=8 {
        let dtype = if random.below(2) == 0 { DType::I8 } else { DType::U8 };
        let symmetric = random.below(2) == 0;
        list.push(Coding::Integers { bits, dtype, symmetric, scales: Scales::Axis(outputs) });
    }
    for scales in [
        Scales::One,
        Scales::Axis(inputs),
        Scales::Blocks(inputs, 16),
        Scales::Blocks(inputs, 32),
        Scales::Blocks(inputs, 5),
    ] {
        for symmetric in [true, false] {
            let bits = [4, 8, 3, 6][random.below(4)];
            list.push(Coding::Integers { bits, dtype: DType::I8, symmetric, scales });
        }
    }
    list
}

/// The weights of a layer behind the op that decodes them.
fn weights(g: &mut Graph, dims: &[usize], coding: Coding, random: &mut Gen) -> ValueId {
    let lookup = |op: &str| mnnc_ops::lookup(op).expect("an op");
    let Coding::Integers { bits, dtype, symmetric, scales } = coding else {
        let halves: Vec<f16> =
            random.tensor(DType::F32, dims, -1.0, 1.0).view::<f32>().iter().map(|&x| f16::from_f32(x)).collect();
        let w = g.add_const("w", Tensor::new(dims, halves));
        return g.emit(NodeSpec::new(lookup("cast"), [w]).attrs(Attrs::new().with("to", DType::F32))).expect("a cast");
    };
    let half = 1i64 << (bits - 1);
    let least = if dtype == DType::U8 { 0 } else { -half };
    let integers = |random: &mut Gen, dims: &[usize], low: i64, high: i64| -> Tensor {
        let n: usize = dims.iter().product();
        let list: Vec<i64> =
            (0..n).map(|_| low + random.below(usize::try_from(high - low + 1).expect("a range")) as i64).collect();
        match dtype {
            DType::U8 => Tensor::new(dims, list.into_iter().map(|x| x as u8).collect()),
            _ => Tensor::new(dims, list.into_iter().map(|x| x as i8).collect()),
        }
    };
    let mut attrs = Attrs::new().with("bits", bits);
    let scale_dims: Vec<usize> = match scales {
        Scales::One => vec![],
        Scales::Axis(axis) => {
            attrs = attrs.with("axis", axis as i64);
            vec![dims[axis]]
        }
        Scales::Blocks(axis, block) => {
            attrs = attrs.with("axis", axis as i64).with("block_size", block as i64);
            dims.iter().enumerate().map(|(i, &d)| if i == axis { d.div_ceil(block) } else { d }).collect()
        }
    };
    let mut scale = random.tensor(DType::F32, &scale_dims, 0.2 / half as f64, 1.0 / half as f64);
    let mut zero = match symmetric {
        true => integers(random, &scale_dims, least + half, least + half),
        false => integers(random, &scale_dims, least, least + 2 * half - 1),
    };
    if let (Scales::Blocks(..), true) = (scales, dims.len() > 2) {
        // All taps of a window share a scale.
        (scale, zero) = (over_taps(&scale), over_taps(&zero));
    }
    let w = integers(random, dims, least, least + 2 * half - 1);
    let w = g.add_const("w", w);
    let scale = g.add_const("w_scale", scale);
    let zero = g.add_const("w_zero", zero);
    g.emit(NodeSpec::new(lookup("dequantize_linear"), [w, scale, zero]).attrs(attrs)).expect("weights")
}

/// A tensor whose elements are those of the first tap everywhere.
fn over_taps(t: &Tensor) -> Tensor {
    let taps: usize = t.dims()[2..].iter().product();
    let size = t.dtype().size();
    let bytes: Vec<u8> = (0..t.len())
        .flat_map(|i| {
            let first = i / taps * taps;
            t.bytes()[first * size..(first + 1) * size].to_vec()
        })
        .collect();
    Tensor::from_bytes(t.dtype(), t.dims(), mnnc_ir::bytes::Bytes::from_vec(bytes)).expect("the same shape")
}

fn graph(layer: &Layer, coding: Coding, random: &mut Gen) -> Graph {
    let mut g = Graph::new("compressed");
    let x = g.add_input("x", Tensor::new(layer.x.clone(), vec![0f32; layer.x.iter().product()]).ty());
    let w = weights(&mut g, &layer.w, coding, random);
    let op = mnnc_ops::lookup(layer.op).expect("an op");
    let y = g.add_node(NodeSpec::new(op, [x, w]).attrs(layer.attrs.clone()).outputs(["y"])).expect("a layer");
    let y = g.node(y).outputs().to_vec();
    g.set_results(g.main(), y);
    g
}

/// Whether the weights may stay integers: the engine computes on them only where all input channels, or blocks of 16, share a scale.
fn stays_coded(layer: &Layer, coding: Coding) -> bool {
    let inputs = layer.w[layer.axes.1];
    match coding {
        Coding::Half => true,
        _ if layer.op == "conv_transpose" => true,
        Coding::Integers { scales: Scales::Axis(axis), .. } => axis == layer.axes.0 || inputs == 1,
        Coding::Integers { scales: Scales::Blocks(_, block), .. } => {
            inputs <= block || (block.is_multiple_of(16) && inputs.is_multiple_of(16))
        }
        Coding::Integers { scales: Scales::One, .. } => true,
    }
}

fn is_coded(model: &[u8]) -> bool {
    let net = mnnc_schema::mnn::root(model).expect("a file");
    let convs: Vec<_> = net.oplists().into_iter().flatten().filter_map(|op| op.main_as_convolution2_d()).collect();
    !convs.is_empty() && convs.iter().all(|conv| conv.weight().is_none() && conv.quan_parameter().is_some())
}

#[test]
fn every_coding_of_every_layer_is_right() {
    let Some(python) = mnnc_tests::python() else { return };
    let mut random = Gen::new(11);
    let (mut cases, mut wanted) = (Vec::new(), Vec::new());
    for layer in layers() {
        for coding in codings(&layer, &mut random) {
            let g = graph(&layer, coding, &mut random);
            let x = random.tensor(DType::F32, &layer.x, -1.0, 2.0);
            let want = Evaluator::new(&g).run(std::slice::from_ref(&x)).expect("it evaluates").remove(0);
            let model =
                mnnc_mnn::write(&g, &WriteOptions::default()).unwrap_or_else(|e| panic!("{layer:?} {coding:?}: {e}"));
            assert_eq!(is_coded(&model), stays_coded(&layer, coding), "{layer:?} {coding:?}");
            for memory in ["normal", "low"] {
                let name = format!("{} {:?} {:?} {coding:?} {memory}", layer.op, layer.w, layer.attrs);
                let inputs = vec![("x".to_string(), x.clone())];
                cases.push(Case {
                    model: model.clone(),
                    api: "module",
                    memory,
                    inputs,
                    outputs: vec!["y".into()],
                    beside: None,
                });
                wanted.push((name, memory, want.clone()));
            }
        }
    }
    let outcomes: Vec<_> =
        cases.chunks(100).flat_map(|batch| engine::run(python, batch, Duration::from_secs(60))).collect();
    let mut bad = Vec::new();
    for (outcome, (name, memory, want)) in outcomes.into_iter().zip(&wanted) {
        let verdict = outcome.and_then(|got| match *memory {
            "low" => Ok(engine::rms(&got[0], want) / LOW_MEMORY),
            _ => engine::error(&got[0], want),
        });
        match verdict {
            Ok(error) if error <= 1.0 => {}
            Ok(error) => bad.push(format!("{name}: {error:.2} times what is allowed")),
            Err(reason) => bad.push(format!("{name}: {reason}")),
        }
    }
    println!("{} cases, {} bad", wanted.len(), bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
