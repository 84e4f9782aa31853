//! Every pipeline keeps the results of graphs nobody thought of: every sample of every op by itself, and random graphs of
//! the patterns that passes look for.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, OpDecl, Tensor, TensorType, ValueId};
use mnnc_ops::eval::Evaluator;
use mnnc_transform::compare::difference;
use mnnc_transform::levels::{OptLevel, Prefer, Target, pipeline};
use mnnc_transform::{Hooks, Manager, Pipeline};

const LEVELS: [(Target, OptLevel); 3] =
    [(Target::Mnn, OptLevel::O0), (Target::Mnn, OptLevel::O1), (Target::Native, OptLevel::O2)];

/// Runs every level and compares with the graph as it was. Returns the number of changes.
fn keeps(g: &Graph, inputs: &[Tensor], what: &str) -> usize {
    let before = Evaluator::new(g).run(inputs).unwrap_or_else(|e| panic!("{what}: {e}\n{g}"));
    let mut changes = 0;
    for (target, level) in LEVELS {
        let mut h = g.clone();
        let text = pipeline(target, level, Prefer::Normal);
        let hooks = Hooks { verify: true, ..Hooks::default() };
        let report = Manager::new(&hooks).run(&mut h, &Pipeline::parse(&text).unwrap());
        changes += report.unwrap_or_else(|e| panic!("{what} {target:?} {level:?}: {e}\n{g}")).changes();
        let after =
            Evaluator::new(&h).run(inputs).unwrap_or_else(|e| panic!("{what} {target:?} {level:?}: {e}\n{g}\n{h}"));
        for (a, b) in before.iter().zip(&after) {
            if let Some(text) = difference(a, b) {
                panic!("{what} {target:?} {level:?}: {text}\n{g}\n{h}");
            }
        }
    }
    changes
}

#[test]
fn samples_of_every_op() {
    for &op in mnnc_ops::ALL {
        if op.regions > 0 || op.traits.contains(mnnc_ir::Traits::IMPURE) {
            continue;
        }
        for (i, sample) in mnnc_ops::samples(op, 7).into_iter().enumerate() {
            let mut g = Graph::new(op.name);
            let mut inputs = Vec::new();
            let mut operands = Vec::new();
            for (k, t) in sample.inputs.iter().enumerate() {
                operands.push(t.as_ref().map(|t| {
                    if sample.constant.get(k) == Some(&true) {
                        g.add_const("c", t.clone())
                    } else {
                        inputs.push(t.clone());
                        g.add_input("x", t.ty())
                    }
                }));
            }
            let names = vec![String::new(); sample.num_outputs];
            let spec = NodeSpec { inputs: operands, ..NodeSpec::new(op, []).attrs(sample.attrs).outputs(names) };
            let what = format!("{} sample {i}", op.name);
            let n = g.add_node(spec).unwrap_or_else(|e| panic!("{what}: {e}"));
            let outputs = g.node(n).outputs().to_vec();
            g.set_results(g.main(), outputs);
            if Evaluator::new(&g).run(&inputs).is_ok() {
                keeps(&g, &inputs, &what);
            }
        }
    }
}

struct Gen {
    g: Graph,
    state: u64,
    /// Values of one shape [1, C, H, W] each.
    live: Vec<ValueId>,
}

impl Gen {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 33) % n as u64) as usize
    }
    fn unit(&mut self) -> f32 {
        self.below(2001) as f32 / 1000.0 - 1.0
    }
    fn tensor(&mut self, dims: &[usize], lo: f32, hi: f32) -> ValueId {
        let n = dims.iter().product();
        let v: Vec<f32> = (0..n).map(|_| lo + (hi - lo) * (self.unit() + 1.0) / 2.0).collect();
        self.g.add_const("c", Tensor::new(dims.to_vec(), v))
    }
    fn op(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let op: &'static OpDecl = mnnc_ops::lookup(name).unwrap_or_else(|| panic!("{name} is not declared"));
        self.g.emit(NodeSpec::new(op, inputs.iter().copied()).attrs(attrs)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn number(&mut self, x: f32) -> ValueId {
        self.g.add_const("k", Tensor::scalar(x))
    }
    fn pick(&mut self) -> ValueId {
        // Mostly the newest, so that chains grow.
        let n = self.live.len();
        let back = self.below(n.min(3));
        self.live[n - 1 - back]
    }
    fn swapped(&mut self, a: ValueId, b: ValueId) -> [ValueId; 2] {
        if self.below(2) == 0 { [a, b] } else { [b, a] }
    }
    fn axes(&mut self, axes: &[i64]) -> ValueId {
        self.g.add_const("axes", Tensor::ints(axes))
    }

    /// Appends one pattern.
    fn grow(&mut self) {
        let x = self.pick();
        let d = self.g.ty(x).static_dims().unwrap();
        let (c, none) = (d[1], Attrs::new);
        let y = match self.below(18) {
            0 => {
                let (out, k) = (1 + self.below(4), [1, 3][self.below(2)]);
                let w = self.tensor(&[out, c, k, k], -0.5, 0.5);
                let pad = k as i64 / 2;
                self.op("conv", &[x, w], none().with("pads", vec![pad; 4]))
            }
            1 => {
                let w = self.tensor(&[c, 1, 3, 3], -0.5, 0.5);
                let b = self.tensor(&[c], -0.5, 0.5);
                self.op("conv", &[x, w, b], none().with("pads", vec![1i64; 4]).with("group", c as i64))
            }
            2 | 3 => {
                let p = [(0.5, 2.0), (-1.0, 1.0), (-0.5, 0.5), (0.5, 2.0)].map(|(lo, hi)| self.tensor(&[c], lo, hi));
                self.op("batch_normalization", &[x, p[0], p[1], p[2], p[3]], none())
            }
            4 | 5 => {
                let shape = [vec![1, c, 1, 1], vec![c, 1, 1], vec![], vec![1], vec![d[3]]][self.below(5)].clone();
                let k = self.tensor(&shape, 0.5, 2.0);
                let name = ["add", "sub", "mul", "div"][self.below(4)];
                let pair = if name == "div" { [x, k] } else { self.swapped(x, k) };
                self.op(name, &pair, none())
            }
            6 => {
                let (three, six, zero) = (self.number(3.0), self.number(6.0), self.number(0.0));
                let pair = self.swapped(x, three);
                let a = self.op("add", &pair, none());
                let b = self.op("clip", &[a, zero, six], none());
                let pair = self.swapped(x, b);
                let m = self.op("mul", &pair, none());
                self.op("div", &[m, six], none())
            }
            7 => {
                let s = self.op("sigmoid", &[x], none());
                let pair = self.swapped(x, s);
                self.op("mul", &pair, none())
            }
            8 => {
                let (r, one, half) = (self.number(std::f32::consts::SQRT_2), self.number(1.0), self.number(0.5));
                let a = self.op("div", &[x, r], none());
                let e = self.op("erf", &[a], none());
                let s = self.op("add", &[e, one], none());
                let m = self.op("mul", &[x, s], none());
                self.op("mul", &[half, m], none())
            }
            9 => {
                let axes = [vec![2i64, 3], vec![-1], vec![3], vec![1]][self.below(4)].clone();
                let axes = self.axes(&axes);
                let (eps, two) = (self.number(1e-3), self.number(2.0));
                let m = self.op("reduce_mean", &[x, axes], none());
                let d = self.op("sub", &[x, m], none());
                let q = self.op("pow", &[d, two], none());
                let v = self.op("reduce_mean", &[q, axes], none());
                let s = self.op("add", &[v, eps], none());
                let r = self.op("sqrt", &[s], none());
                self.op("div", &[d, r], none())
            }
            10 | 11 => {
                let perm = [vec![0i64, 2, 3, 1], vec![0, 3, 1, 2], vec![0, 1, 3, 2]][self.below(3)].clone();
                let t = self.op("transpose", &[x], none().with("perm", perm.clone()));
                let name = ["relu", "neg", "tanh", "identity"][self.below(4)];
                let r = self.op(name, &[t], none());
                let back: Vec<i64> = (0..4i64).map(|i| perm.iter().position(|&p| p == i).unwrap() as i64).collect();
                if self.below(3) == 0 { r } else { self.op("transpose", &[r], none().with("perm", back)) }
            }
            12 => {
                let sizes = [0, 0, self.below(2), self.below(2), 0, 0, self.below(2), self.below(3)].map(|x| x as i64);
                let pads = self.axes(&sizes);
                self.op("pad", &[x, pads], none())
            }
            13 => {
                let other = self.pick();
                if self.g.ty(other).dims == self.g.ty(x).dims {
                    let name = ["add", "mul", "max"][self.below(3)];
                    self.op(name, &[x, other], none())
                } else {
                    self.op("concat", &[x, x], none().with("axis", 1i64))
                }
            }
            14 => {
                let pooled = self.op(
                    "average_pool",
                    &[x],
                    none().with("kernel_shape", vec![2i64, 2]).with("pads", vec![1i64; 4]),
                );
                self.op("relu", &[pooled], none())
            }
            15 => {
                let axes = self.axes(&[2, 3]);
                let m = self.op("reduce_mean", &[x, axes], none());
                let s = self.op("sigmoid", &[m], none());
                self.op("mul", &[x, s], none())
            }
            16 => {
                let n: usize = d.iter().product();
                let flat = self.axes(&[1, n as i64]);
                let back = self.axes(&d.iter().map(|&k| k as i64).collect::<Vec<_>>());
                let f = self.op("reshape", &[x, flat], none());
                let f = if self.below(2) == 0 { self.op("tanh", &[f], none()) } else { f };
                self.op("reshape", &[f, back], none())
            }
            _ => {
                let name = ["relu", "hard_swish", "swish", "exp", "softmax", "abs", "hard_sigmoid"][self.below(7)];
                let x = if name == "exp" { self.op("tanh", &[x], none()) } else { x };
                self.op(name, &[x], none())
            }
        };
        // Keep the graphs small.
        if self.g.ty(y).num_elements().is_some_and(|n| n <= 4096) {
            self.live.push(y);
        }
    }
}

#[test]
fn random_graphs_of_known_patterns() {
    let mut changes = 0;
    for seed in 0..500u64 {
        let mut r = Gen { g: Graph::new(format!("seed {seed}")), state: seed * 77 + 5, live: Vec::new() };
        let (c, h) = (1 + r.below(4), 3 + r.below(4));
        let ty = TensorType::new(DType::F32, [1, c, h, h]);
        let x = r.g.add_input("x", ty);
        r.live.push(x);
        for _ in 0..2 + r.below(9) {
            r.grow();
        }
        let mut outputs = vec![*r.live.last().unwrap()];
        if r.below(2) == 0 {
            let more = r.pick();
            if !outputs.contains(&more) {
                outputs.push(more);
            }
        }
        r.g.set_results(r.g.main(), outputs);
        r.g.verify().unwrap();
        let input: Vec<f32> = (0..c * h * h).map(|_| 2.0 * r.unit()).collect();
        changes += keeps(&r.g, &[Tensor::new(vec![1, c, h, h], input)], &format!("seed {seed}"));
    }
    assert!(changes > 3000, "the patterns are not found: {changes} changes");
}

#[test]
fn ten_thousand_nodes_take_no_time() {
    let mut r = Gen { g: Graph::new("long"), state: 1, live: Vec::new() };
    let batch = r.g.syms.named("batch");
    let dims = [batch, 4u64.into(), 6u64.into(), 6u64.into()];
    let x = r.g.add_input("x", TensorType::new(DType::F32, dims));
    let mut v = x;
    for i in 0..2000 {
        let k = r.tensor(&[1, 4, 1, 1], 0.5, 2.0);
        let w = r.tensor(&[4, 4, 1, 1], -0.5, 0.5);
        let c = r.op("conv", &[v, w], Attrs::new());
        let a = r.op("add", &[c, k], Attrs::new());
        let s = r.op("sigmoid", &[a], Attrs::new());
        let m = r.op("mul", &[a, s], Attrs::new());
        v = if i % 3 == 0 { r.op("add", &[m, v], Attrs::new()) } else { m };
    }
    r.g.set_results(r.g.main(), vec![v]);
    let start = std::time::Instant::now();
    let text = pipeline(Target::Native, OptLevel::O2, Prefer::Normal);
    let hooks = Hooks::default();
    Manager::new(&hooks).run(&mut r.g, &Pipeline::parse(&text).unwrap()).unwrap();
    assert_eq!(r.g.schedule().len(), 2000);
    assert!(start.elapsed().as_secs_f64() < 10.0, "{:?}", start.elapsed());
    eprintln!("{:?}", start.elapsed());
}
