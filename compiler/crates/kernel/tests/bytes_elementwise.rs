//! Element-wise chains on bytes, `i32` and `f32` against the reference evaluation, bit for bit: quantisation and dequantisation spelled in
//! arithmetic, sums of quantised operands, activations between.

mod support;

use mnnc_ir::{Attrs, DType, Graph, NodeSpec, Tensor, TensorType, ValueId};
use mnnc_kernel::{KernelCode, families, lower};
use mnnc_ops::Evaluator;
use mnnc_ops::sample::Gen;
use mnnc_vector::Target;
use support::{Machine, byte_targets};

/// A graph, its inputs, and what it is.
struct Net {
    graph: Graph,
    inputs: Vec<Tensor>,
    what: String,
}

impl Net {
    fn new() -> Net {
        Net { graph: Graph::new("chain"), inputs: Vec::new(), what: String::new() }
    }
    fn input(&mut self, t: Tensor) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        self.what += &format!(" {}{:?}", t.dtype(), t.dims());
        let v = self.graph.add_input(&name, TensorType::new(t.dtype(), t.dims().iter().copied()));
        self.inputs.push(t);
        v
    }
    fn emit(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
        self.what += &format!(" {op}");
        let spec =
            NodeSpec::new(mnnc_ops::lookup(op).expect("an op"), inputs.iter().copied()).attrs(attrs).outputs(["y"]);
        self.graph.emit(spec).unwrap_or_else(|e| panic!("{}: {e:?}", self.what))
    }
    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.emit(op, inputs, Attrs::new())
    }
    fn number(&mut self, x: f32) -> ValueId {
        self.graph.add_const("c", Tensor::scalar(x))
    }
    fn cast(&mut self, x: ValueId, to: DType) -> ValueId {
        self.emit("cast", &[x], Attrs::new().with("to", to))
    }
    /// `(x - zero) * scale`, the difference in `i32` or in `f32`.
    fn dequantise(&mut self, g: &mut Gen, x: ValueId) -> ValueId {
        let (zero, scale) = (g.below(256) as f32, 0.01 + g.below(1000) as f32 * 1e-4);
        let scale = self.number(scale);
        let x = if g.coin() {
            let wide = self.cast(x, DType::I32);
            let zero = self.graph.add_const("z", Tensor::scalar(zero as i32));
            let difference = self.op("sub", &[wide, zero]);
            self.cast(difference, DType::F32)
        } else {
            let wide = self.cast(x, DType::F32);
            let zero = self.number(zero);
            self.op("sub", &[wide, zero])
        };
        self.op("mul", &[x, scale])
    }
    /// `saturate(round(x / scale) + zero)`, with or without bounds.
    fn quantise(&mut self, g: &mut Gen, x: ValueId) -> ValueId {
        let zero = g.pick(&[0, 0, 128, 255, 3, 117]);
        let scale = g.pick(&[0.0625, 0.5, 1.0, 0.037, 0.1, 0.123_456]) + g.pick(&[0.0, 0.0, 1e-3, 0.02]);
        let scale = self.number(scale);
        let quotient = self.op(g.pick(&["div", "div", "div", "mul"]), &[x, scale]);
        let mut y = self.op("round", &[quotient]);
        if zero != 0 || g.coin() {
            let zero = self.number(zero as f32);
            y = self.op("add", &[y, zero]);
        }
        if g.coin() {
            let (low, high) = (self.number(g.pick(&[0.0, 0.0, 7.0])), self.number(g.pick(&[255.0, 255.0, 200.0])));
            y = self.op("clip", &[y, low, high]);
        }
        self.cast(y, DType::U8)
    }
    fn activation(&mut self, g: &mut Gen, x: ValueId) -> ValueId {
        match g.below(5) {
            0 => self.op("relu", &[x]),
            1 => {
                let (low, high) = (self.number(0.0), self.number(6.0));
                self.op("clip", &[x, low, high])
            }
            2 => self.op("abs", &[x]),
            3 => {
                let three = self.number(3.0);
                let (shifted, six) = (self.op("add", &[x, three]), self.number(6.0));
                let zero = self.number(0.0);
                let gate = self.op("clip", &[shifted, zero, six]);
                let product = self.op("mul", &[x, gate]);
                self.op("div", &[product, six])
            }
            _ => x,
        }
    }
    /// Compares with the reference on every target, in one share and in two. Only what `generic` allows may be loops.
    fn check(mut self, y: ValueId, split: bool) {
        self.graph.set_results(self.graph.main(), vec![y]);
        let expected = Evaluator::new(&self.graph).run(&self.inputs).expect("evaluates").remove(0);
        for target in byte_targets() {
            let schedule =
                lower(&self.graph, &target, families::ALL).unwrap_or_else(|e| panic!("{}: {e:?}", self.what));
            let generic = schedule.kernels.iter().find(|(_, k)| matches!(k.code, KernelCode::Loops(_)));
            assert!(generic.is_none(), "{}: {} runs {:?}", target.full_name(), self.what, generic.map(|g| &g.1.name));
            let shape = [(expected.dtype(), expected.dims().to_vec())];
            let got = Machine::new(&schedule).run(&self.inputs, &shape, split).remove(0);
            let size = expected.dtype().size();
            let pairs = got.bytes().chunks(size).zip(expected.bytes().chunks(size)).enumerate();
            for (i, (a, b)) in pairs {
                assert_eq!(a, b, "{}: element {i} of {}", target.full_name(), self.what);
            }
        }
    }
}

fn bytes(g: &mut Gen, dims: &[usize]) -> Tensor {
    g.tensor(DType::U8, dims, 0.0, 255.0)
}

/// One or several chains as nodes of their own: a `fused` node is lowered by the same formula.
#[test]
fn plain_chains_equal_the_reference() {
    for seed in 0..120 {
        let mut g = Gen::new(seed);
        let dims: Vec<usize> = match g.below(3) {
            0 => vec![1 + g.below(9000)],
            1 => vec![1 + g.below(5), 1 + g.below(70)],
            _ => vec![1 + g.below(3), 1 + g.below(6), 1 + g.below(9), 1 + g.below(40)],
        };
        let mut net = Net::new();
        let fused = chain(&mut net, &mut g, &dims);
        net.check(fused, seed % 2 == 0);
    }
}

/// A `fused` node of one or two operands, one of them perhaps broadcast.
fn chain(net: &mut Net, g: &mut Gen, dims: &[usize]) -> ValueId {
    let mut inner = Net::new();
    let mut operands = Vec::new();
    for i in 0..1 + g.below(2) {
        let side: Vec<usize> =
            if i == 1 { dims.iter().map(|&d| if g.coin() { d } else { 1 }).collect() } else { dims.to_vec() };
        let dtype = g.pick(&[DType::U8, DType::U8, DType::F32, DType::I32, DType::I8]);
        let t = match dtype {
            DType::U8 => bytes(g, &side),
            DType::I8 => g.tensor(DType::I8, &side, -128.0, 127.0),
            DType::I32 => g.tensor(DType::I32, &side, -70_000.0, 70_000.0),
            _ => g.tensor(DType::F32, &side, -20.0, 20.0),
        };
        operands.push((net.input(t), dtype));
    }
    let mut terms = Vec::new();
    for &(v, dtype) in &operands {
        let x = match dtype {
            DType::U8 | DType::I8 => net.dequantise(g, v),
            DType::I32 => {
                let x = net.cast(v, DType::F32);
                let factor = net.number(0.000_3);
                net.op("mul", &[x, factor])
            }
            _ => v,
        };
        terms.push(net.activation(g, x));
    }
    inner.what.clear();
    let sum = if terms.len() == 2 { net.op("add", &terms) } else { terms[0] };
    let sum = net.activation(g, sum);
    if g.below(4) == 0 { sum } else { net.quantise(g, sum) }
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
        let y = net.quantise(&mut g, x);
        net.check(y, false);
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
