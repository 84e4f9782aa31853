//! Random quantised graphs keep their results to the bit: scales are powers of two and sums are short, so that floats are exact
//! and no rounding can fall on another side.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::eval::Evaluator;
use mnnc_transform::levels::{OptLevel, Prefer, Target, pipeline};
use mnnc_transform::{Hooks, Manager, Pipeline};

/// Channels of every image.
const CHANNELS: usize = 4;

struct Gen {
    g: Graph,
    state: u64,
    /// Type of the activations' integers.
    stored: DType,
    /// Images `[1, CHANNELS, 6, 6]` in float, as they come out of quantisation.
    live: Vec<ValueId>,
}

impl Gen {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 33) % n as u64) as usize
    }
    fn pick(&mut self) -> ValueId {
        let back = self.below(self.live.len().min(3));
        self.live[self.live.len() - 1 - back]
    }
    fn op(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let op = mnnc_ops::lookup(name).unwrap_or_else(|| panic!("{name} is not declared"));
        self.g.emit(NodeSpec::new(op, inputs.iter().copied()).attrs(attrs)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn ints(&mut self, v: &[i64]) -> ValueId {
        self.g.add_const("i", Tensor::ints(v))
    }
    fn power(&mut self) -> f32 {
        1.0 / (1 << (2 + self.below(3))) as f32
    }
    /// Scale and zero point of an activation; often those of others.
    fn steps(&mut self) -> [ValueId; 2] {
        let scale = self.power();
        let zero = [0, 128, 100][self.below(3)];
        let zero = match self.stored {
            DType::I8 => Tensor::scalar((zero - 128) as i8),
            _ => Tensor::scalar(zero as u8),
        };
        [self.g.add_const("s", Tensor::scalar(scale)), self.g.add_const("z", zero)]
    }
    fn pair(&mut self, x: ValueId) -> ValueId {
        let [s, z] = self.steps();
        let q = self.op("quantize_linear", &[x, s, z], Attrs::new());
        self.op("dequantize_linear", &[q, s, z], Attrs::new())
    }
    fn weight(&mut self, dims: &[usize]) -> ValueId {
        let n: usize = dims.iter().product();
        let unsigned = self.below(3) == 0;
        let spread = if self.below(4) == 0 { 255 } else { 15 };
        let values: Vec<i64> = (0..n).map(|_| self.below(spread) as i64 - spread as i64 / 2).collect();
        let channels = if self.below(2) == 0 { vec![dims[0]] } else { Vec::new() };
        let count = channels.iter().product();
        let scale: Vec<f32> = (0..count).map(|_| self.power() / 16.0).collect();
        let scale = self.g.add_const("ws", Tensor::new(channels.clone(), scale));
        let attrs = Attrs::new().with("axis", 0i64);
        if unsigned {
            // Now and then a zero point with which the weights do not fit i8.
            let zero = if self.below(3) == 0 { 90 } else { 128 };
            let w = values.iter().map(|v| (v + 128).clamp(0, 255) as u8).collect();
            let w = self.g.add_const("w", Tensor::new(dims.to_vec(), w));
            let zero = self.g.add_const("wz", Tensor::new(channels, vec![zero as u8; count]));
            return self.op("dequantize_linear", &[w, scale, zero], attrs);
        }
        let w = self.g.add_const("w", Tensor::new(dims.to_vec(), values.iter().map(|&v| v as i8).collect::<Vec<i8>>()));
        self.op("dequantize_linear", &[w, scale], attrs)
    }
    fn bias(&mut self) -> ValueId {
        let values = (0..CHANNELS).map(|_| self.below(99) as i32 - 50).collect();
        let b = self.g.add_const("b", Tensor::new::<i32>(vec![CHANNELS], values));
        let s = self.g.add_const("bs", Tensor::scalar(1.0f32 / 256.0));
        self.op("dequantize_linear", &[b, s], Attrs::new())
    }
    /// One layer, its result not quantised yet.
    fn layer(&mut self) -> ValueId {
        let x = self.pick();
        let square = |k: i64| Attrs::new().with("kernel_shape", vec![k, k]);
        match self.below(12) {
            0 | 1 => {
                let (w, b) = (self.weight(&[CHANNELS, CHANNELS, 1, 1]), self.bias());
                self.op("conv", &[x, w, b], Attrs::new())
            }
            2 => {
                let w = self.weight(&[CHANNELS, 1, 3, 3]);
                let attrs = square(3).with("pads", vec![1i64; 4]).with("group", CHANNELS as i64);
                self.op("conv", &[x, w], attrs)
            }
            3 => {
                let y = self.pick();
                self.op("add", &[x, y], Attrs::new())
            }
            4 => self.op("relu", &[x], Attrs::new()),
            5 => {
                let (low, high) = (Tensor::scalar(-1.0f32), Tensor::scalar(6.0f32));
                let (low, high) = (self.g.add_const("lo", low), self.g.add_const("hi", high));
                self.op("clip", &[x, low, high], Attrs::new())
            }
            6 => self.op("max_pool", &[x], square(3).with("pads", vec![1i64; 4])),
            7 => self.op(
                "average_pool",
                &[x],
                square(2).with("pads", vec![0i64, 0, 1, 1]).with("count_include_pad", true),
            ),
            8 => {
                let y = self.pick();
                let c = self.op("concat", &[x, y], Attrs::new().with("axis", 1i64));
                let (start, end, axes) = (self.ints(&[2]), self.ints(&[2 + CHANNELS as i64]), self.ints(&[1]));
                let c = if self.below(2) == 0 { self.pair(c) } else { c };
                self.op("slice", &[c, start, end, axes], Attrs::new())
            }
            9 => {
                let to = self.ints(&[1, 2, CHANNELS as i64 / 2, 6, 6]);
                let back = self.ints(&[1, CHANNELS as i64, 6, 6]);
                let y = self.op("reshape", &[x, to], Attrs::new());
                let y = self.op("transpose", &[y], Attrs::new().with("perm", vec![0i64, 2, 1, 3, 4]));
                self.op("reshape", &[y, back], Attrs::new())
            }
            10 => {
                let pads = self.ints(&[0, 0, 1, 1, 0, 0, 0, 0]);
                let y = self.op("pad", &[x, pads], Attrs::new());
                let y = if self.below(2) == 0 { self.pair(y) } else { y };
                self.op("max_pool", &[y], square(2))
            }
            _ => {
                let flat = self.ints(&[36, CHANNELS as i64]);
                let back = self.ints(&[1, CHANNELS as i64, 6, 6]);
                let y = self.op("reshape", &[x, flat], Attrs::new());
                let w = self.weight(&[CHANNELS, CHANNELS]);
                let attrs = Attrs::new().with("transB", self.below(2) == 0);
                let y = self.op("gemm", &[y, w], attrs);
                self.op("reshape", &[y, back], Attrs::new())
            }
        }
    }
}

fn run(g: &Graph, x: &Tensor) -> Vec<Tensor> {
    Evaluator::new(g).run(std::slice::from_ref(x)).unwrap_or_else(|e| panic!("{e}\n{g}"))
}

#[test]
fn random_graphs_keep_every_bit() {
    let mut lowered = 0;
    for seed in 0..300 {
        let stored = if seed % 2 == 0 { DType::U8 } else { DType::I8 };
        let mut gen_ = Gen { g: Graph::new("random"), state: seed, stored, live: Vec::new() };
        let dims = vec![1, CHANNELS, 6, 6];
        let x = gen_.g.add_input("x", TensorType::new(DType::F32, dims.iter().copied()));
        let first = gen_.pair(x);
        gen_.live.push(first);
        for _ in 0..8 {
            let y = gen_.layer();
            let y = gen_.pair(y);
            gen_.live.push(y);
        }
        let n = 8 + gen_.below(2);
        // A result in integers, and one in float.
        let last = gen_.live[8];
        let q = gen_.g.node(gen_.g.producer(last).unwrap()).input(0).unwrap();
        gen_.g.set_results(gen_.g.main(), if n == 8 { vec![last] } else { vec![q] });
        let values = (0..36 * CHANNELS).map(|_| gen_.below(256) as f32 / 8.0 - 16.0).collect();
        let (g, x) = (gen_.g, Tensor::new(dims, values));
        let before = run(&g, &x);
        for level in [OptLevel::O1, OptLevel::O2] {
            let mut h = g.clone();
            let text = pipeline(Target::Native, level, Prefer::Normal);
            let hooks = Hooks { verify: true, ..Hooks::default() };
            let report = Manager::new(&hooks).run(&mut h, &Pipeline::parse(&text).unwrap());
            let report = report.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{g}"));
            lowered += report.count("integer convolution") + report.count("integer product");
            let after = run(&h, &x);
            for (a, b) in before.iter().zip(&after) {
                assert!(
                    a.bytes()[..] == b.bytes()[..],
                    "seed {seed} {level:?}: {:?}\n{:?}\n{g}\n{h}",
                    a.to_f64s(),
                    b.to_f64s()
                );
            }
        }
    }
    assert!(lowered > 500, "only {lowered} anchors were lowered");
}
