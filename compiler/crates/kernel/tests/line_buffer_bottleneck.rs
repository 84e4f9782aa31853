//! Pairs of dense convolutions that run strip by strip, on random shapes, against the reference evaluation.

use crate::support::bytes::Net;
use crate::support::{Machine, native_targets};
use mnnc_ir::{Attrs, DType, ValueId};
use mnnc_kernel::plan::check::check;
use mnnc_kernel::{Plan, Schedule, families, lower};
use mnnc_ops::eval::Evaluator;
use mnnc_ops::sample::Gen;

fn ints(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&x| x as i64).collect()
}

/// A convolution with a bias, without padding unless `attrs` says so.
fn conv(
    net: &mut Net,
    g: &mut Gen,
    x: ValueId,
    [outputs, groups]: [usize; 2],
    [rows, cols]: [usize; 2],
    attrs: Attrs,
) -> ValueId {
    let inputs = net.dims(x)[1];
    let w = net.constant(g.f32s(&[outputs, inputs / groups, rows, cols]));
    let b = net.constant(g.f32s(&[outputs]));
    net.what += &format!(" {inputs}->{outputs} of {rows}x{cols}, {groups} groups, {attrs:?}");
    net.emit("conv", &[x, w, b], attrs.with("group", groups as i64))
}

/// The 1x1 convolution, perhaps with what scales and activates its channels.
fn point(net: &mut Net, g: &mut Gen, x: ValueId, channels: usize) -> ValueId {
    net.open();
    let mut y = conv(net, g, x, [channels, 1], [1, 1], Attrs::new());
    if g.coin() {
        let factors = net.constant(g.f32s(&[1, channels, 1, 1]));
        y = net.op("mul", &[y, factors]);
    }
    y = net.activation(g, y);
    net.close(y)
}

/// What follows the second convolution: an addition of another image, of one number a column, or of nothing.
fn tail(net: &mut Net, g: &mut Gen, x: ValueId, y: ValueId, residual: ValueId) -> ValueId {
    let sum = match g.below(4) {
        0 => y,
        1 => {
            let columns = net.dims(y)[3];
            let side = net.constant(g.f32s(&[1, 1, 1, columns]));
            net.op("add", &[y, side])
        }
        _ if net.dims(y) == net.dims(x) => net.op("add", &[y, x]),
        _ => net.op("add", &[y, residual]),
    };
    // Without an upper bound, which would hide how large the sums are that were rounded.
    if g.coin() { net.op("relu", &[sum]) } else { sum }
}

/// Two layers with more between them than L2 holds, and what lies between them. `None` if a window is larger than its input.
fn bottleneck(g: &mut Gen) -> Option<(Net, [ValueId; 2])> {
    let mut net = Net::new();
    let groups = g.pick(&[1, 1, 1, 2, 3]);
    let (batch, inputs) = (1 + g.below(2), g.pick(&[1, 3, 16, 24, 37]));
    let channels = groups * (1 + g.below(70 / groups));
    let outputs = groups * (1 + g.below(24 / groups));
    let width = 5 + g.below(20);
    let height = (9 << 15) / (batch * channels.next_multiple_of(16) * width) + g.below(20) + 3;
    let x = net.input(g.f32s(&[batch, inputs, height, width]));
    // The image that is added may be the one that the chain begins with: then it must not be written over.
    let x = net.op("abs", &[x]);
    let alike = groups == 1 && g.below(4) == 0;
    let side = |g: &mut Gen| 2 + g.below(6);
    let kernel = [side(g), if g.coin() { 1 } else { side(g) }];
    let (outputs, kernel) = if alike { (inputs, [3, 3]) } else { (outputs, kernel) };
    // Wide ones have taps that read nothing but the border.
    let dilation = if !alike && g.below(3) == 0 { [1 + g.below(2), 1 + g.below(8)] } else { [1, 1] };
    let reach = [0, 1].map(|d| (kernel[d] - 1) * dilation[d] + 1);
    let strides = if alike { [1, 1] } else { [g.pick(&[1, 2, 2, 3]), 1 + g.below(3)] };
    let pads: [usize; 4] =
        if alike { [1; 4] } else { std::array::from_fn(|i| g.below(reach[i % 2].min([4, 12][i % 2]))) };
    let padded = [height + pads[0] + pads[2], width + pads[1] + pads[3]];
    if padded[0] < reach[0] || padded[1] < reach[1] {
        return None;
    }
    let a = point(&mut net, g, x, channels);
    let out = [0, 1].map(|d| (padded[d] - reach[d]) / strides[d] + 1);
    let dims = [batch, outputs, out[0], out[1]];
    let other = net.input(g.f32s(&dims));
    let other = net.op("abs", &[other]);
    let attrs =
        Attrs::new().with("strides", ints(&strides)).with("dilations", ints(&dilation)).with("pads", ints(&pads));
    net.open();
    let y = conv(&mut net, g, a, [outputs, groups], kernel, attrs);
    let y = tail(&mut net, g, x, y, other);
    let y = net.close(y);
    // What a layer of blocked images reads may lie over the image that was added.
    let y = if g.coin() { conv(&mut net, g, y, [3, 1], [1, 1], Attrs::new()) } else { y };
    Some((net, [a, y]))
}

/// Whether a value exists in strips only.
fn in_strips(net: &Net, s: &Schedule, v: ValueId) -> bool {
    let (name, all) = (&net.graph.value(v).name, 4 * net.dims(v).iter().product::<usize>());
    let images: Vec<usize> = s.buffers.iter().filter(|(_, b)| b.name == *name).map(|(_, b)| b.bytes).collect();
    images.len() > 1 && images.iter().all(|&bytes| bytes < all)
}

#[test]
fn random_bottlenecks_equal_the_reference() {
    let targets = native_targets();
    let (mut fused, mut left_out) = (0, 0);
    for seed in 0..160 {
        let mut g = Gen::new(seed);
        let Some((mut net, [a, y])) = bottleneck(&mut g) else { continue };
        net.graph.set_results(net.graph.main(), vec![y]);
        let expected = Evaluator::new(&net.graph).run(&net.inputs).expect("evaluates").remove(0);
        for target in &targets {
            let at = format!("{target} seed {seed}: {}", net.what);
            let schedule = lower(&net.graph, target, families::ALL).unwrap_or_else(|e| panic!("{at}: {e:?}"));
            check(&schedule, &Plan::new(&schedule)).unwrap_or_else(|e| panic!("{at}: {}", e[0]));
            let chained = in_strips(&net, &schedule, a);
            fused += usize::from(chained);
            left_out += usize::from(chained && schedule.decisions.iter().any(|d| d.problem.border.is_some()));
            let dims = expected.dims().to_vec();
            let got = Machine::new(&schedule).run(&net.inputs, &[(DType::F32, dims)], seed % 2 == 0).remove(0);
            let (got, expected) = (got.view::<f32>(), expected.view::<f32>());
            let largest = expected.iter().fold(1f32, |m, x| m.max(x.abs()));
            for (i, (a, b)) in got.iter().zip(expected.iter()).enumerate() {
                assert!((a - b).abs() <= 1e-5 * largest, "{at}: element {i} is {a}, not {b}");
            }
        }
    }
    assert!(left_out > 0, "no strip had a border to leave out");
    assert!(fused >= 40 * targets.len(), "only {fused} bottlenecks on {} targets ran in strips", targets.len());
}

/// The first block of the second stage of a residual network of 50 layers, as far as its second convolution.
fn halving(g: &mut Gen) -> (Net, [ValueId; 2]) {
    let mut net = Net::new();
    let x = net.input(g.f32s(&[1, 256, 56, 56]));
    net.open();
    let a = conv(&mut net, g, x, [128, 1], [1, 1], Attrs::new());
    let a = net.op("relu", &[a]);
    let a = net.close(a);
    net.open();
    let y =
        conv(&mut net, g, a, [128, 1], [3, 3], Attrs::new().with("strides", ints(&[2; 2])).with("pads", ints(&[1; 4])));
    let y = net.op("relu", &[y]);
    let y = net.close(y);
    (net, [a, y])
}

#[test]
fn a_block_that_halves_the_image_runs_in_strips() {
    for target in native_targets() {
        let mut g = Gen::new(1);
        let (mut net, [a, y]) = halving(&mut g);
        net.graph.set_results(net.graph.main(), vec![y]);
        let schedule = lower(&net.graph, &target, families::ALL).expect("lowers");
        assert!(in_strips(&net, &schedule, a), "{target}");
        // Half of the intermediate image at most, beside input and output.
        let image = |channels: usize, side: usize| 4 * channels * side * side;
        let most = image(256, 56) + image(128, 57) * 6 / 10 + image(128, 28);
        let plan = Plan::new(&schedule);
        assert!(plan.workspace <= most, "{target}: {} bytes", plan.workspace);
        // Weights are stored once.
        let weights = 4 * (256 * 128 + 9 * 128 * 128 + 2 * 128);
        assert!(schedule.weights.len() < weights + 4096, "{target}: {} bytes", schedule.weights.len());
    }
}

#[test]
fn an_image_that_others_read_is_made_whole() {
    for target in native_targets() {
        let (mut net, [a, y]) = halving(&mut Gen::new(1));
        let b = net.op("neg", &[a]);
        net.graph.set_results(net.graph.main(), vec![y, b]);
        let schedule = lower(&net.graph, &target, families::ALL).expect("lowers");
        assert!(!in_strips(&net, &schedule, a), "{target}");
    }
}
