//! Reshaping: with constant shapes as after constant folding, or with the
//! arithmetic on `Shape` that PyTorch traces.

use super::layers::{Net, Value};
use super::writer::{int, ints};

/// One extent of a shape under construction.
#[derive(Clone)]
pub(super) enum Extent {
    /// A number.
    Fixed(usize),
    /// Whatever is left over.
    Rest,
    /// A scalar computed in the graph, and its value for `Options::batch`.
    Computed(String, usize),
}

impl Extent {
    /// The number, in a graph without shape arithmetic.
    fn number(&self) -> i64 {
        match *self {
            Extent::Fixed(n) | Extent::Computed(_, n) => n as i64,
            Extent::Rest => -1,
        }
    }
}

impl Net<'_> {
    /// Whether shapes are computed in the graph.
    pub fn traces_shapes(&self) -> bool {
        self.options.unfolded || self.options.dynamic_batch
    }

    /// Extent `axis` of a value: a number, or `Shape` and `Gather`.
    pub fn extent(&mut self, (name, dims): (&str, &[usize]), module: &str, axis: usize) -> Extent {
        if !self.traces_shapes() {
            return Extent::Fixed(dims[axis]);
        }
        let shape = self.writer.node(module, "Shape", &[name], vec![]);
        let index = self.writer.const_i64(module, &[], &[axis as i64]);
        let name = self.writer.node(module, "Gather", &[&shape, &index], vec![int("axis", 0)]);
        Extent::Computed(name, dims[axis])
    }

    /// An extent divided by a number that divides it.
    pub fn divided(&mut self, extent: Extent, module: &str, by: usize) -> Extent {
        self.scaled(extent, module, "Div", by, |value| value / by)
    }

    /// An extent multiplied by a number.
    pub fn times(&mut self, extent: Extent, module: &str, by: usize) -> Extent {
        self.scaled(extent, module, "Mul", by, |value| value * by)
    }

    fn scaled(
        &mut self,
        extent: Extent,
        module: &str,
        op: &str,
        by: usize,
        compute: impl Fn(usize) -> usize,
    ) -> Extent {
        match extent {
            Extent::Computed(name, value) => {
                let by = self.writer.const_i64(module, &[], &[by as i64]);
                let name = self.writer.node(module, op, &[&name, &by], vec![]);
                Extent::Computed(name, compute(value))
            }
            Extent::Fixed(value) => Extent::Fixed(compute(value)),
            Extent::Rest => Extent::Rest,
        }
    }

    /// The extents as one i64 tensor.
    pub fn shape(&mut self, module: &str, extents: &[Extent]) -> String {
        if extents.iter().all(|extent| !matches!(extent, Extent::Computed(..))) {
            let numbers: Vec<i64> = extents.iter().map(Extent::number).collect();
            return self.writer.const_i64(module, &[numbers.len()], &numbers);
        }
        let parts: Vec<String> = extents
            .iter()
            .map(|extent| match extent {
                Extent::Computed(name, _) => {
                    let axes = self.writer.const_i64(module, &[1], &[0]);
                    self.writer.node(module, "Unsqueeze", &[name, &axes], vec![])
                }
                fixed => self.writer.const_i64(module, &[1], &[fixed.number()]),
            })
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.writer.node(module, "Concat", &parts, vec![int("axis", 0)])
    }

    /// `Reshape`; returns the name.
    pub fn reshape(&mut self, x: &str, module: &str, extents: &[Extent]) -> String {
        let shape = self.shape(module, extents);
        self.writer.node(module, "Reshape", &[x, &shape], vec![int("allowzero", 0)])
    }

    /// \[N,C,1,1\] to \[N,C\]: `Flatten`, or in traced shapes `x.view(x.size(0), -1)`.
    pub fn flatten(&mut self, x: &Value) -> Value {
        let name = if self.traces_shapes() {
            let batch = self.extent(x.view(), "", 0);
            self.reshape(&x.name, "", &[batch, Extent::Rest])
        } else {
            self.writer.node("", "Flatten", &[&x.name], vec![int("axis", 1)])
        };
        Value { name, dims: vec![x.dims[0], x.channels()], probe: x.probe.clone() }
    }

    /// The two halves of the channels, as `x.chunk(2, dim=1)` is exported.
    pub fn chunk2(&mut self, x: &Value, module: &str) -> [Value; 2] {
        let half = x.channels() / 2;
        let axis = self.writer.const_i64(module, &[1], &[1]);
        let bounds = if self.traces_shapes() {
            let w = &mut self.writer;
            let shape = w.node(module, "Shape", &[&x.name], vec![]);
            let extent = w.node(module, "Gather", &[&shape, &axis], vec![int("axis", 0)]);
            let start = w.const_i64(module, &[1], &[0]);
            let one = w.const_i64(module, &[1], &[1]);
            let sum = w.node(module, "Add", &[&extent, &one], vec![]);
            let two = w.const_i64(module, &[1], &[2]);
            let half = w.node(module, "Div", &[&sum, &two], vec![]);
            let middle = w.node(module, "Mul", &[&half, &one], vec![]);
            let end = w.node(module, "Mul", &[&half, &two], vec![]);
            [start, middle, end]
        } else {
            [0, half, 2 * half].map(|bound| self.writer.const_i64(module, &[1], &[bound as i64]))
        };
        [0, 1].map(|i| {
            let inputs = [x.name.as_str(), &bounds[i], &bounds[i + 1], &axis];
            let name = self.writer.node(module, "Slice", &inputs, vec![]);
            let mut dims = x.dims.clone();
            dims[1] = half;
            Value { name, dims, probe: x.probe.slice(i * half..(i + 1) * half) }
        })
    }

    /// Interleaves the channels of two groups.
    pub fn channel_shuffle(&mut self, x: &Value, module: &str) -> Value {
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| self.extent(x.view(), module, axis));
        let group = self.divided(c.clone(), module, 2);
        let split = [n.clone(), Extent::Fixed(2), group, h.clone(), w.clone()];
        let y = self.reshape(&x.name, module, &split);
        let perm = ints("perm", &[0, 2, 1, 3, 4]);
        let y = self.writer.node(module, "Transpose", &[&y], vec![perm]);
        let name = self.reshape(&y, module, &[n, c, h, w]);
        Value { name, dims: x.dims.clone(), probe: x.probe.interleaved() }
    }
}
