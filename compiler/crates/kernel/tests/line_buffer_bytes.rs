//! Chains of layers of bytes that run through rings of rows, on random shapes, against the reference evaluation.

use crate::support::byte_targets;
use crate::support::bytes::{Net, bytes, depthwise, requantise, signed};
use mnnc_ir::{Attrs, Tensor, ValueId};
use mnnc_kernel::plan::check::check;
use mnnc_kernel::{KernelCode, Plan, Schedule};
use mnnc_ops::sample::Gen;

fn ints(v: &[usize]) -> Vec<i64> {
    v.iter().map(|&x| x as i64).collect()
}

/// A dense convolution of bytes whose results are bytes.
fn dense(net: &mut Net, g: &mut Gen, x: ValueId, outputs: usize, kernel: usize, stride: usize) -> ValueId {
    let w = signed(g, &[outputs, net.dims(x)[1], kernel, kernel]);
    let w = net.constant(w);
    let pads: Vec<usize> = (0..4).map(|_| g.below(kernel)).collect();
    let attrs = Attrs::new().with("strides", ints(&[stride; 2])).with("pads", ints(&pads));
    let zero = g.pick(&[0u8, 128, 77]);
    net.what += &format!(" {outputs} of {kernel}/{stride} zero {zero}");
    let zero = net.constant(Tensor::scalar(zero));
    net.open();
    let sums = net.emit("conv_integer", &[x, w, zero], attrs);
    let y = requantise(net, g, sums);
    net.close(y)
}

fn max_pool(net: &mut Net, g: &mut Gen, x: ValueId) -> ValueId {
    let kernel = 2 + g.below(2);
    let pads: Vec<usize> = (0..4).map(|_| g.below(kernel)).collect();
    let attrs = Attrs::new()
        .with("kernel_shape", ints(&[kernel; 2]))
        .with("strides", ints(&[1 + g.below(2); 2]))
        .with("pads", ints(&pads));
    net.emit("max_pool", &[x], attrs)
}

/// Two layers, perhaps a third, with more between the first two than L2 holds; rows of about `width` pixels.
fn chain(g: &mut Gen, width: usize) -> (Net, ValueId) {
    let mut net = Net::new();
    let (batch, channels) = (1 + g.below(2), 8 + g.below(60));
    let (kernel, stride) = (g.pick(&[1, 1, 3, 5]), g.pick(&[1, 1, 2]));
    let width = width + g.below(width);
    let height = (9 << 17) / (batch * channels.next_multiple_of(16) * width) + 6;
    let inputs = g.pick(&[1, 3, 5, 16, 24]);
    let x = net.input(bytes(g, &[batch, inputs, height * stride + kernel, width * stride + kernel]));
    let a = dense(&mut net, g, x, channels, kernel, stride);
    let b = if g.below(3) == 0 {
        max_pool(&mut net, g, a)
    } else {
        net.open();
        let zero = g.pick(&[0u8, 128, 9]);
        let sums = depthwise(&mut net, g, a, zero);
        let y = requantise(&mut net, g, sums);
        net.close(y)
    };
    let outputs = 1 + g.below(40);
    let y = if g.coin() { dense(&mut net, g, b, outputs, 1, 1) } else { b };
    (net, y)
}

/// Runs chains and counts those that ran through a ring, and those of several steps.
fn compare(seeds: std::ops::Range<u64>, width: usize) -> [usize; 2] {
    let mut counts = [0, 0];
    for seed in seeds {
        let mut g = Gen::new(seed);
        let (net, y) = chain(&mut g, width);
        let what = net.what.clone();
        net.check(y, seed % 2 == 0, 0.0, &mut |s: &Schedule| {
            check(s, &Plan::new(s)).unwrap_or_else(|e| panic!("seed {seed}: {what}: {}", e[0]));
            let programs =
                s.steps.iter().filter(|t| matches!(s.kernels[t.kernel].code, KernelCode::Program(_))).count();
            counts[0] += usize::from(programs > 0);
            counts[1] += usize::from(programs > 1);
        });
    }
    counts
}

#[test]
fn random_chains_are_exact() {
    let targets = byte_targets().len();
    let [fused, strips] = compare(0..40, 60);
    assert!(fused >= 12 * targets, "only {fused} chains on {targets} targets ran through a ring");
    assert!(strips >= 2 * targets, "only {strips} chains on {targets} targets ran in strips");
}

#[test]
fn chains_with_long_rows_are_exact() {
    let targets = byte_targets().len();
    let [_, chunks] = compare(100..124, 900);
    assert!(chunks >= 2 * targets, "only {chunks} chains on {targets} targets were cut into chunks or strips");
}
