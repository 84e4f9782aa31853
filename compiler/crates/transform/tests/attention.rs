//! Attention in random spellings: recognised as one node, with the same result.

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_transform::compare::difference;
use mnnc_transform::levels::{OptLevel, Prefer, Target, pipeline};
use mnnc_transform::{Hooks, Manager, Pipeline};

/// A graph being spelt.
struct Speller {
    g: Graph,
    gen_: Gen,
    inputs: Vec<Tensor>,
    said: Vec<String>,
}

impl Speller {
    fn op(&mut self, name: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        let op = mnnc_ops::lookup(name).unwrap_or_else(|| panic!("{name} is not declared"));
        self.g.emit(NodeSpec::new(op, inputs.iter().copied()).attrs(attrs)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
    fn input(&mut self, dims: &[usize]) -> ValueId {
        self.inputs.push(self.gen_.f32s(dims));
        self.g.add_input("x", TensorType::new(DType::F32, dims.iter().copied()))
    }
    fn number(&mut self, x: f64) -> ValueId {
        self.g.add_const("k", Tensor::scalar(x as f32))
    }
    fn reshape(&mut self, x: ValueId, dims: &[usize]) -> ValueId {
        let shape: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let shape = self.g.add_const("shape", Tensor::ints(&shape));
        self.op("reshape", &[x, shape], Attrs::new())
    }
    fn transpose(&mut self, x: ValueId, perm: &[i64]) -> ValueId {
        self.op("transpose", &[x], Attrs::new().with("perm", perm.to_vec()))
    }
    fn say(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }
    fn either(&mut self, a: ValueId, b: ValueId) -> [ValueId; 2] {
        if self.gen_.coin() { [a, b] } else { [b, a] }
    }
    fn scaled(&mut self, x: ValueId, by: f64) -> ValueId {
        if self.gen_.coin() {
            let k = self.number(by);
            let pair = self.either(x, k);
            self.op("mul", &pair, Attrs::new())
        } else {
            let k = self.number(1.0 / by);
            self.op("div", &[x, k], Attrs::new())
        }
    }
    /// The relu of an input, as if a layer had computed it.
    fn projection(&mut self, dims: &[usize]) -> ValueId {
        let x = self.input(dims);
        self.op("neg", &[x], Attrs::new())
    }

    /// `[n, heads, rows, cols]`, split off a projection with batch or sequence first.
    fn heads(&mut self, [n, heads, rows, cols]: [usize; 4]) -> ValueId {
        if self.gen_.coin() {
            let x = self.projection(&[n, rows, heads * cols]);
            let x = self.reshape(x, &[n, rows, heads, cols]);
            self.transpose(x, &[0, 2, 1, 3])
        } else {
            self.say("sequence first");
            let x = self.projection(&[rows, n, heads * cols]);
            let x = self.reshape(x, &[rows, n * heads, cols]);
            let x = self.transpose(x, &[1, 0, 2]);
            self.reshape(x, &[n, heads, rows, cols])
        }
    }

    /// q, k, v parts of one projection.
    fn packed(&mut self, [n, heads, rows, cols]: [usize; 4]) -> [ValueId; 3] {
        self.say("packed");
        let x = self.projection(&[n, rows, 3 * heads * cols]);
        let x = self.reshape(x, &[n, rows, 3, heads, cols]);
        let x = self.transpose(x, &[2, 0, 3, 1, 4]);
        [0i64, 1, 2].map(|i| {
            let i = self.g.add_const("i", Tensor::new(Vec::<usize>::new(), vec![i]));
            self.op("gather", &[x, i], Attrs::new().with("axis", 0i64))
        })
    }

    fn mask(&mut self, scores: ValueId, shape: [usize; 4]) -> ValueId {
        let [n, h, s, l] = shape;
        let dims =
            self.gen_.pick(&[[1, 1, s, l], [n, 1, 1, l], [1, h, s, l], [n, h, s, l], [1, 1, s, 1], [1, 1, 1, 1]]);
        self.say(format!("mask {dims:?}"));
        let mask = if self.gen_.coin() {
            let t = self.gen_.f32s(&dims);
            self.g.add_const("mask", t)
        } else {
            self.input(&dims)
        };
        let pair = self.either(scores, mask);
        self.op("add", &pair, Attrs::new())
    }

    fn spell(&mut self) -> ValueId {
        let (n, h) = (1 + self.gen_.below(3), 1 + self.gen_.below(4));
        let (s, e) = (1 + self.gen_.below(12), 1 + self.gen_.below(6));
        let packed = self.gen_.coin();
        let (l, f) = if packed { (s, e) } else { (1 + self.gen_.below(12), 1 + self.gen_.below(6)) };
        let [mut q, k, mut v] = if packed {
            self.packed([n, h, s, e])
        } else {
            [self.heads([n, h, s, e]), self.heads([n, h, l, e]), self.heads([n, h, l, f])]
        };
        let root = 1.0 / (e as f64).sqrt();
        let place = self.gen_.below(4);
        self.say(format!("scale {place}"));
        let mut kt = self.transpose(k, &[0, 1, 3, 2]);
        match place {
            0 => q = self.scaled(q, root),
            1 => {
                q = self.scaled(q, root.sqrt());
                kt = self.scaled(kt, root.sqrt());
            }
            _ => {}
        }
        let flat = self.gen_.below(3) == 0;
        if flat {
            self.say("matrices of rank 3");
            q = self.reshape(q, &[n * h, s, e]);
            kt = self.reshape(kt, &[n * h, e, l]);
            v = self.reshape(v, &[n * h, l, f]);
        }
        let mut x = self.op("matmul", &[q, kt], Attrs::new());
        if place == 2 {
            x = self.scaled(x, root);
        }
        if self.gen_.coin() {
            x = self.reshape(x, &[n, h, s, l]);
            for _ in 0..1 + self.gen_.below(2) {
                x = self.mask(x, [n, h, s, l]);
            }
            if flat {
                x = self.reshape(x, &[n * h, s, l]);
            }
        }
        let w = self.op("softmax", &[x], Attrs::new().with("axis", -1i64));
        let y = self.op("matmul", &[w, v], Attrs::new());
        let y = self.reshape(y, &[n, h, s, f]);
        match self.gen_.below(3) {
            0 => {
                let y = self.transpose(y, &[0, 2, 1, 3]);
                self.reshape(y, &[n, s, h * f])
            }
            1 => {
                let y = self.transpose(y, &[2, 0, 1, 3]);
                self.reshape(y, &[s * n, h * f])
            }
            _ => y,
        }
    }
}

#[test]
fn random_spellings_are_recognised() {
    for seed in 0..300 {
        let mut s = Speller { g: Graph::new("attention"), gen_: Gen::new(seed), inputs: Vec::new(), said: Vec::new() };
        let y = s.spell();
        let z = s.op("relu", &[y], Attrs::new());
        s.g.set_results(s.g.main(), vec![z]);
        s.g.verify().unwrap_or_else(|e| panic!("{e:?}"));
        let what = format!("seed {seed}: {}", s.said.join(", "));
        let mut after = s.g.clone();
        let text = pipeline(Target::Native, OptLevel::O2, Prefer::Normal);
        let hooks = Hooks { verify: true, ..Hooks::default() };
        Manager::new(&hooks)
            .run(&mut after, &Pipeline::parse(&text).unwrap())
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let want = Evaluator::new(&s.g).run(&s.inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
        let got = Evaluator::new(&after).run(&s.inputs).unwrap_or_else(|e| panic!("{what}: {e}\n{after}"));
        if let Some(text) = difference(&want[0], &got[0]) {
            panic!("{what}: {text}\n{}\n{after}", s.g);
        }
        let left: Vec<&str> = after.schedule().iter().map(|&n| after.node(n).op.name).collect();
        assert!(left.contains(&"multi_head_attention"), "{what} is not recognised\n{}\n{after}", s.g);
        assert!(!left.contains(&"matmul") && !left.contains(&"softmax"), "{what} is there twice\n{after}");
    }
}
