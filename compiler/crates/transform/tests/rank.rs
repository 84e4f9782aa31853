//! Networks over one or three dimensions keep their results when they become networks of images.

use mnnc_ir::{Attrs, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::eval::Evaluator;
use mnnc_transform::compare::difference;
use mnnc_transform::levels::{OptLevel, Prefer, Target, pipeline};
use mnnc_transform::{Hooks, Manager, Pipeline};

struct Gen {
    g: Graph,
    state: u64,
    /// Values of one batch, channels and length each.
    live: Vec<ValueId>,
}

impl Gen {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 33) % n as u64) as usize
    }

    fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let n = dims.iter().product();
        let values: Vec<f32> = (0..n).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect();
        Tensor::new(dims.to_vec(), values)
    }

    fn constant(&mut self, dims: &[usize]) -> ValueId {
        let t = self.tensor(dims);
        self.g.add_const("c", t)
    }

    fn op(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let op = mnnc_ops::lookup(name).unwrap_or_else(|| panic!("{name} is not declared"));
        self.g.emit(NodeSpec::new(op, inputs.iter().copied()).attrs(attrs)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn pick(&mut self) -> ValueId {
        let n = self.live.len();
        let back = self.below(n.min(3));
        self.live[n - 1 - back]
    }

    /// The sum of a value and another one, or their concatenation.
    fn joined(&mut self, x: ValueId) -> ValueId {
        let other = self.pick();
        let same = self.g.ty(other).dims == self.g.ty(x).dims;
        let axis = [1i64, 2, -1][self.below(3)];
        if same && self.below(2) == 0 {
            self.op("add", &[x, other], Attrs::new())
        } else {
            self.op("concat", &[x, if same { other } else { x }], Attrs::new().with("axis", axis))
        }
    }

    /// A value and a constant of this shape.
    fn with_constant(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let k = self.constant(shape);
        let name = ["add", "mul", "max"][self.below(3)];
        let pair = if self.below(2) == 0 { [x, k] } else { [k, x] };
        self.op(name, &pair, Attrs::new())
    }

    /// Appends an op.
    fn grow(&mut self) {
        let x = self.pick();
        let d = self.g.ty(x).static_dims().unwrap();
        let (c, none) = (d[1], Attrs::new);
        let y = match self.below(9) {
            0 | 1 => {
                let (out, k, dilation) = (1 + self.below(5), 1 + 2 * self.below(2), 1 + self.below(2));
                let w = self.constant(&[out, c, k]);
                let pad = (dilation * (k - 1) / 2) as i64;
                let attrs = none().with("pads", vec![pad; 2]).with("dilations", vec![dilation as i64]);
                self.op("conv", &[x, w], attrs)
            }
            2 => {
                let (w, b) = (self.constant(&[c, 1, 3]), self.constant(&[c]));
                self.op("conv", &[x, w, b], none().with("pads", vec![2i64, 0]).with("group", c as i64))
            }
            3 => {
                let w = self.constant(&[c, 2, 2]);
                self.op("conv_transpose", &[x, w], none().with("strides", vec![2i64]))
            }
            4 => {
                let name = ["max_pool", "average_pool"][self.below(2)];
                let attrs = none().with("kernel_shape", vec![2i64]).with("ceil_mode", true);
                self.op(name, &[x], attrs.with("pads", vec![0i64, 1]))
            }
            5 => {
                let shape = [vec![1, c, 1], vec![c, 1], vec![d[2]], vec![1], d.clone()][self.below(5)].clone();
                self.with_constant(x, &shape)
            }
            6 => self.joined(x),
            7 => {
                let name = ["relu", "sigmoid", "tanh"][self.below(3)];
                self.op(name, &[x], none())
            }
            _ => {
                let p = [(); 2].map(|()| self.constant(&[c]));
                self.op("instance_normalization", &[x, p[0], p[1]], none())
            }
        };
        if self.g.ty(y).static_dims().unwrap().iter().product::<usize>() < 3000 {
            self.live.push(y);
        }
    }
}

impl Gen {
    /// Appends an op over volumes.
    fn grow_volume(&mut self) {
        let x = self.pick();
        let d = self.g.ty(x).static_dims().unwrap();
        let (c, none) = (d[1], Attrs::new);
        let small = d[2].min(d[3]).min(d[4]) < 3;
        let y = match self.below(8) {
            0..=2 if d[3].min(d[4]) >= 3 => {
                let (groups, each) = if self.below(3) == 0 { (c, 1) } else { (1, 1 + self.below(4)) };
                let kernel = [1 + self.below(3), 1 + self.below(3), 1 + self.below(3)];
                let w = self.constant(&[groups * each, c / groups, kernel[0], kernel[1], kernel[2]]);
                let b = self.constant(&[groups * each]);
                let mut pads: Vec<i64> = (0..6).map(|i| self.below(kernel[i % 3]) as i64).collect();
                // One or two frames: windows that reach beyond them at one end or both.
                pads[3] = pads[3].max(kernel[0] as i64 - d[2] as i64 - pads[0]);
                let strides: Vec<i64> = (0..3).map(|_| 1 + self.below(2) as i64).collect();
                let attrs = none().with("pads", pads).with("strides", strides).with("group", groups as i64);
                self.op("conv", &[x, w, b], attrs)
            }
            3 | 4 if !small => {
                let name = ["max_pool", "average_pool"][self.below(2)];
                let pads: Vec<i64> = (0..6).map(|_| self.below(2) as i64).collect();
                let attrs = none().with("kernel_shape", vec![2i64, 2, 3]).with("strides", vec![2i64, 1, 2]);
                let attrs = if self.below(2) == 0 { attrs } else { attrs.with("pads", pads) };
                self.op(name, &[x], attrs)
            }
            5 => {
                let shape =
                    [vec![1, c, 1, 1, 1], vec![c, 1, 1, 1], vec![d[4]], vec![1], d.clone()][self.below(5)].clone();
                self.with_constant(x, &shape)
            }
            6 => self.joined(x),
            _ => self.op("relu", &[x], none()),
        };
        if self.g.ty(y).static_dims().unwrap().iter().product::<usize>() < 5000 {
            self.live.push(y);
        }
    }
}

#[test]
fn networks_of_three_dimensions() {
    let mut lowered = 0;
    for seed in 0..300 {
        let mut net = Gen { g: Graph::new("volume"), state: seed, live: Vec::new() };
        let mut size = || 3 + net.below(4);
        let spatial = [size(), size(), size()];
        let dims = [1 + net.below(2), 1 + net.below(3), spatial[0], spatial[1], spatial[2]];
        let x = net.g.add_input("x", TensorType::new(mnnc_ir::DType::F32, dims));
        net.live.push(x);
        for _ in 0..6 {
            net.grow_volume();
        }
        let last = *net.live.last().unwrap();
        let axes = net.g.add_const("axes", Tensor::ints(&[2, 3, 4]));
        let name = ["reduce_mean", "reduce_max"][net.below(2)];
        let pooled = net.op(name, &[last, axes], Attrs::new().with("keepdims", seed % 3 == 0));
        lowered += keeps(net, &dims, &[last, pooled], "conv", 5);
    }
    assert!(lowered > 100, "only {lowered} convolutions");
}

/// Runs the pipelines of native code and compares. Counts ops of a kind, none of which may be left on values of this rank.
fn keeps(mut net: Gen, dims: &[usize], results: &[ValueId], kind: &str, rank: usize) -> usize {
    let main = net.g.main();
    net.g.set_results(main, results.to_vec());
    let (seed, input) = (net.state, net.tensor(dims));
    let before = Evaluator::new(&net.g).run(std::slice::from_ref(&input)).unwrap();
    let mut count = 0;
    for level in [OptLevel::O0, OptLevel::O2] {
        let mut h = net.g.clone();
        let hooks = Hooks { verify: true, ..Hooks::default() };
        let text = pipeline(Target::Native, level, Prefer::Normal);
        let report = Manager::new(&hooks).run(&mut h, &Pipeline::parse(&text).unwrap());
        report.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", net.g));
        let after = Evaluator::new(&h).run(std::slice::from_ref(&input)).unwrap();
        for (a, b) in before.iter().zip(&after) {
            if let Some(text) = difference(a, b) {
                panic!("seed {seed} {level:?}: {text}\n{}\n{h}", net.g);
            }
        }
        let windows = h.schedule().iter().filter(|&&n| h.node(n).op.name == kind);
        let left = |&&n: &&mnnc_ir::NodeId| h.node(n).input(0).is_some_and(|v| h.ty(v).rank() == rank);
        assert_eq!(windows.clone().filter(left).count(), 0, "seed {seed} {level:?}\n{h}");
        count += windows.count();
    }
    count
}

#[test]
fn networks_of_one_dimension() {
    let mut lifted = 0;
    for seed in 0..300 {
        let mut net = Gen { g: Graph::new("row"), state: seed, live: Vec::new() };
        let dims = [1 + net.below(2), 1 + net.below(4), 4 + net.below(9)];
        let x = net.g.add_input("x", TensorType::new(mnnc_ir::DType::F32, dims));
        net.live.push(x);
        for _ in 0..8 {
            net.grow();
        }
        let last = *net.live.last().unwrap();
        let axes = net.g.add_const("axes", Tensor::ints(&[2]));
        let name = ["reduce_mean", "reduce_max"][net.below(2)];
        let pooled = net.op(name, &[last, axes], Attrs::new().with("keepdims", seed % 3 == 0));
        lifted += keeps(net, &dims, &[last, pooled], "conv", 3);
    }
    assert!(lifted > 100, "only {lifted} convolutions");
}
