//! What works on bytes besides dense products, against the reference evaluation: element-wise chains, depthwise convolution, pooling.

use crate::support::byte_targets;
use crate::support::bytes::{Net, bytes, depthwise, requantise, signed};
use mnnc_ir::{Attrs, DType, Tensor, ValueId};
use mnnc_kernel::{Schedule, families, lower};
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;

const EXACT: f32 = 0.0;

fn nothing(_: &Schedule) {}

/// A `fused` node of one or two operands, one of them perhaps broadcast.
fn chain(net: &mut Net, g: &mut Gen, dims: &[usize]) -> ValueId {
    let mut operands = Vec::new();
    for i in 0..1 + g.below(2) {
        let side: Vec<usize> =
            if i == 1 { dims.iter().map(|&d| if g.coin() { d } else { 1 }).collect() } else { dims.to_vec() };
        let dtype = g.pick(&[DType::U8, DType::U8, DType::F32, DType::I32, DType::I8]);
        let t = match dtype {
            DType::U8 => bytes(g, &side),
            DType::I8 => signed(g, &side),
            DType::I32 => g.tensor(DType::I32, &side, -70_000.0, 70_000.0),
            _ => g.tensor(DType::F32, &side, -20.0, 20.0),
        };
        operands.push((net.input(t), dtype));
    }
    net.open();
    let mut terms = Vec::new();
    for &(v, dtype) in &operands {
        let zero = g.below(256) as u8;
        let x = match dtype {
            DType::U8 | DType::I8 => net.dequantise(g, v, zero),
            DType::I32 => {
                let x = net.cast(v, DType::F32);
                let factor = net.number(0.000_3);
                net.op("mul", &[x, factor])
            }
            _ => v,
        };
        terms.push(net.activation(g, x));
    }
    let sum = if terms.len() == 2 { net.op("add", &terms) } else { terms[0] };
    let sum = net.activation(g, sum);
    let y = if g.below(4) == 0 { net.op("neg", &[sum]) } else { net.quantise(g, sum) };
    net.close(y)
}

#[test]
fn chains_equal_the_reference() {
    for seed in 0..150 {
        let mut g = Gen::new(seed);
        let dims: Vec<usize> = match g.below(3) {
            0 => vec![1 + g.below(9000)],
            1 => vec![1 + g.below(5), 1 + g.below(70)],
            _ => vec![1 + g.below(3), 1 + g.below(6), 1 + g.below(9), 1 + g.below(40)],
        };
        let mut net = Net::new();
        let y = chain(&mut net, &mut g, &dims);
        net.check(y, seed % 2 == 0, EXACT, &mut nothing);
    }
}

/// Numbers that no quantised network should make: the definition holds for them, too.
#[test]
fn strange_numbers_quantise_as_defined() {
    let strange = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e9, -3e9, 1e38, -1e38, 0.0, -0.0, 1e-40, 254.5, 0.5];
    let values: Vec<f32> = (0..97).map(|i| strange[i % strange.len()]).collect();
    for seed in 0..40 {
        let mut g = Gen::new(seed);
        let mut net = Net::new();
        let x = net.input(Tensor::new([97], values.clone()));
        net.open();
        let y = net.quantise(&mut g, x);
        let y = net.close(y);
        net.check(y, false, EXACT, &mut nothing);
    }
}

#[test]
fn chains_compile_for_neon() {
    for seed in 0..40 {
        let mut g = Gen::new(seed);
        let mut net = Net::new();
        let y = chain(&mut net, &mut g, &[2, 7, 3, 19]);
        net.graph.set_results(net.graph.main(), vec![y]);
        lower(&net.graph, &Target::NEON, families::ALL).unwrap_or_else(|e| panic!("{}: {e:?}", net.what));
    }
}

/// Sums alone, or in a region with what makes floats or bytes of them.
fn alone_or_fused(net: &mut Net, g: &mut Gen, sums: impl FnOnce(&mut Net, &mut Gen) -> ValueId) -> ValueId {
    if g.below(5) == 0 {
        return sums(net, g);
    }
    net.open();
    let y = sums(net, g);
    let y = if g.below(4) == 0 { net.cast(y, DType::F32) } else { requantise(net, g, y) };
    net.close(y)
}

#[test]
fn depthwise_convolutions_are_exact() {
    let (mut dots, mut floats, mut all) = (0, 0, 0);
    for seed in 0..160 {
        let mut g = Gen::new(1000 + seed);
        let channels = if g.below(4) == 0 { 2 + g.below(7) } else { g.pick(&[16, 24, 32, 33, 48, 64]) };
        let dims = [1 + g.below(2), channels, 1 + g.below(17), g.pick(&[1, 2, 3, 4, 5, 7, 8, 14, 15, 28, 33])];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        let zero = g.pick(&[0, 128, 255, 77]);
        let y = alone_or_fused(&mut net, &mut g, |net, g| depthwise(net, g, x, zero));
        all += 1;
        net.check(y, seed % 2 == 0, EXACT, &mut |s| {
            let has = |name: &str| s.kernels.iter().any(|(_, k)| k.name.starts_with(name));
            floats += usize::from(has("depthwise_u8_f32"));
            dots += usize::from(has("depthwise_u8_k"));
        });
    }
    let with_dots = byte_targets().iter().filter(|t| t.has_dot_u8s8()).count();
    assert_eq!(dots, all * with_dots);
    assert_eq!(floats, all * (byte_targets().len() - with_dots));
}

/// A transposed convolution of `x` and, if it is open, the region around it.
fn transposed(net: &mut Net, g: &mut Gen, x: ValueId, groups: usize, zero: u8) -> ValueId {
    let channels = net.dims(x)[1];
    let outputs = if g.coin() { 1 + g.below(40) } else { g.pick(&[16, 32, 64]) };
    let stride = g.pick(&[[2usize, 2], [2, 2], [1, 1], [3, 2], [4, 4]]);
    let kernel = stride.map(|s| s + g.below(3));
    let pads: Vec<i64> = (0..4).map(|i| g.below(kernel[i % 2].div_ceil(2)) as i64).collect();
    let w = signed(g, &[channels, outputs.div_ceil(groups), kernel[0], kernel[1]]);
    let w = net.constant(w);
    let ints = |v: [usize; 2]| v.map(|x| x as i64).to_vec();
    let attrs = Attrs::new().with("group", groups as i64).with("strides", ints(stride)).with("pads", pads);
    net.what += &format!(" transposed {kernel:?}/{stride:?} {groups} groups zero {zero}");
    let zero = net.constant(Tensor::scalar(zero));
    net.emit("conv_transpose_integer", &[x, w, zero], attrs)
}

#[test]
fn transposed_convolutions_are_exact() {
    let (mut taken, mut all) = (0, 0);
    for seed in 0..120 {
        let mut g = Gen::new(1500 + seed);
        let groups = g.pick(&[1, 1, 1, 2]);
        let channels = if g.coin() { 1 + g.below(80) } else { g.pick(&[16, 32, 64, 128]) };
        let dims = [1 + g.below(2), channels * groups, 2 + g.below(9), g.pick(&[2, 3, 4, 7, 8, 15, 20])];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        let zero = g.pick(&[0, 128, 255, 77]);
        let y = alone_or_fused(&mut net, &mut g, |net, g| transposed(net, g, x, groups, zero));
        net.check(y, seed % 2 == 0, EXACT, &mut |s| {
            all += 1;
            taken += usize::from(s.kernels.iter().any(|(_, k)| k.name.starts_with("conv_transpose_integer")));
        });
    }
    assert_eq!(taken, all);
}

/// Values that lie in blocks of bytes from layer to layer, sums of two of them, borders of different widths.
#[test]
fn layers_pass_bytes_to_each_other() {
    for seed in 0..120 {
        let mut g = Gen::new(2000 + seed);
        let dims = [1 + g.below(2), g.pick(&[16, 24, 32, 40]), 5 + g.below(9), 5 + g.below(14)];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        let layer = |net: &mut Net, g: &mut Gen, x: ValueId| {
            net.open();
            let sums = depthwise(net, g, x, 77);
            let y = requantise(net, g, sums);
            net.close(y)
        };
        let a = layer(&mut net, &mut g, x);
        net.open();
        let wide = net.dequantise(&mut g, a, 128);
        let again = net.activation(&mut g, wide);
        let sum = net.op("add", &[wide, again]);
        let b = net.quantise(&mut g, sum);
        let b = net.close(b);
        let c = layer(&mut net, &mut g, b);
        net.check(c, seed % 2 == 0, EXACT, &mut nothing);
    }
}

#[test]
fn max_pools_of_bytes_are_exact() {
    for seed in 0..80 {
        let mut g = Gen::new(3000 + seed);
        let kernel = [1 + g.below(4), 1 + g.below(4)];
        let dims = [1 + g.below(2), 1 + g.below(50), kernel[0] + g.below(12), kernel[1] + g.below(30)];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        let ints = |v: [usize; 2]| v.map(|x| x as i64).to_vec();
        let pads: Vec<i64> = (0..4).map(|i| g.below(kernel[i % 2]) as i64).collect();
        let strides = [1 + g.below(3), 1 + g.below(3)];
        net.what += &format!(" {kernel:?}/{strides:?} {pads:?}");
        let attrs = Attrs::new().with("kernel_shape", ints(kernel)).with("strides", ints(strides)).with("pads", pads);
        let y = net.emit("max_pool", &[x], attrs);
        net.check(y, seed % 2 == 0, EXACT, &mut nothing);
    }
}

/// Average and global pooling read bytes and give floats or bytes.
#[test]
fn pools_dequantise_what_they_read() {
    for seed in 0..120 {
        let mut g = Gen::new(4000 + seed);
        let dims = [1 + g.below(2), 1 + g.below(70), 2 + g.below(12), 2 + g.below(20)];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        net.open();
        let zero = g.pick(&[0, 128, 33]);
        let real = net.dequantise(&mut g, x, zero);
        let y = match g.below(4) {
            0 => net.op("global_average_pool", &[real]),
            1 => net.op("global_max_pool", &[real]),
            2 => {
                let axes = net.constant(Tensor::ints(&[2, 3]));
                net.emit("reduce_mean", &[real, axes], Attrs::new().with("keepdims", true))
            }
            _ => {
                let attrs = Attrs::new()
                    .with("kernel_shape", vec![2i64, 2])
                    .with("strides", vec![1 + g.below(2) as i64, 1 + g.below(3) as i64])
                    .with("pads", vec![g.below(2) as i64, g.below(2) as i64, g.below(2) as i64, g.below(2) as i64])
                    .with("count_include_pad", g.coin());
                net.emit("average_pool", &[real], attrs)
            }
        };
        let y = net.activation(&mut g, y);
        let y = if g.coin() { net.quantise(&mut g, y) } else { y };
        let y = net.close(y);
        net.check(y, seed % 2 == 0, 1e-5, &mut nothing);
    }
}

/// Linear interpolation reads bytes and gives floats or bytes.
#[test]
fn resizes_dequantise_what_they_read() {
    let mut native = 0;
    for seed in 0..80 {
        let mut g = Gen::new(4500 + seed);
        let dims = [1 + g.below(2), 1 + g.below(40), 2 + g.below(9), 2 + g.below(12)];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        net.open();
        let zero = g.pick(&[0, 128, 33]);
        let real = net.dequantise(&mut g, x, zero);
        let scales = [1.0, 1.0, g.pick(&[1.0f32, 2.0, 4.0]), g.pick(&[0.5f32, 1.0, 2.0, 3.0])];
        let scales = net.constant(Tensor::new([4], scales.to_vec()));
        let roi = net.constant(Tensor::new([0], Vec::<f32>::new()));
        let how = g.pick(&["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]);
        let attrs = Attrs::new().with("mode", "linear").with("coordinate_transformation_mode", how);
        let y = net.emit("resize", &[real, roi, scales], attrs);
        let y = net.activation(&mut g, y);
        // Bytes are equal bit for bit.
        let (y, tolerance) = if g.coin() { (net.quantise(&mut g, y), 0.0) } else { (y, 1e-5) };
        let y = net.close(y);
        net.check(y, seed % 2 == 0, tolerance, &mut |s| {
            native += usize::from(s.kernels.iter().any(|(_, k)| k.name.starts_with("linear_resize")));
        });
    }
    assert!(native >= 60, "{native}");
}

/// Copies of bytes between layers that want them in blocks, and of plain tensors: whole blocks, cut ones, permuted channels.
/// Softmax along rows and columns reads bytes and gives floats or bytes.
#[test]
fn softmaxes_dequantise_what_they_read() {
    let (mut bytes_read, mut all) = (0, 0);
    for seed in 0..160 {
        let mut g = Gen::new(6000 + seed);
        let long = g.pick(&[2, 4, 8, 10, 16, 21, 33, 64, 90, 95, 97, 300]);
        let mut dims: Vec<usize> = (0..g.below(3)).map(|_| 1 + g.below(6)).collect();
        dims.push(long);
        dims.extend((0..g.below(3)).map(|_| g.pick(&[1, 3, 16, 35])));
        let axis = dims.iter().position(|&d| d == long).expect("there");
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        net.open();
        let zero = g.pick(&[0, 128, 33]);
        let real = net.dequantise(&mut g, x, zero);
        let op = g.pick(&["softmax", "softmax", "log_softmax"]);
        let y = net.emit(op, &[real], Attrs::new().with("axis", axis as i64));
        let y = if g.below(3) == 0 { y } else { net.quantise(&mut g, y) };
        let y = net.close(y);
        net.check(y, seed % 2 == 0, 2e-6, &mut |s| {
            all += 1;
            let softmax = |k: &mnnc_kernel::Kernel| k.name.starts_with("softmax");
            bytes_read += usize::from(s.kernels.iter().any(|(_, k)| softmax(k)) && s.steps.len() == 1);
        });
    }
    assert_eq!(bytes_read, all);
}

#[test]
fn copies_of_bytes_are_exact() {
    let mut permuted = 0;
    for seed in 0..120 {
        let mut g = Gen::new(5000 + seed);
        let dims = [1 + g.below(2), 2 + g.below(50), 3 + g.below(7), 3 + g.below(14)];
        let mut net = Net::new();
        let x = net.input(bytes(&mut g, &dims));
        let layer = |net: &mut Net, g: &mut Gen, x: ValueId| {
            net.open();
            let sums = depthwise(net, g, x, 77);
            let y = requantise(net, g, sums);
            net.close(y)
        };
        let images = g.below(3) > 0;
        let a = if images { layer(&mut net, &mut g, x) } else { x };
        let dims = net.dims(a);
        let b = match g.below(6) {
            0 => {
                let more = 1 + g.below(20);
                let other = bytes(&mut g, &[dims[0], more, dims[2], dims[3]]);
                let other = net.input(other);
                net.emit("concat", &[a, other], Attrs::new().with("axis", 1i64))
            }
            1 => {
                let at = g.below(dims[1] - 1);
                let ends = at + 1 + g.below(dims[1] - at);
                let [at, ends, axis] = [at, ends, 1].map(|x| net.constant(Tensor::ints(&[x as i64])));
                net.emit("slice", &[a, at, ends, axis], Attrs::new())
            }
            2 | 3 => {
                let cut = |net: &mut Net, from: usize, to: usize| {
                    let [from, to, axis] = [from, to, 1].map(|x| net.constant(Tensor::ints(&[x as i64])));
                    net.emit("slice", &[a, from, to, axis], Attrs::new())
                };
                let at = 1 + g.below(dims[1] - 1);
                let (low, high) = (cut(&mut net, 0, at), cut(&mut net, at, dims[1]));
                net.emit("concat", &[high, low], Attrs::new().with("axis", 1i64))
            }
            4 => net.emit("transpose", &[a], Attrs::new().with("perm", vec![0i64, 1, 3, 2])),
            _ => net.emit("concat", &[a, a], Attrs::new().with("axis", g.below(4) as i64)),
        };
        let c = if g.coin() && net.dims(b)[1] > 1 { layer(&mut net, &mut g, b) } else { b };
        net.check(c, seed % 2 == 0, EXACT, &mut |s| {
            permuted += usize::from(s.kernels.iter().any(|(_, k)| k.name.starts_with("copy_channels")));
        });
    }
    assert!(permuted >= 10 * byte_targets().len(), "only {permuted} copies permuted channels in vectors");
}
