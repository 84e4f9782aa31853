//! Products of bytes and the chains behind them against the reference evaluation: equal, bit for bit, with and without an instruction for
//! them.

use crate::support::{Machine, byte_targets};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, RegionId, Tensor, TensorType, ValueId};
use mnnc_kernel::{Schedule, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;

fn bytes(g: &mut Gen, dims: &[usize]) -> Tensor {
    let n = dims.iter().product();
    Tensor::new(
        dims,
        (0..n).map(|_| if g.below(8) == 0 { g.pick(&[0, 255]) } else { g.below(256) as u8 }).collect::<Vec<u8>>(),
    )
}

fn signed(g: &mut Gen, dims: &[usize]) -> Tensor {
    let n = dims.iter().product();
    let one = |g: &mut Gen| if g.below(8) == 0 { g.pick(&[-128i8, 127]) } else { g.below(256) as u8 as i8 };
    Tensor::new(dims, (0..n).map(|_| one(g)).collect::<Vec<i8>>())
}

/// What stands behind a product.
#[derive(Copy, Clone, PartialEq, Debug)]
enum Chain {
    /// The sums themselves.
    Sums,
    /// Scaled to `f32`.
    Floats,
    /// Scaled and requantised; with limits in `f32`, or by the conversion alone.
    Bytes { clipped: bool },
    /// The same with a quantised operand added.
    Residual,
    /// Requantised, so many times again behind a function of the bytes, and with a quantised operand added or not.
    Activated { times: usize, residual: bool },
}

struct Net {
    graph: Graph,
    what: String,
    /// Dilation and zero point of the input of convolutions from here on, if not any.
    dilation: Option<[usize; 2]>,
    zero: Option<u8>,
}

/// A region under construction: its parameters and what they are outside.
struct Body {
    region: RegionId,
    params: Vec<ValueId>,
    outer: Vec<ValueId>,
    at: usize,
}

impl Net {
    fn new(dims: &[usize]) -> (Net, ValueId) {
        let mut graph = Graph::new("net");
        let x = graph.add_input("x", TensorType::new(DType::U8, dims.iter().copied()));
        (Net { graph, what: format!("{dims:?}"), dilation: None, zero: None }, x)
    }
    fn dims(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).static_dims().expect("static")
    }
    fn constant(&mut self, t: Tensor) -> ValueId {
        self.graph.add_const("c", t)
    }
    fn body(&mut self) -> Body {
        Body { region: self.graph.new_region(), params: Vec::new(), outer: Vec::new(), at: 0 }
    }
    fn param(&mut self, b: &mut Body, v: ValueId) -> ValueId {
        if let Some(i) = b.outer.iter().position(|o| *o == v) {
            return b.params[i];
        }
        let ty = self.graph.ty(v).clone();
        let p = self.graph.add_param(b.region, "p", ty);
        b.params.push(p);
        b.outer.push(v);
        p
    }
    fn node(&mut self, b: &mut Body, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let spec = NodeSpec::new(mnnc_ops::lookup(op).expect("an op"), inputs.iter().copied()).attrs(attrs);
        let n = self.graph.insert_node(b.region, b.at, spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what));
        b.at += 1;
        self.graph.node(n).outputs()[0]
    }
    fn number(&mut self, b: &mut Body, x: f32) -> ValueId {
        let c = self.constant(Tensor::scalar(x));
        self.param(b, c)
    }
    /// The chain behind `sums`, whose channels are dimension `axis` from the end, and the end of the region.
    fn chain(
        &mut self,
        g: &mut Gen,
        mut b: Body,
        sums: ValueId,
        axis: usize,
        depth: usize,
        chain: Chain,
        residual: Option<ValueId>,
    ) -> ValueId {
        let none = Attrs::new;
        let dims = self.dims(sums);
        let channels = dims[dims.len() - axis];
        let mut y = sums;
        if chain != Chain::Sums {
            let shape: Vec<usize> = (0..axis).map(|i| if i == 0 { channels } else { 1 }).collect();
            let unit = 1.0 / (60.0 * (depth as f32).sqrt() * 128.0 / 60.0);
            let scales: Vec<f32> = (0..channels).map(|_| unit * (0.2 + g.below(1000) as f32 / 700.0)).collect();
            let offsets: Vec<f32> = (0..channels).map(|_| g.below(2000) as f32 / 33.0 - 30.0).collect();
            let (scales, offsets) =
                (self.constant(Tensor::new(shape.clone(), scales)), self.constant(Tensor::new(shape, offsets)));
            y = self.node(&mut b, "cast", &[y], none().with("to", DType::F32));
            let scales = self.param(&mut b, scales);
            y = self.node(&mut b, "mul", &[y, scales], none());
            // What rows that are quantised by themselves have: a factor each.
            if axis == 1 && g.coin() {
                let mut shape = dims.clone();
                *shape.last_mut().expect("a product") = 1;
                let rows: usize = shape.iter().product();
                let factors = (0..rows).map(|_| 0.5 + g.below(1000) as f32 / 1000.0).collect::<Vec<f32>>();
                let factors = self.constant(Tensor::new(shape, factors));
                let factors = self.param(&mut b, factors);
                y = self.node(&mut b, "mul", &[y, factors], none());
            }
            if g.coin() {
                let offsets = self.param(&mut b, offsets);
                y = self.node(&mut b, "add", &[y, offsets], none());
            }
        }
        if let Chain::Activated { times, .. } = chain {
            for _ in 0..=times {
                y = self.softsign(&mut b, y);
            }
        }
        if matches!(chain, Chain::Residual | Chain::Activated { residual: true, .. }) {
            let r = residual.expect("an operand");
            let r = self.param(&mut b, r);
            let r = self.node(&mut b, "cast", &[r], none().with("to", DType::F32));
            let zero = self.number(&mut b, g.below(256) as f32);
            let r = self.node(&mut b, "sub", &[r, zero], none());
            let scale = self.number(&mut b, 0.37);
            let r = self.node(&mut b, "mul", &[r, scale], none());
            y = self.node(&mut b, "add", &[y, r], none());
        }
        if !matches!(chain, Chain::Sums | Chain::Floats) {
            if g.coin() {
                y = self.node(&mut b, "relu", &[y], none());
            }
            y = self.node(&mut b, "round", &[y], none());
            if g.coin() {
                let zero = self.number(&mut b, g.below(256) as f32);
                y = self.node(&mut b, "add", &[y, zero], none());
            }
            if chain == (Chain::Bytes { clipped: true }) {
                let (lo, hi) = (
                    self.number(&mut b, g.pick(&[0.0, 0.0, 5.0])),
                    self.number(&mut b, g.pick(&[255.0, 255.0, 200.0])),
                );
                y = self.node(&mut b, "max", &[y, lo], none());
                y = self.node(&mut b, "min", &[y, hi], none());
            }
            y = self.node(&mut b, "cast", &[y], none().with("to", DType::U8));
        }
        self.graph.set_results(b.region, vec![y]);
        let spec = NodeSpec::new(mnnc_ops::lookup("fused").expect("an op"), b.outer).regions([b.region]);
        self.graph.emit(spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what))
    }
    /// `100 x / (1 + |x|)` of `x` rounded to signed or unsigned bytes: exact on every level, and many instructions.
    fn softsign(&mut self, b: &mut Body, x: ValueId) -> ValueId {
        let none = Attrs::new;
        let x = self.node(b, "round", &[x], none());
        let (zero, to) = if self.dims(x)[0] == 1 { (0.0, DType::I8) } else { (130.0, DType::U8) };
        let zero = self.number(b, zero);
        let x = self.node(b, "add", &[x, zero], none());
        let x = self.node(b, "cast", &[x], none().with("to", to));
        let x = self.node(b, "cast", &[x], none().with("to", DType::F32));
        let x = self.node(b, "sub", &[x, zero], none());
        let (scale, one, most) = (self.number(b, 0.07), self.number(b, 1.0), self.number(b, 100.0));
        let x = self.node(b, "mul", &[x, scale], none());
        let y = self.node(b, "abs", &[x], none());
        let y = self.node(b, "add", &[y, one], none());
        let y = self.node(b, "div", &[x, y], none());
        self.node(b, "mul", &[y, most], none())
    }
    #[allow(clippy::too_many_arguments, reason = "a convolution")]
    fn conv(
        &mut self,
        g: &mut Gen,
        x: ValueId,
        outputs: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        groups: usize,
        chain: Chain,
        residual: Option<ValueId>,
    ) -> ValueId {
        let zero = self.zero.unwrap_or_else(|| g.pick(&[0u8, 1, 128, 255]));
        let narrow = if g.below(5) == 0 { [1 + g.below(2), 1 + g.below(2)] } else { [1, 1] };
        let dilation = self.dilation.unwrap_or(narrow);
        let channels = self.dims(x)[1];
        let w = signed(g, &[outputs, channels / groups, kernel[0], kernel[1]]);
        let w = self.constant(w);
        let zero = self.constant(Tensor::scalar(zero));
        let ints = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
        let reach = |d: usize| (kernel[d] - 1) * dilation[d];
        let pads = [reach(0) / 2, reach(1) / 2, reach(0) - reach(0) / 2, reach(1) - reach(1) / 2];
        let attrs = Attrs::new()
            .with("strides", ints(&stride))
            .with("dilations", ints(&dilation))
            .with("pads", ints(&pads))
            .with("group", groups as i64);
        self.what += &format!(
            " conv {channels}->{outputs} {kernel:?}/{stride:?} dilation {dilation:?} groups {groups} {chain:?}"
        );
        let mut b = self.body();
        let p = self.param(&mut b, x);
        let sums = self.node(&mut b, "conv_integer", &[p, w, zero], attrs);
        self.chain(g, b, sums, 3, channels / groups * kernel[0] * kernel[1], chain, residual)
    }
    fn check(mut self, y: ValueId, g: &mut Gen, split: bool, used: &mut dyn FnMut(&Schedule)) {
        self.graph.set_results(self.graph.main(), vec![y]);
        let dims = self.dims(self.graph.inputs()[0]);
        let input = bytes(g, &dims);
        let inputs = std::slice::from_ref(&input);
        let expected =
            Evaluator::new(&self.graph).run(inputs).unwrap_or_else(|e| panic!("{}: {e:?}", self.what)).remove(0);
        for target in byte_targets() {
            let name = target.full_name();
            let schedule =
                lower(&self.graph, &target, families::ALL).unwrap_or_else(|e| panic!("{name} {}: {e:?}", self.what));
            used(&schedule);
            let shape = [(expected.dtype(), expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(inputs, &shape, split).remove(0);
            let (got, want) = (got.to_f64s(), expected.to_f64s());
            let wrong = got.iter().zip(&want).position(|(a, b)| a != b);
            if let Some(i) = wrong {
                let count = got.iter().zip(&want).filter(|(a, b)| a != b).count();
                panic!(
                    "{name}: {}: {count} of {} wrong, element {i} is {}, not {}",
                    self.what,
                    got.len(),
                    got[i],
                    want[i]
                );
            }
        }
    }
}

fn any_chain(g: &mut Gen) -> Chain {
    let times = g.below(4);
    let activated = Chain::Activated { times, residual: false };
    g.pick(&[Chain::Sums, Chain::Floats, Chain::Bytes { clipped: true }, Chain::Bytes { clipped: false }, activated])
}

/// One convolution: every remainder of channels, strides, dilations, groups, first layers.
#[test]
fn convolutions_are_exact() {
    let mut on_tiles = 0;
    for seed in 0..150 {
        let mut g = Gen::new(seed);
        let groups = g.pick(&[1, 1, 1, 2, 3, 5]);
        let each = if groups > 1 {
            g.pick(&[2, 3, 4, 12, 16, 32])
        } else if g.below(4) == 0 {
            1 + g.below(4)
        } else if g.coin() {
            g.pick(&[64, 64, 128, 192])
        } else {
            5 + g.below(90)
        };
        let most = if each <= 4 { 8 } else { 5 };
        let kernel = if g.below(3) == 0 { [1, 1] } else { [1 + g.below(most), 1 + g.below(most)] };
        let size = [1 + g.below(20), g.pick(&[1, 3, 7, 8, 14, 16, 17, 30, 33, 56])];
        let (mut net, x) = Net::new(&[1 + g.below(2), groups * each, size[0], size[1]]);
        let stride = [1 + g.below(2), 1 + g.below(2)];
        let outputs = groups * if groups > 1 { g.pick(&[1, 6, 16, 18, 32]) } else { 1 + g.below(90) };
        let chain = any_chain(&mut g);
        let y = net.conv(&mut g, x, outputs, kernel, stride, groups, chain, None);
        net.check(y, &mut g, seed % 2 == 0, &mut |s| {
            assert!(s.kernels.iter().any(|(_, k)| k.name.starts_with("conv_integer")));
            on_tiles += usize::from(s.kernels.iter().any(|(_, k)| k.name.contains("+amx_u8")));
        });
    }
    let has_tiles = byte_targets().iter().any(mnnc_vector::Target::has_int8_tiles);
    assert!(on_tiles > 20 || !has_tiles, "only {on_tiles} on tiles");
}

/// Wide dilations: taps that read only the border are left out, in chunks of the reduction and within them; a border of other than
/// zeros is left out by vectors and read by tiles.
#[test]
fn dilated_convolutions_are_exact() {
    let mut left_out = [0; 2];
    for seed in 0..100 {
        let mut g = Gen::new(40_000 + seed);
        let channels = g.pick(&[5, 30, 64, 128, 200, 256, 320]);
        let kernel = g.pick(&[[3, 3], [3, 3], [3, 3], [5, 3], [2, 4], [1, 3]]);
        let size = [4 + g.below(20), g.pick(&[5, 9, 14, 17, 23, 33, 40, 48])];
        let (mut net, x) = Net::new(&[1 + g.below(2), channels, size[0], size[1]]);
        let zero = g.pick(&[0, 0, 3, 128, 255]);
        (net.dilation, net.zero) = (Some([1 + g.below(20), 1 + g.below(30)]), Some(zero));
        let (stride, outputs, chain) = (g.pick(&[[1, 1], [1, 1], [1, 2], [2, 2]]), 1 + g.below(70), any_chain(&mut g));
        let y = net.conv(&mut g, x, outputs, kernel, stride, 1, chain, None);
        net.check(y, &mut g, seed % 2 == 0, &mut |s| {
            let has_border = s.decisions.iter().any(|d| d.problem.border.is_some());
            let on_tiles = s.kernels.iter().any(|(_, k)| k.name.contains("+amx_u8"));
            assert!(!(has_border && on_tiles && zero > 0));
            left_out[usize::from(zero > 0)] += usize::from(has_border);
        });
    }
    assert!(
        left_out.iter().all(|&n| n >= 20),
        "only {left_out:?} had a border to leave out, of zeros and of other zero points"
    );
}

/// Bytes between layers: borders of zero points, residual sums, one written over its operand.
#[test]
fn layers_pass_bytes_to_each_other() {
    let mut in_place = 0;
    for seed in 0..150 {
        let mut g = Gen::new(7000 + seed);
        let (mut net, x) = Net::new(&[1 + g.below(2), 1 + g.below(40), 4 + g.below(14), 4 + g.below(20)]);
        let requantised = |g: &mut Gen| Chain::Bytes { clipped: g.coin() };
        let channels = g.pick(&[3, 8, 16, 24, 32, 40, 58, 64, 64, 96, 128]);
        let (kernel, chain) = (g.pick(&[[1, 1], [3, 3], [5, 2]]), requantised(&mut g));
        let a = net.conv(&mut g, x, channels, kernel, [1, 1], 1, chain, None);
        let (kernel, chain) = (g.pick(&[[1, 1], [3, 3]]), requantised(&mut g));
        let b = net.conv(&mut g, a, channels, kernel, [1, 1], 1, chain, None);
        let sum = g.pick(&[
            Chain::Residual,
            Chain::Activated { times: 0, residual: true },
            Chain::Activated { times: 3, residual: true },
        ]);
        let c = net.conv(&mut g, b, channels, [3, 3], [1, 1], 1, sum, Some(a));
        let (kernel, stride, outputs) = (g.pick(&[[1, 1], [3, 3], [3, 1]]), [1 + g.below(2), 1], 1 + g.below(70));
        let chain = any_chain(&mut g);
        let y = net.conv(&mut g, c, outputs, kernel, stride, 1, chain, None);
        net.check(y, &mut g, seed % 2 == 0, &mut |s| {
            in_place += usize::from(s.steps.iter().any(|s| {
                let written = s.operands.last().map(|o| o.buffer);
                s.operands.iter().rev().skip(1).any(|o| Some(o.buffer) == written)
            }));
        });
    }
    let targets = byte_targets().len();
    assert!(in_place >= 15 * targets, "only {in_place} sums on {targets} targets were written over an operand");
}

/// Images side by side in one whose pixels lie together: parts written in place where they are whole blocks, one part of a concatenation of
/// concatenations, other readers of a part, and slices of the whole.
#[test]
fn concatenations_are_exact() {
    let bytes = Chain::Bytes { clipped: false };
    for seed in 0..60 {
        let mut g = Gen::new(7000 + seed);
        let (mut net, x) = Net::new(&[1, 32, 4 + g.below(6), g.pick(&[7, 12, 17])]);
        let mut parts: Vec<ValueId> = (0..2 + g.below(2))
            .map(|_| {
                let channels = g.pick(&[16, 32, 48, 64, 24, 40, 9]);
                net.conv(&mut g, x, channels, [3, 3], [1, 1], 1, bytes, None)
            })
            .collect();
        let first = parts[0];
        let join = |net: &mut Net, parts: &[ValueId]| {
            let concat = mnnc_ops::lookup("concat").expect("an op");
            let spec = NodeSpec::new(concat, parts.iter().copied()).attrs(Attrs::new().with("axis", 1i64));
            net.graph.emit(spec).expect("typed")
        };
        let mut whole = join(&mut net, &parts);
        if g.coin() {
            parts = vec![whole, net.conv(&mut g, first, 32, [1, 1], [1, 1], 1, bytes, None)];
            whole = join(&mut net, &parts);
        }
        let (kernel, outputs) = (g.pick(&[[3, 3], [1, 3], [1, 1]]), 1 + g.below(70));
        let chain = any_chain(&mut g);
        let y = net.conv(&mut g, whole, outputs, kernel, [1, 1], 1, chain, None);
        let z = net.conv(&mut g, first, 8, [3, 3], [1, 1], 1, bytes, None);
        let half = net.dims(whole)[1] / 32 * 16;
        let ints = |net: &mut Net, x: i64| net.constant(Tensor::new([1usize], vec![x]));
        let (begin, end) = (ints(&mut net, 0), ints(&mut net, half as i64));
        let axis = ints(&mut net, 1);
        let spec = NodeSpec::new(mnnc_ops::lookup("slice").expect("an op"), [whole, begin, end, axis]);
        let slice = net.graph.emit(spec).expect("typed");
        let w = net.conv(&mut g, slice, 20, kernel, [1, 1], 1, bytes, None);
        // All three are looked at.
        let cast = |net: &mut Net, v: ValueId| {
            let attrs = Attrs::new().with("to", DType::F32);
            let v = net
                .graph
                .emit(NodeSpec::new(mnnc_ops::lookup("cast").expect("an op"), [v]).attrs(attrs))
                .expect("typed");
            net.graph.emit(NodeSpec::new(mnnc_ops::lookup("flatten").expect("an op"), [v])).expect("typed")
        };
        let all = [y, z, w].map(|v| cast(&mut net, v));
        let all = join(&mut net, &all);
        net.check(all, &mut g, seed % 2 == 0, &mut |_| {});
    }
}

/// Products with a constant matrix: any number of rows, sums of any length, columns that end inside a vector.
#[test]
fn products_are_exact() {
    for seed in 0..120 {
        let mut g = Gen::new(9000 + seed);
        let (rows, depth) = (g.pick(&[1, 1, 2, 5, 13, 14, 40, 70]), g.pick(&[1, 4, 7, 30, 64, 129, 160]));
        let cols = 1 + g.below(150);
        let dims = if g.coin() { vec![rows, depth] } else { vec![1, rows, depth] };
        let (mut net, x) = Net::new(&dims);
        let w = signed(&mut g, &[depth, cols]);
        let w = net.constant(w);
        let zero = net.constant(Tensor::scalar(g.pick(&[0u8, 1, 128, 255])));
        let mut b = net.body();
        let p = net.param(&mut b, x);
        let sums = net.node(&mut b, "matmul_integer", &[p, w, zero], Attrs::new());
        let chain = any_chain(&mut g);
        net.what += &format!(" -> {cols} {chain:?}");
        let y = net.chain(&mut g, b, sums, 1, depth, chain, None);
        net.check(y, &mut g, seed % 2 == 0, &mut |s| {
            // Rows that are no whole words are left to the generic loops.
            let tuned = s.kernels.iter().any(|(_, k)| k.name.starts_with("matmul_integer"));
            assert_eq!(tuned, depth.is_multiple_of(4), "{depth}");
        });
    }
}

/// Speed of single layers: run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn layers() {
    // size, in, out, kernel, stride
    let layers = [
        (56, 64, 64, 3, 1),
        (28, 128, 128, 3, 1),
        (14, 256, 256, 3, 1),
        (7, 512, 512, 3, 1),
        (56, 64, 256, 1, 1),
        (56, 256, 64, 1, 1),
        (14, 1024, 256, 1, 1),
        (7, 2048, 512, 1, 1),
        (112, 16, 96, 1, 1),
        (56, 24, 144, 1, 1),
        (56, 144, 24, 1, 1),
        (28, 32, 192, 1, 1),
        (14, 96, 576, 1, 1),
        (14, 576, 96, 1, 1),
        (7, 960, 160, 1, 1),
        (224, 3, 32, 3, 2),
        (224, 3, 64, 7, 2),
    ];
    for target in byte_targets() {
        for (size, inputs, outputs, k, stride) in layers {
            let mut g = Gen::new(1);
            let (mut net, x) = Net::new(&[1, inputs, size, size]);
            let y = net.conv(&mut g, x, outputs, [k, k], [stride; 2], 1, Chain::Bytes { clipped: false }, None);
            net.graph.set_results(net.graph.main(), vec![y]);
            let mut schedule = lower(&net.graph, &target, families::ALL).expect("lowers");
            schedule.steps.retain(|s| s.flops > 0);
            let flops: u64 = schedule.steps.iter().map(|s| s.flops).sum();
            let mut m = Machine::new(&schedule);
            m.clear();
            let mut best = f64::MAX;
            let start = std::time::Instant::now();
            while start.elapsed().as_millis() < 150 {
                let t = std::time::Instant::now();
                m.run_steps(false);
                best = best.min(t.elapsed().as_secs_f64());
            }
            let layer = format!("{inputs} to {outputs} at {size}, {k}x{k}/{stride}");
            println!(
                "{:16} {layer:28} {:7.1} GOP/s {:8.1} us",
                target.full_name(),
                flops as f64 / best / 1e9,
                best * 1e6
            );
        }
    }
}
