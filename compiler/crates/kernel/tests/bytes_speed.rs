//! Speed of what works on bytes against the same in floats: run with `--release -- --ignored --nocapture`.

use crate::support::bytes::{Net, bytes, signed};
use crate::support::{Machine, byte_targets};
use mnnc_ir::{Attrs, DType, Tensor, ValueId};
use mnnc_kernel::{Schedule, families, lower};
use mnnc_ops::sample::Gen;
use std::time::Instant;

/// Seconds of the steps that compute, best of many runs.
fn best(schedule: &mut Schedule) -> f64 {
    schedule.steps.retain(|s| s.flops > 0);
    let mut m = Machine::new(schedule);
    m.clear();
    let mut best = f64::MAX;
    let start = Instant::now();
    while start.elapsed().as_millis() < 150 {
        let t = Instant::now();
        m.run_steps(false);
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

fn requantise(net: &mut Net, x: ValueId, zero: f32) -> ValueId {
    let y = net.op("round", &[x]);
    let zero = net.number(zero);
    let y = net.op("add", &[y, zero]);
    net.cast(y, DType::U8)
}

fn dequantise(net: &mut Net, x: ValueId, scale: f32) -> ValueId {
    let (zero, scale) = (net.number(128.0), net.number(scale));
    let x = net.cast(x, DType::F32);
    let x = net.op("sub", &[x, zero]);
    net.op("mul", &[x, scale])
}

/// The layer in floats or in bytes: depthwise (kernel, stride), 2x2 max pooling, global average, sum of two.
#[derive(Copy, Clone, Debug)]
enum Layer {
    Depthwise(usize, usize),
    MaxPool,
    GlobalAverage,
    Sum,
}

fn layer(layer: Layer, channels: usize, size: usize, in_bytes: bool) -> Net {
    let mut g = Gen::new(1);
    let mut net = Net::new();
    let dims = [1, channels, size, size];
    let data = |g: &mut Gen| if in_bytes { bytes(g, &dims) } else { g.f32s(&dims) };
    let x = net.input(data(&mut g));
    let z = if matches!(layer, Layer::Sum) { Some(net.input(data(&mut g))) } else { None };
    let window = |k: usize, s: usize, pad: usize| {
        Attrs::new()
            .with("kernel_shape", vec![k as i64; 2])
            .with("strides", vec![s as i64; 2])
            .with("pads", vec![pad as i64; 4])
    };
    if !(in_bytes && matches!(layer, Layer::MaxPool)) {
        net.open();
    }
    let y = match layer {
        Layer::Depthwise(k, s) => {
            let attrs = window(k, s, k / 2).with("group", channels as i64);
            let weights = [channels, 1, k, k];
            if in_bytes {
                let w = signed(&mut g, &weights);
                let (w, zero) = (net.constant(w), net.constant(Tensor::scalar(0u8)));
                let sums = net.emit("conv_integer", &[x, w, zero], attrs);
                let scales = net.constant(Tensor::new([channels, 1, 1], vec![0.001f32; channels]));
                let sums = net.cast(sums, DType::F32);
                let sums = net.op("mul", &[sums, scales]);
                let bias = net.constant(Tensor::new([channels, 1, 1], vec![0.5f32; channels]));
                net.op("add", &[sums, bias])
            } else {
                let w = g.f32s(&weights);
                let bias = g.f32s(&[channels]);
                let (w, bias) = (net.constant(w), net.constant(bias));
                let y = net.emit("conv", &[x, w, bias], attrs);
                let (low, high) = (net.number(0.0), net.number(6.0));
                net.op("clip", &[y, low, high])
            }
        }
        Layer::MaxPool => net.emit("max_pool", &[x], window(3, 2, 1)),
        Layer::GlobalAverage => {
            let x = if in_bytes { dequantise(&mut net, x, 0.1) } else { x };
            let y = net.op("global_average_pool", &[x]);
            if in_bytes { y } else { net.op("relu", &[y]) }
        }
        Layer::Sum => {
            let z = z.expect("an operand");
            let (x, z) = if in_bytes { (dequantise(&mut net, x, 0.31), dequantise(&mut net, z, 0.77)) } else { (x, z) };
            net.op("add", &[x, z])
        }
    };
    let y = match layer {
        Layer::MaxPool if in_bytes => y,
        Layer::Depthwise(..) | Layer::Sum if in_bytes => requantise(&mut net, y, 3.0),
        Layer::MaxPool | Layer::Sum => net.op("relu", &[y]),
        _ => y,
    };
    let y = if in_bytes && matches!(layer, Layer::MaxPool) { y } else { net.close(y) };
    net.graph.set_results(net.graph.main(), vec![y]);
    net
}

#[test]
#[ignore = "a measurement"]
fn bytes_against_floats() {
    let layers = [
        (Layer::Depthwise(3, 1), 32, 112),
        (Layer::Depthwise(3, 2), 96, 112),
        (Layer::Depthwise(3, 1), 144, 56),
        (Layer::Depthwise(3, 2), 144, 56),
        (Layer::Depthwise(3, 1), 192, 28),
        (Layer::Depthwise(3, 1), 384, 14),
        (Layer::Depthwise(3, 1), 576, 14),
        (Layer::Depthwise(3, 2), 576, 14),
        (Layer::Depthwise(3, 1), 960, 7),
        (Layer::Depthwise(5, 1), 120, 28),
        (Layer::Depthwise(5, 2), 240, 28),
        (Layer::Depthwise(5, 1), 672, 14),
        (Layer::MaxPool, 64, 112),
        (Layer::GlobalAverage, 1280, 7),
        (Layer::Sum, 24, 56),
        (Layer::Sum, 64, 14),
        (Layer::Sum, 256, 56),
    ];
    for target in byte_targets() {
        for (kind, channels, size) in layers {
            let time = |in_bytes: bool| {
                let net = layer(kind, channels, size, in_bytes);
                let schedule = lower(&net.graph, &target, families::ALL).expect("lowers");
                best(&mut schedule.clone())
            };
            let (floats, integers) = (time(false), time(true));
            println!(
                "{:16} {kind:?} {channels}x{size}: {:7.1} us in f32, {:7.1} in u8, {:.2}x",
                target.full_name(),
                floats * 1e6,
                integers * 1e6,
                floats / integers
            );
        }
    }
}
