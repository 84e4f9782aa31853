//! Reduced precision against the reference evaluation. Inputs and weights are small integers, so that every value between two layers
//! is an integer that bf16 holds exactly, and what comes out must be equal: a wrong lane, or one that nobody has written, shows.

use crate::support::{Machine, reduced_targets};
use half::bf16;
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::{Schedule, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;

/// Integers from -1 to 1, most of them 0.
fn sparse(g: &mut Gen, dims: &[usize]) -> Tensor {
    let n = dims.iter().product();
    Tensor::new(dims, (0..n).map(|_| g.pick(&[0.0, 0.0, 0.0, 0.0, 1.0, -1.0])).collect::<Vec<f32>>())
}

struct Net {
    graph: Graph,
    what: String,
    /// Of convolutions from here on, whose borders are as wide as their filters reach.
    dilation: [usize; 2],
}

impl Net {
    fn new(dims: &[usize]) -> (Net, ValueId) {
        let mut graph = Graph::new("net");
        let x = graph.add_input("x", TensorType::new(DType::F32, dims.iter().copied()));
        (Net { graph, what: format!("{dims:?}"), dilation: [1, 1] }, x)
    }
    fn emit(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.what += &format!(" {op}");
        let spec =
            NodeSpec::new(mnnc_ops::lookup(op).expect("an op"), inputs.iter().copied()).attrs(attrs).outputs(["y"]);
        self.graph.emit(spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what))
    }
    fn dims(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).static_dims().expect("static")
    }
    fn constant(&mut self, t: Tensor) -> ValueId {
        self.graph.add_const("c", t)
    }
    fn conv(
        &mut self,
        g: &mut Gen,
        x: ValueId,
        outputs: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        groups: usize,
    ) -> ValueId {
        let dilation = self.dilation;
        let channels = self.dims(x)[1];
        let w = sparse(g, &[outputs, channels / groups, kernel[0], kernel[1]]);
        let (w, b) = (self.constant(w), sparse(g, &[outputs]));
        let b = self.constant(b);
        let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
        let reach = |d: usize| (kernel[d] - 1) * dilation[d];
        let pads = [reach(0).div_ceil(2), reach(1).div_ceil(2), reach(0) / 2, reach(1) / 2];
        let attrs = Attrs::new()
            .with("strides", ints(&stride))
            .with("dilations", ints(&dilation))
            .with("pads", ints(&pads))
            .with("group", groups as i64);
        self.what += &format!(" {channels}->{outputs} {kernel:?}/{stride:?} dilation {dilation:?}");
        self.emit("conv", &[x, w, b], attrs)
    }
    fn check(mut self, y: ValueId, g: &mut Gen, split: bool, used: &mut dyn FnMut(&Target, &Schedule)) {
        self.graph.set_results(self.graph.main(), vec![y]);
        let dims = self.dims(self.graph.inputs()[0]);
        let input = sparse(g, &dims);
        let mut exact = true;
        let result = self.graph.producer(y);
        let mut observe = |n, values: &[Tensor]| {
            let held = |x: &f32| bf16::from_f32(*x).to_f32() == *x;
            exact &= Some(n) == result || values.iter().all(|t| t.view::<f32>().iter().all(held));
        };
        let inputs = std::slice::from_ref(&input);
        let expected = Evaluator::new(&self.graph).run_observed(inputs, &mut observe).expect("evaluates").remove(0);
        // Too large a sum between two layers is rounded, and rightly so.
        if !exact {
            return;
        }
        for target in reduced_targets() {
            let schedule =
                lower(&self.graph, &target, families::ALL).unwrap_or_else(|e| panic!("{}: {e:?}", self.what));
            used(&target, &schedule);
            let shape = [(DType::F32, expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(std::slice::from_ref(&input), &shape, split).remove(0);
            for (i, (a, b)) in got.view::<f32>().iter().zip(expected.view::<f32>().iter()).enumerate() {
                // What is wrong is off by 1 at least; transformed tiles of `f32` round.
                let close = (a - b).abs() <= 1e-2;
                assert!(close, "{}: element {i} is {a}, not {b}; {}", target.full_name(), self.what);
            }
        }
    }
}

/// One convolution: every shape of tiles, every remainder of channels, first layers.
#[test]
fn convolutions_are_exact() {
    let mut reduced = 0;
    for seed in 0..150 {
        let mut g = Gen::new(seed);
        let channels = if g.below(4) == 0 { 1 + g.below(4) } else { 5 + g.below(90) };
        let kernel = if g.below(3) == 0 { [1, 1] } else { [1 + g.below(7), 1 + g.below(7)] };
        let size = [1 + g.below(20), g.pick(&[1, 3, 7, 8, 14, 16, 17, 30, 33, 56])];
        let (mut net, x) = Net::new(&[1 + g.below(2), channels, size[0].max(kernel[0]), size[1].max(kernel[1])]);
        let stride = [1 + g.below(2), 1 + g.below(2)];
        let outputs = 1 + g.below(90);
        let y = net.conv(&mut g, x, outputs, kernel, stride, 1);
        net.check(y, &mut g, seed % 2 == 0, &mut |target, s| {
            // Vectors leave first layers in `f32`, and large filters where transformed tiles are faster.
            let transformed = s.kernels.iter().any(|(_, k)| k.name.starts_with("winograd"));
            let stays = !target.has_tiles() && (channels <= 4 || transformed);
            let product = |k: &str| k.contains("bf16_") && k.starts_with("conv");
            reduced += usize::from(stays || s.kernels.iter().any(|(_, k)| product(&k.name)));
        });
    }
    assert!(reduced >= 130 * reduced_targets().len(), "only {reduced} convolutions were reduced");
}

/// Wide dilations: taps that read only the border are left out, in rows of any number of tiles, of reductions in chunks and at once.
#[test]
fn dilated_convolutions_are_exact() {
    let mut left_out = 0;
    for seed in 0..120 {
        let mut g = Gen::new(30_000 + seed);
        let channels = if g.below(4) == 0 { 200 + g.below(200) } else { 1 + g.below(90) };
        let kernel = g.pick(&[[3, 3], [3, 3], [3, 3], [5, 3], [2, 4], [1, 3]]);
        let size = [4 + g.below(20), g.pick(&[5, 9, 14, 17, 23, 33, 40, 48, 65, 80])];
        let (mut net, x) = Net::new(&[1 + g.below(2), channels, size[0], size[1]]);
        net.dilation = [1 + g.below(20), 1 + g.below(40)];
        let (stride, outputs) = (g.pick(&[[1, 1], [1, 1], [1, 2], [2, 2]]), 1 + g.below(70));
        let y = net.conv(&mut g, x, outputs, kernel, stride, 1);
        net.check(y, &mut g, seed % 2 == 0, &mut |_, s| {
            left_out += usize::from(s.decisions.iter().any(|d| d.problem.border.is_some()));
        });
    }
    assert!(left_out >= 60 || reduced_targets().is_empty(), "only {left_out} had a border to leave out");
}

/// Groups of any width: of part of a block, of whole ones, across blocks.
#[test]
fn grouped_convolutions_are_exact() {
    let mut reduced = 0;
    for seed in 0..120 {
        let mut g = Gen::new(20_000 + seed);
        let groups = 2 + g.below(12);
        let inputs = g.pick(&[1, 2, 3, 4, 5, 8, 11, 16, 20, 32]);
        let outputs = g.pick(&[1, 2, 3, 4, 8, 11, 16, 24, 32, 64]);
        let kernel = g.pick(&[[1, 1], [3, 3], [3, 1], [2, 5]]);
        let (mut net, x) =
            Net::new(&[1 + g.below(2), groups * inputs, kernel[0] + g.below(15), kernel[1] + g.below(20)]);
        let stride = [1 + g.below(2), 1 + g.below(2)];
        let y = net.conv(&mut g, x, groups * outputs, kernel, stride, groups);
        let last = 1 + g.below(40);
        let y = net.conv(&mut g, y, last, [1, 1], [1, 1], 1);
        net.check(y, &mut g, seed % 2 == 0, &mut |_, s| {
            let products = s.kernels.iter().filter(|(_, k)| k.name.contains("bf16_") && k.name.starts_with("conv"));
            reduced += usize::from(products.count() > 1);
        });
    }
    assert!(reduced >= 60 * reduced_targets().len(), "only {reduced} networks were reduced");
}

/// Values that lie in blocks of bf16 between layers, and what else reads and writes those.
#[test]
fn layers_pass_bf16_to_each_other() {
    let mut stored = 0;
    for seed in 0..600 {
        let mut g = Gen::new(5000 + seed);
        let (mut net, x) = Net::new(&[1 + g.below(2), 1 + g.below(40), 4 + g.below(14), 4 + g.below(20)]);
        let point = [1, 1];
        let channels = g.pick(&[5, 8, 11, 16, 24, 32, 40, 48, 58, 64, 67, 96]);
        let kernel = g.pick(&[[1, 1], [3, 3]]);
        let a = net.conv(&mut g, x, channels, kernel, point, 1);
        let a = if g.coin() { net.emit("relu", &[a], Attrs::new()) } else { a };
        let window = || Attrs::new().with("kernel_shape", vec![3i64, 3]).with("pads", vec![1i64; 4]);
        let b = match g.below(15) {
            0 => {
                let stride = [1 + g.below(2); 2];
                net.conv(&mut g, a, channels, [3, 3], stride, channels)
            }
            1 => net.emit("max_pool", &[a], window().with("strides", vec![2i64, 2])),
            2 => {
                let other = net.conv(&mut g, x, channels, [3, 3], point, 1);
                net.emit("add", &[a, other], Attrs::new())
            }
            3 => {
                let more = g.pick(&[16, 32, 40, 64]);
                let other = net.conv(&mut g, x, more, [3, 3], point, 1);
                net.emit("concat", &[a, other], Attrs::new().with("axis", 1i64))
            }
            4 => {
                // A factor for each channel, as squeeze and excite has.
                let peak = net.emit("global_max_pool", &[a], Attrs::new());
                let gate = net.conv(&mut g, peak, channels, [1, 1], point, 1);
                let gate = net.emit("sign", &[gate], Attrs::new());
                net.emit("mul", &[a, gate], Attrs::new())
            }
            5 => {
                let top = net.emit("neg", &[a], Attrs::new());
                net.conv(&mut g, top, channels, [3, 3], point, 1)
            }
            // What fills up the last block would become infinite here.
            6 => {
                let one = net.constant(Tensor::new([1], vec![1.0f32]));
                let inverse = net.emit("abs", &[a], Attrs::new());
                let inverse = net.emit("div", &[one, inverse], Attrs::new());
                let least = net.constant(Tensor::new([1], vec![1.0f32]));
                net.emit("min", &[inverse, least], Attrs::new());
                net.emit("min", &[a, one], Attrs::new())
            }
            // Parts that begin within a block.
            7 => {
                let mut parts = vec![a];
                for _ in 0..1 + g.below(2) {
                    let more = g.pick(&[2, 6, 8, 11, 16, 24, 40]);
                    parts.push(net.conv(&mut g, x, more, [3, 3], point, 1));
                }
                net.emit("concat", &parts, Attrs::new().with("axis", 1i64))
            }
            8 => {
                let scales = net.constant(Tensor::new([4], vec![1.0f32, 1.0, 2.0, 3.0]));
                let roi = net.constant(Tensor::new([0], Vec::<f32>::new()));
                let attrs = Attrs::new().with("mode", "nearest").with("coordinate_transformation_mode", "asymmetric");
                net.emit("resize", &[a, roi, scales], attrs.with("nearest_mode", "floor"))
            }
            9 => {
                let first = g.pick(&[0, 2, 4, 5]);
                let ends = [first, channels as i64 - g.pick(&[0, 1, 2]), 1];
                let [start, end, axis] = ends.map(|i| net.constant(Tensor::ints(&[i])));
                net.emit("slice", &[a, start, end, axis], Attrs::new())
            }
            10 => {
                let outputs = g.pick(&[5, 16, 32, 48]);
                let w = sparse(&mut g, &[channels, outputs, 2, 3]);
                let w = net.constant(w);
                net.emit("conv_transpose", &[a, w], Attrs::new().with("strides", vec![2i64, 2]))
            }
            // A narrow last part, which lies in a block of two vectors, and what else may be written there.
            11..=13 => {
                let narrow = g.pick(&[3, 8, 11, 16]);
                let part = net.conv(&mut g, x, narrow, [3, 3], point, 1);
                let part = match g.below(5) {
                    0 => net.conv(&mut g, part, narrow, [3, 3], point, narrow),
                    1 => net.emit("max_pool", &[part], window()),
                    2 => {
                        let other = net.conv(&mut g, x, narrow, [1, 1], point, 1);
                        net.emit("add", &[part, other], Attrs::new())
                    }
                    3 => {
                        let once = net.emit("neg", &[part], Attrs::new());
                        let sum = net.conv(&mut g, once, narrow, [1, 1], point, 1);
                        net.emit("add", &[sum, once], Attrs::new())
                    }
                    _ => net.emit("abs", &[part], Attrs::new()),
                };
                net.emit("concat", &[a, part], Attrs::new().with("axis", 1i64))
            }
            _ => a,
        };
        let last = 1 + g.below(70);
        let kernel = g.pick(&[[1, 1], [3, 3], [3, 1]]);
        let stride = [1 + g.below(2), 1];
        let y = net.conv(&mut g, b, last, kernel, stride, 1);
        net.check(y, &mut g, seed % 2 == 0, &mut |_, s| {
            let packed = |name: &str| name.contains("bf16_1x") || name.contains("bf16_2x");
            stored += usize::from(s.kernels.iter().any(|(_, k)| packed(&k.name)));
        });
    }
    assert!(stored >= 60 || reduced_targets().is_empty(), "only {stored} networks stored bf16 with a border");
}

/// Products with a constant matrix, any number of rows.
#[test]
fn products_are_exact() {
    for seed in 0..60 {
        let mut g = Gen::new(9000 + seed);
        let (rows, depth, cols) = (1 + g.below(70), g.pick(&[31, 32, 64, 96, 160]), 1 + g.below(100));
        let (mut net, x) = Net::new(&[rows, depth]);
        let w = sparse(&mut g, &[depth, cols]);
        let w = net.constant(w);
        let y = net.emit("matmul", &[x, w], Attrs::new());
        net.check(y, &mut g, seed % 2 == 0, &mut |_, _| {});
    }
}
