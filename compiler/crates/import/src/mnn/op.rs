//! What a row works with: the op being read, and the means to build nodes.

use super::format::{Format, permutation};
use super::model::{Importer, Slot};
use super::table::Row;
use super::tensor::MAX_RANK;
use crate::build::{self, scalar};
use mnnc_ir::{Attrs, DType, NodeSpec, OpError, Tensor, TensorType, ValueId};
use mnnc_schema::mnn::Op;

/// A tensor of the file's table.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TensorId(pub(crate) usize);

/// What a row gives: a value for each output of the op.
pub(crate) type Rows = Result<Vec<ValueId>, OpError>;

/// An op being read.
pub(crate) struct OpCx<'i, 's, 'f> {
    pub(crate) imp: &'i mut Importer<'s>,
    pub(crate) op: Op<'f>,
    inputs: &'i [TensorId],
    outputs: &'i [usize],
    names: &'i [&'f str],
    /// Data format of the results; by default that of the first input.
    pub(crate) format: Format,
    /// Whether the node that bears the op's name is there already.
    named: bool,
    /// Values that the op has made.
    made: Vec<ValueId>,
}

/// An error about a missing parameter table.
pub(crate) fn lacks(what: &str) -> OpError {
    OpError::invalid(format!("the op lacks its parameter {what}"))
}

impl<'i, 's, 'f> OpCx<'i, 's, 'f> {
    pub(crate) fn new(
        imp: &'i mut Importer<'s>,
        op: Op<'f>,
        inputs: &'i [TensorId],
        outputs: &'i [usize],
        names: &'i [&'f str],
    ) -> Self {
        let mut cx = OpCx { imp, op, inputs, outputs, names, format: Format::Nchw, named: false, made: Vec::new() };
        cx.format = cx.format_of(0);
        cx
    }

    /// The values of the op's outputs and their formats, the values under the tensors' names.
    pub(crate) fn run(&mut self, row: &Row) -> Result<Vec<(ValueId, Format)>, OpError> {
        let integer = self.imp.scales.runs_in_int8(&self.op, self.inputs, self.outputs);
        let restored = if integer { self.quantise_inputs()? } else { Vec::new() };
        let made = (row.convert)(self);
        for (id, slot) in restored {
            self.imp.set_slot(id.0, slot);
        }
        let made = made?;
        if made.len() < self.outputs.len() {
            return Err(OpError::invalid(format!(
                "the op has {} outputs, its operator gives {}",
                self.outputs.len(),
                made.len()
            )));
        }
        let mut out = Vec::with_capacity(made.len());
        for (i, mut v) in made.into_iter().enumerate().take(self.outputs.len()) {
            let name = self.output_name(i).to_string();
            if integer {
                v = self.quantised(v, TensorId(self.outputs[i]))?;
            }
            self.give_name(v, &name);
            out.push((v, self.format));
        }
        Ok(out)
    }

    /// Lets `v` bear the tensor's name, if the op has made it.
    fn give_name(&mut self, v: ValueId, name: &str) {
        if self.made.contains(&v) && !name.is_empty() && self.imp.build.graph.value(v).name != name {
            let name = self.imp.build.claim(name);
            self.imp.build.graph.rename_value(v, &name);
        }
    }

    // --- Reading ---------------------------------------------------------------------------------------------

    /// What the op is called.
    pub(crate) fn name(&self) -> &'f str {
        match self.op.name() {
            Some(name) if !name.is_empty() => name,
            _ => self.output_name(0),
        }
    }
    fn output_name(&self, i: usize) -> &'f str {
        self.outputs.get(i).and_then(|&index| self.names.get(index)).copied().unwrap_or_default()
    }
    /// The tensors that the op reads.
    pub(crate) fn inputs(&self) -> &'i [TensorId] {
        self.inputs
    }
    /// The tensors that it makes.
    pub(crate) fn outputs(&self) -> &'i [usize] {
        self.outputs
    }
    /// Number of inputs.
    pub(crate) fn num_inputs(&self) -> usize {
        self.inputs.len()
    }
    /// Number of outputs.
    pub(crate) fn num_outputs(&self) -> usize {
        self.outputs.len()
    }
    /// An input.
    pub(crate) fn input(&self, i: usize) -> Result<ValueId, OpError> {
        self.opt(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }
    /// An input that may be absent.
    pub(crate) fn opt(&self, i: usize) -> Option<ValueId> {
        match self.imp.slots.get(self.inputs.get(i)?.0) {
            Some(&Slot::Value(v, _)) => Some(v),
            _ => None,
        }
    }
    /// All inputs.
    pub(crate) fn all(&self) -> Result<Vec<ValueId>, OpError> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }
    /// Data format of input `i`.
    pub(crate) fn format_of(&self, i: usize) -> Format {
        match self.inputs.get(i).and_then(|t| self.imp.slots.get(t.0)) {
            Some(&Slot::Value(_, format)) => format,
            _ => Format::Nchw,
        }
    }
    /// Type of a value.
    pub(crate) fn ty(&self, v: ValueId) -> &TensorType {
        self.imp.build.graph.ty(v)
    }
    /// Rank of a value.
    pub(crate) fn rank(&self, v: ValueId) -> usize {
        self.ty(v).rank()
    }
    /// An axis of `v`, which may count from the back.
    pub(crate) fn axis(&self, v: ValueId, axis: i32) -> Result<i64, OpError> {
        let rank = self.rank(v) as i64;
        let axis = i64::from(axis);
        if !(-rank..rank).contains(&axis) {
            return Err(OpError::invalid(format!("axis {axis} is out of range for rank {rank}")));
        }
        Ok(if axis < 0 { axis + rank } else { axis })
    }
    /// Input `i` as an image, channels second. [`image_out`](Self::image_out) takes the result back to the op's format.
    pub(crate) fn image(&mut self, i: usize) -> Result<ValueId, OpError> {
        let x = self.input(i)?;
        self.reordered(x, self.format_of(i), Format::Nchw)
    }
    /// The opposite of [`image`](Self::image).
    pub(crate) fn image_out(&mut self, v: ValueId) -> Result<ValueId, OpError> {
        self.reordered(v, Format::Nchw, self.format)
    }
    /// `v` with its dims in the order of another format.
    pub(crate) fn reordered(&mut self, v: ValueId, from: Format, to: Format) -> Result<ValueId, OpError> {
        match permutation(self.rank(v), from, to) {
            Some(perm) => self.aside("transpose", &[v], Attrs::new().with("perm", perm)),
            None => Ok(v),
        }
    }
    /// Elements of input `i`, which has to be known at compile time.
    pub(crate) fn const_ints(&self, i: usize, what: &str) -> Result<Vec<i64>, OpError> {
        let v = self.input(i)?;
        self.known_ints(v).ok_or_else(|| {
            OpError::unsupported(format!(
                "{what} (input {i}) depends on data or on an open shape; fix shapes with --shape NAME=1x3x224x224"
            ))
        })
    }
    /// Elements of an integer value, if they are known.
    pub(crate) fn known_ints(&self, v: ValueId) -> Option<Vec<i64>> {
        self.imp.build.graph.constant(v)?.to_i64s()
    }

    // --- Building --------------------------------------------------------------------------------------------

    /// Adds a constant.
    pub(crate) fn constant(&mut self, t: Tensor) -> ValueId {
        let name = format!("{}.const", self.name());
        let v = self.imp.build.graph.add_const(&name, t);
        self.made.push(v);
        v
    }
    /// Adds a vector of `i64`, as shapes and axes are.
    pub(crate) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::ints(values))
    }
    /// Adds a rank-0 constant of the element type of `like`.
    pub(crate) fn scalar(&mut self, value: f64, like: ValueId) -> Result<ValueId, OpError> {
        let t = scalar(value, self.ty(like).dtype)?;
        Ok(self.constant(t))
    }
    /// Adds a node of one output. The first one that is not [`aside`](Self::aside) gets the op's name.
    pub(crate) fn emit(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId, OpError> {
        let out = self.emit_many(op, inputs.iter().copied().map(Some).collect(), attrs, 1)?;
        out.first().copied().ok_or_else(|| OpError::invalid(format!("{op} gives no output")))
    }
    /// [`emit`](Self::emit) with absent inputs or several outputs.
    pub(crate) fn emit_many(
        &mut self,
        op: &str,
        inputs: Vec<Option<ValueId>>,
        attrs: Attrs,
        outputs: usize,
    ) -> Result<Vec<ValueId>, OpError> {
        let name = match std::mem::replace(&mut self.named, true) {
            true => format!("{}.{op}", self.name()),
            false => self.name().to_string(),
        };
        self.place(op, name, inputs, attrs, outputs)
    }
    /// Adds a node that only prepares an operand or a result: it does not get the op's name.
    pub(crate) fn aside(&mut self, op: &str, inputs: &[ValueId], attrs: Attrs) -> Result<ValueId, OpError> {
        let name = format!("{}.{op}", self.name());
        let out = self.place(op, name, inputs.iter().copied().map(Some).collect(), attrs, 1)?;
        out.first().copied().ok_or_else(|| OpError::invalid(format!("{op} gives no output")))
    }
    fn place(
        &mut self,
        op: &str,
        name: String,
        inputs: Vec<Option<ValueId>>,
        attrs: Attrs,
        outputs: usize,
    ) -> Result<Vec<ValueId>, OpError> {
        let hint = format!("{}.{op}", self.name());
        let names: Vec<String> = match outputs {
            1 => vec![hint],
            n => (0..n).map(|i| format!("{hint}.{i}")).collect(),
        };
        let spec = NodeSpec { op: build::op(op)?, name, attrs, inputs, outputs: names, regions: Vec::new() };
        let out = self.imp.build.place(spec)?;
        self.made.extend(&out);
        match out.iter().find(|&&v| self.rank(v) > MAX_RANK) {
            Some(&v) => Err(OpError::invalid(format!("the result has rank {}, more than {MAX_RANK}", self.rank(v)))),
            None => Ok(out),
        }
    }
    /// `v` in another element type.
    pub(crate) fn cast(&mut self, v: ValueId, to: DType) -> Result<ValueId, OpError> {
        if self.ty(v).dtype == to {
            return Ok(v);
        }
        self.aside("cast", &[v], Attrs::new().with("to", to))
    }
    /// Input `i` as the `i64` vector that shape operands are.
    pub(crate) fn shape_operand(&mut self, i: usize) -> Result<ValueId, OpError> {
        let v = self.input(i)?;
        let v = match self.rank(v) {
            0 => self.reshape(v, &[1])?,
            _ => v,
        };
        self.cast(v, DType::I64)
    }
    /// `v` in the given shape.
    pub(crate) fn reshape(&mut self, v: ValueId, shape: &[i64]) -> Result<ValueId, OpError> {
        let shape = self.ints(shape);
        self.aside("reshape", &[v, shape], Attrs::new())
    }
    /// Adds the activation that MNN fuses into an op.
    pub(crate) fn activated(&mut self, y: ValueId, relu: bool, relu6: bool) -> Result<ValueId, OpError> {
        match (relu6, relu) {
            (true, _) => {
                let (low, high) = (self.scalar(0.0, y)?, self.scalar(6.0, y)?);
                self.emit("clip", &[y, low, high], Attrs::new())
            }
            (false, true) => self.emit("relu", &[y], Attrs::new()),
            (false, false) => Ok(y),
        }
    }
}
