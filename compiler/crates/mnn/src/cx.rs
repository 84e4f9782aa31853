//! What a rule works with: the node being written, and the means to emit ops.

use crate::WriteOptions;
use crate::net::{Layouts, Net, Shape, Tid, Ty};
use crate::weights::{Decoded, Order, Runs, Weights, decoded};
use mnnc_ir::{DType, Graph, Node, OpCtx, Tensor, ValueId};
use mnnc_schema::mnn::{
    BinaryOpOperation, BinaryOpT, CastParamT, OpParameterT, OpType, PermuteT, ReductionParamT, ReductionType, Relu6T,
    ReshapeT, UnaryOpOperation, UnaryOpT,
};
use std::collections::HashMap;

/// Why a node cannot be written, in words for the user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reason(pub(crate) String);

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason(text)
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Reason {
        Reason(text.to_string())
    }
}

impl From<mnnc_ir::OpError> for Reason {
    fn from(error: mnnc_ir::OpError) -> Reason {
        Reason(error.message)
    }
}

/// A node that is being written.
pub(crate) struct Cx<'a> {
    pub(crate) net: &'a mut Net,
    pub(crate) graph: &'a Graph,
    pub(crate) node: &'a Node,
    /// Attributes, types and constant operands.
    pub(crate) op: OpCtx<'a>,
    /// What stands for each value that was written before.
    pub(crate) written: &'a mut HashMap<ValueId, Tid>,
    pub(crate) options: &'a WriteOptions,
    /// Number of the next tensor that has no name in the model.
    pub(crate) next: usize,
}

impl<'a> Cx<'a> {
    // --- Operands --------------------------------------------------------------------------------------------

    /// The tensor of input `i`.
    pub(crate) fn input(&mut self, i: usize) -> Result<Tid, Reason> {
        self.opt_input(i)?.ok_or_else(|| format!("input {i} is missing").into())
    }

    /// The tensor of input `i` if the node has one.
    pub(crate) fn opt_input(&mut self, i: usize) -> Result<Option<Tid>, Reason> {
        let Some(value) = self.node.input(i) else { return Ok(None) };
        if let Some(&tid) = self.written.get(&value) {
            return Ok(Some(tid));
        }
        let Some(constant) = decoded(self.graph, value) else {
            return Err(format!("input {i} ({}) is not available here", self.graph.value(value).name).into());
        };
        let tensor = constant.tensor(self.graph.ty(value))?;
        let tid = self.net.constant(self.graph.value(value).name.clone(), tensor);
        self.written.insert(value, tid);
        Ok(Some(tid))
    }

    /// All inputs; none may be missing.
    pub(crate) fn all_inputs(&mut self) -> Result<Vec<Tid>, Reason> {
        (0..self.node.inputs().len()).map(|i| self.input(i)).collect()
    }

    /// Shape of input `i`.
    pub(crate) fn input_shape(&self, i: usize) -> Result<Shape, Reason> {
        Ok(shape_of(self.op.input(i)?))
    }

    /// Shape of output `i`.
    pub(crate) fn output_shape(&self, i: usize) -> Shape {
        self.op.outputs.get(i).map(shape_of).unwrap_or_default()
    }

    /// Whether input `i` is a constant, or decodes one.
    pub(crate) fn is_constant(&self, i: usize) -> bool {
        self.decoded(i).is_some()
    }

    fn decoded(&self, i: usize) -> Option<Decoded<'a>> {
        decoded(self.graph, self.node.input(i)?)
    }

    /// The constant of input `i`, as it is stored.
    pub(crate) fn weight(&self, i: usize) -> Result<Decoded<'a>, Reason> {
        let name = self.op.op.inputs.get(i).map_or("?", |operand| operand.name);
        let missing = || Reason(format!("input {i} ({name}) is computed at run time; MNN needs it in the file"));
        self.decoded(i).ok_or_else(missing)
    }

    /// The weights of input `i` in the order of the file, for a convolution that lets `runs` of them share a scale.
    pub(crate) fn weights(&mut self, constant: &Decoded, order: Order, runs: Runs) -> Weights {
        let mut weights = Weights::of(constant, order, runs);
        if let (Weights::Floats(_), true) = (&weights, constant.is_coded()) {
            let note = "its integer weights are stored as floats: MNN has scales for output channels, and for blocks of input channels that are \
                        multiples of 16, only";
            let note = format!("{}: {note}", self.node.name);
            if self.net.notes.last() != Some(&note) {
                self.net.notes.push(note);
            }
        }
        if self.options.flush_subnormals {
            weights.flush_subnormals();
        }
        weights
    }

    /// The elements of input `i`, which has to be a float constant.
    pub(crate) fn const_floats(&self, i: usize) -> Result<Vec<f32>, Reason> {
        Ok(self.weight(i)?.floats())
    }

    /// The elements of input `i` if it is a constant.
    pub(crate) fn opt_const_floats(&self, i: usize) -> Option<Vec<f32>> {
        Some(self.decoded(i)?.floats())
    }

    // --- New tensors -----------------------------------------------------------------------------------------

    fn fresh(&mut self) -> String {
        let hint = self.node.outputs().first().map_or("t", |&v| self.graph.value(v).name.as_str());
        loop {
            self.next += 1;
            let name = format!("{hint}:{}", self.next);
            if self.graph.find_value(&name).is_none() {
                return name;
            }
        }
    }

    pub(crate) fn shape(&self, t: Tid) -> Shape {
        self.net.tensors[t].shape.clone()
    }

    pub(crate) fn rank(&self, t: Tid) -> usize {
        self.net.tensors[t].shape.len()
    }

    pub(crate) fn ty(&self, t: Tid) -> Ty {
        self.net.tensors[t].ty
    }

    /// The shape of `t`, all of which has to be known.
    pub(crate) fn static_shape(&self, t: Tid) -> Result<Vec<usize>, Reason> {
        let known: Option<Vec<usize>> = self.net.tensors[t].shape.iter().copied().collect();
        known.ok_or_else(|| "needs a static shape; fix it with --shape NAME=1x3x224x224".into())
    }

    /// An op with one result.
    pub(crate) fn emit(
        &mut self,
        op: OpType,
        main: OpParameterT,
        inputs: Vec<Tid>,
        (shape, ty): (Shape, Ty),
        layouts: Layouts,
    ) -> Tid {
        let name = self.fresh();
        let out = self.net.tensor(name, shape, ty);
        self.net.push(op, main, inputs, vec![out], layouts);
        out
    }

    /// An op with several results.
    pub(crate) fn emit_many(
        &mut self,
        op: OpType,
        main: OpParameterT,
        inputs: Vec<Tid>,
        results: Vec<(Shape, Ty)>,
        layouts: Layouts,
    ) -> Vec<Tid> {
        let mut outs = Vec::with_capacity(results.len());
        for (shape, ty) in results {
            let name = self.fresh();
            outs.push(self.net.tensor(name, shape, ty));
        }
        self.net.push(op, main, inputs, outs.clone(), layouts);
        outs
    }

    /// A constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> Tid {
        let name = self.fresh();
        self.net.constant(name, tensor)
    }

    /// A float scalar.
    pub(crate) fn float(&mut self, x: f32) -> Tid {
        self.constant(Tensor::scalar(x))
    }

    /// An int scalar.
    pub(crate) fn int(&mut self, x: i32) -> Tid {
        self.constant(Tensor::scalar(x))
    }

    /// A vector of ints: shapes, axes, pads.
    pub(crate) fn ints(&mut self, values: &[i32]) -> Tid {
        self.constant(Tensor::new(vec![values.len()], values.to_vec()))
    }

    // --- The ops that many rules need ------------------------------------------------------------------------

    pub(crate) fn unary(&mut self, f: UnaryOpOperation, x: Tid) -> Tid {
        let result = (self.shape(x), self.ty(x));
        let main =
            OpParameterT::UnaryOp(Box::new(UnaryOpT { op_type: f, t: self.ty(x).data_type(), ..UnaryOpT::default() }));
        self.emit(OpType::UnaryOp, main, vec![x], result, Layouts::Follow)
    }

    /// `f(a, b)` with broadcasting; comparisons give ints.
    pub(crate) fn binary(&mut self, f: BinaryOpOperation, a: Tid, b: Tid) -> Tid {
        use BinaryOpOperation as B;
        let (f, mut a, mut b) = match f {
            // Vectors of floats are compared as integers by MNN's LESS; its GREATER is right.
            B::LESS => (B::GREATER, b, a),
            _ => (f, a, b),
        };
        let shape = broadcast(&self.shape(a), &self.shape(b));
        let ty = match f {
            B::GREATER | B::GREATER_EQUAL | B::LESS_EQUAL => {
                // Where both operands broadcast, MNN compares floats as integers too: one gets the full shape first.
                if self.shape(a) != shape && self.shape(b) != shape {
                    (a, b) = (self.spread(a, &shape), self.spread(b, &shape));
                }
                Ty::Int
            }
            B::EQUAL | B::NOTEQUAL => Ty::Int,
            _ => self.ty(a),
        };
        let main = OpParameterT::BinaryOp(Box::new(BinaryOpT {
            op_type: f,
            t: self.ty(a).data_type(),
            ..BinaryOpT::default()
        }));
        self.emit(OpType::BinaryOp, main, vec![a, b], (shape, ty), Layouts::FollowAll)
    }

    /// `x` repeated to `shape`, which has to be known; else `x` itself.
    pub(crate) fn spread(&mut self, x: Tid, shape: &Shape) -> Tid {
        let dims: Option<Vec<i32>> = shape.iter().map(|d| d.and_then(|d| i32::try_from(d).ok())).collect();
        let Some(dims) = dims.filter(|_| self.shape(x) != *shape) else { return x };
        let dims = self.ints(&dims);
        let ty = self.ty(x);
        self.emit(OpType::BroadcastTo, OpParameterT::NONE, vec![x, dims], (shape.clone(), ty), Layouts::Plain)
    }

    pub(crate) fn add(&mut self, a: Tid, b: Tid) -> Tid {
        self.binary(BinaryOpOperation::ADD, a, b)
    }

    pub(crate) fn sub(&mut self, a: Tid, b: Tid) -> Tid {
        self.binary(BinaryOpOperation::SUB, a, b)
    }

    pub(crate) fn mul(&mut self, a: Tid, b: Tid) -> Tid {
        self.binary(BinaryOpOperation::MUL, a, b)
    }

    /// `min(max(x, low), high)`.
    pub(crate) fn clamp(&mut self, x: Tid, low: f32, high: f32) -> Tid {
        let result = (self.shape(x), self.ty(x));
        let main = OpParameterT::Relu6(Box::new(Relu6T { min_value: low, max_value: high }));
        self.emit(OpType::ReLU6, main, vec![x], result, Layouts::Follow)
    }

    /// `if c { a } else { b }` with broadcasting; `c` is int.
    pub(crate) fn select(&mut self, c: Tid, a: Tid, b: Tid) -> Tid {
        let shape = broadcast(&broadcast(&self.shape(c), &self.shape(a)), &self.shape(b));
        let ty = self.ty(a);
        self.emit(OpType::Select, OpParameterT::NONE, vec![c, a, b], (shape, ty), Layouts::Plain)
    }

    /// The same elements as a tensor of its own.
    pub(crate) fn alias(&mut self, x: Tid) -> Tid {
        let result = (self.shape(x), self.ty(x));
        // A 0 copies the input's dim.
        let main = ReshapeT { dims: Some(vec![0; result.0.len()]), ..ReshapeT::default() };
        self.emit(OpType::Reshape, OpParameterT::Reshape(Box::new(main)), vec![x], result, Layouts::Plain)
    }

    /// Conversion of elements; the same tensor if it is of the type already.
    pub(crate) fn cast(&mut self, x: Tid, to: Ty) -> Tid {
        let from = self.ty(x);
        if from == to {
            return x;
        }
        let main = OpParameterT::CastParam(Box::new(CastParamT { src_t: from.data_type(), dst_t: to.data_type() }));
        let shape = self.shape(x);
        self.emit(OpType::Cast, main, vec![x], (shape, to), Layouts::Plain)
    }

    /// The same elements under a shape of which at most one dim is unknown.
    pub(crate) fn reshape(&mut self, x: Tid, shape: Shape) -> Result<Tid, Reason> {
        if self.shape(x) == shape && shape.iter().all(Option::is_some) {
            return Ok(x);
        }
        if shape.iter().filter(|d| d.is_none()).count() > 1 {
            return Err(
                "two dims of a reshape are known only at run time; fix shapes with --shape NAME=1x3x224x224".into()
            );
        }
        let dims = shape.iter().map(|d| d.map_or(Ok(-1), to_i32)).collect::<Result<Vec<_>, _>>()?;
        let ty = self.ty(x);
        let from = self.shape(x);
        // A dim of 0 means "as in the input", so it can be said only where the input has it too.
        if shape.iter().enumerate().any(|(i, &d)| d == Some(0) && from.get(i) != Some(&Some(0))) {
            return Err("the format cannot reshape to an empty tensor".into());
        }
        // No dims at all mean "as the shape operand says".
        let from_operand = dims.is_empty();
        let (main, inputs) = if from_operand {
            let dims = self.ints(&dims);
            (ReshapeT::default(), vec![x, dims])
        } else {
            (ReshapeT { dims: Some(dims), ..ReshapeT::default() }, vec![x])
        };
        Ok(self.emit(OpType::Reshape, OpParameterT::Reshape(Box::new(main)), inputs, (shape, ty), Layouts::Plain))
    }

    pub(crate) fn permute(&mut self, x: Tid, perm: &[usize]) -> Result<Tid, Reason> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        let from = self.shape(x);
        let shape = perm.iter().map(|&p| from.get(p).copied().flatten()).collect();
        let dims = perm.iter().map(|&p| to_i32(p)).collect::<Result<Vec<_>, _>>()?;
        let ty = self.ty(x);
        let main = OpParameterT::Permute(Box::new(PermuteT { dims: Some(dims) }));
        Ok(self.emit(OpType::Permute, main, vec![x], (shape, ty), Layouts::Plain))
    }

    /// A reduction over `axes`, which are in range and sorted.
    pub(crate) fn reduce(&mut self, f: ReductionType, x: Tid, axes: &[usize], keep: bool) -> Result<Tid, Reason> {
        if axes.is_empty() {
            return Ok(x);
        }
        let from = self.shape(x);
        if axes.iter().any(|&axis| from.get(axis) == Some(&Some(0))) {
            return Err("MNN does not reduce over nothing".into());
        }
        let mut shape = Shape::new();
        for (i, &d) in from.iter().enumerate() {
            match axes.contains(&i) {
                true if keep => shape.push(Some(1)),
                true => {}
                false => shape.push(d),
            }
        }
        let dim = axes.iter().map(|&a| to_i32(a)).collect::<Result<Vec<_>, _>>()?;
        let ty = self.ty(x);
        let main = ReductionParamT {
            operation: f,
            dim: Some(dim),
            keep_dims: keep,
            d_type: ty.data_type(),
            ..ReductionParamT::default()
        };
        let main = OpParameterT::ReductionParam(Box::new(main));
        Ok(self.emit(OpType::Reduction, main, vec![x], (shape, ty), Layouts::Plain))
    }
}

/// A number of the graph as the format's `int`.
pub(crate) fn to_i32<N: TryInto<i32> + Copy + std::fmt::Display>(n: N) -> Result<i32, Reason> {
    n.try_into().map_err(|_| Reason(format!("{n} does not fit the format's 32-bit integers")))
}

/// Shape of a type, as far as it is known.
pub(crate) fn shape_of(ty: &mnnc_ir::TensorType) -> Shape {
    ty.dims.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect()
}

/// The shape of an element-wise result.
pub(crate) fn broadcast(a: &Shape, b: &Shape) -> Shape {
    let rank = a.len().max(b.len());
    let dim = |s: &Shape, i: usize| (i + s.len()).checked_sub(rank).map_or(Some(1), |i| s[i]);
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (Some(1), d) | (d, Some(1)) => d,
            (Some(n), _) | (_, Some(n)) => Some(n),
            (None, None) => None,
        })
        .collect()
}

/// The elements of a constant as f32.
pub(crate) fn floats(tensor: &Tensor) -> Vec<f32> {
    if tensor.dtype() == DType::F32 {
        return tensor.to_vec::<f32>();
    }
    tensor.to_f64s().into_iter().map(|x| x as f32).collect()
}

/// A constant in an element type that MNN loads.
pub(crate) fn runtime_form(tensor: &Tensor) -> Result<Tensor, Reason> {
    let dims = tensor.dims().to_vec();
    Ok(match tensor.dtype() {
        DType::F32 | DType::I32 | DType::I8 | DType::U8 => tensor.clone(),
        DType::F64 | DType::F16 | DType::BF16 => Tensor::new(dims, floats(tensor)),
        _ => {
            let wide = tensor.to_i64s().unwrap_or_default();
            let narrow: Result<Vec<i32>, _> = wide.iter().map(|&x| i32::try_from(x)).collect();
            match narrow {
                Ok(values) => Tensor::new(dims, values),
                Err(_) => return Err(format!("a {} constant exceeds MNN's 32-bit integers", tensor.dtype()).into()),
            }
        }
    })
}
