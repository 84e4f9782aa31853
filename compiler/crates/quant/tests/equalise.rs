//! Equalised networks compute the same, and use more of the ranges that channels share.

use std::collections::HashMap;

use crate::support::{decibels, numbers};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::Evaluator;
use mnnc_ops::family::{activation, clip, conv, pool};
use mnnc_quant::calibrate::{Channels, Class, classes, equalise};

const DIMS: [usize; 4] = [2, 3, 8, 8];

/// Weights whose output channels differ a hundredfold.
fn uneven(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let n: usize = dims.iter().product();
    let row = n / dims[0];
    let scale = |i: usize| 10f32.powi((i / row % 3) as i32 - 2);
    let values = numbers(n, n as u32).iter().enumerate().map(|(i, x)| x * scale(i)).collect::<Vec<f32>>();
    g.add_const(name, Tensor::new(dims, values))
}

/// conv, relu or relu6, depthwise, relu, max pool, conv, sum with the pool, conv.
fn network(cap: Option<f32>) -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", TensorType::new(DType::F32, DIMS));
    let bias = |g: &mut Graph, n: usize| g.add_const("b", Tensor::new([n], numbers(n, 77)));
    let pads = || Attrs::new().with("pads", vec![1i64; 4]);
    let (w, b) = (uneven(&mut g, "w0", &[9, 3, 3, 3]), bias(&mut g, 9));
    let y = g.emit(NodeSpec::new(&conv::CONV, [x, w, b]).attrs(pads()).named("a")).unwrap();
    let y = match cap {
        None => g.emit(NodeSpec::new(&activation::RELU, [y])).unwrap(),
        Some(cap) => {
            let (low, high) = (g.add_const("low", Tensor::scalar(0f32)), g.add_const("high", Tensor::scalar(cap)));
            g.emit(NodeSpec::new(&clip::CLIP, [y, low, high])).unwrap()
        }
    };
    let (w, b) = (uneven(&mut g, "w1", &[9, 1, 3, 3]), bias(&mut g, 9));
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w, b]).attrs(pads().with("group", 9i64)).named("dw")).unwrap();
    let y = g.emit(NodeSpec::new(&activation::RELU, [y])).unwrap();
    let pooled = Attrs::new().with("kernel_shape", vec![2i64, 2]).with("strides", vec![2i64, 2]);
    let y = g.emit(NodeSpec::new(&pool::MAX_POOL, [y]).attrs(pooled)).unwrap();
    let w = uneven(&mut g, "w2", &[9, 9, 1, 1]);
    let z = g.emit(NodeSpec::new(&conv::CONV, [y, w]).named("c")).unwrap();
    let y = g.emit(NodeSpec::new(mnnc_ops::lookup("add").unwrap(), [y, z])).unwrap();
    let w = uneven(&mut g, "w3", &[10, 9, 1, 1]);
    let y = g.emit(NodeSpec::new(&conv::CONV, [y, w]).named("d")).unwrap();
    g.set_results(g.main(), vec![y]);
    g
}

fn input() -> Tensor {
    Tensor::new(DIMS, numbers(384, 4))
}

/// The results of a graph on the input, those of `values` behind.
fn run(g: &Graph, values: &[ValueId]) -> Vec<Tensor> {
    let mut g = g.clone();
    let results = g.outputs().iter().chain(values).copied().collect();
    g.set_results(g.main(), results);
    Evaluator::new(&g).run(&[input()]).unwrap()
}

fn known(g: &Graph, classes: &[Class]) -> HashMap<ValueId, Channels> {
    let values: Vec<ValueId> = classes.iter().flat_map(|c| c.values.clone()).collect();
    let seen = run(g, &values);
    values.iter().copied().zip(seen.iter().skip(g.outputs().len()).map(Channels::of)).collect()
}

/// Least channel of a value over the largest, in magnitude.
fn evenness(c: &Channels) -> f32 {
    let most = c.largest.iter().copied().fold(0.0, f32::max);
    c.largest.iter().copied().fold(most, f32::min) / most
}

fn check(cap: Option<f32>) {
    let float = network(cap);
    let found = classes(&float);
    assert_eq!(found.len(), 2, "behind the first layer, and from the depthwise one on");
    let before = known(&float, &found);
    let mut g = float.clone();
    let scaled = equalise(&mut g, &found, &before);
    g.verify().unwrap();
    assert!(scaled > 0);
    let decibels = decibels(&run(&float, &[])[0].to_f64s(), &run(&g, &[])[0].to_f64s());
    assert!(decibels > 100.0, "{decibels} dB");
    let after = known(&g, &found);
    let better = before.iter().filter(|(v, c)| evenness(&after[v]) > 1.5 * evenness(c)).count();
    assert!(better > 0, "no channels became alike");
}

#[test]
fn results_stay() {
    check(None);
}

/// What nothing seen reaches, and what much of it does.
#[test]
fn limits_stay() {
    check(Some(6.0));
    check(Some(0.5));
}

#[test]
fn dead_channels_are_left_alone() {
    let mut float = network(None);
    let (node, weight) = {
        let (n, node) = float.nodes().find(|(_, n)| n.name == "dw").unwrap();
        (n, node.input(1).unwrap())
    };
    let mut w = float.constant(weight).unwrap().to_vec::<f32>();
    w[9..18].fill(0.0);
    let dead = float.add_const("dead", Tensor::new([9, 1, 3, 3], w));
    let none = float.add_const("none", Tensor::new([9], vec![0f32; 9]));
    float.set_input(node, 1, Some(dead));
    float.set_input(node, 2, Some(none));
    let found = classes(&float);
    let mut g = float.clone();
    equalise(&mut g, &found, &known(&float, &found));
    let (a, b) = (run(&float, &[])[0].to_f64s(), run(&g, &[])[0].to_f64s());
    assert!(b.iter().all(|x| x.is_finite()) && decibels(&a, &b) > 100.0);
}
