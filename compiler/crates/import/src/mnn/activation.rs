//! Quantised activations: which tensors have a scale, which ops compute in int8, and the pair of `quantize_linear` and
//! `dequantize_linear` that stands for it.
//!
//! MNN runs an op in int8 if its operator can and all its tensors have scales; between such ops tensors are int8,
//! elsewhere they are float and their scales mean nothing (`CPUBackend`'s rule). So a pair stands behind every op that
//! computes in int8, and in front of it where a float op made its input.

use super::model::Slot;
use super::op::{OpCx, TensorId};
use super::propagate::{moves, propagate};
use mnnc_ir::diag::Diagnostic;
use mnnc_ir::{Attrs, OpError, Tensor, ValueId};
use mnnc_schema::mnn::{DataType, DepthwiseBias, Net, Op, OpType, UnaryOpOperation as U};
use std::collections::{HashMap, HashSet};

/// `q = clamp(round(x / scale) + zero, low, high)`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct Scale {
    pub(crate) scale: f32,
    pub(crate) zero: i8,
    low: f32,
    high: f32,
    /// The tensor that the file states it for.
    pub(super) origin: usize,
}

/// The scales of a file, and which tensors hold quantised values by now.
#[derive(Default)]
pub(crate) struct Scales {
    of: HashMap<usize, Scale>,
    /// Made by an op that computes in int8.
    quantised: HashSet<usize>,
    /// Quantised copies of tensors that float ops made.
    copies: HashMap<usize, ValueId>,
}

impl Scales {
    /// Whether any op does.
    pub(crate) fn computes_in_int8(&self) -> bool {
        !self.quantised.is_empty()
    }

    /// The scales that the file states.
    pub(crate) fn read(net: &Net, names: &[&str]) -> Result<Scales, Diagnostic> {
        let mut of = HashMap::new();
        for entry in net.extra_tensor_describe().into_iter().flatten() {
            let Some(info) = entry.quant_info().filter(|info| info.type_() == DataType::DT_INT8) else { continue };
            let at = usize::try_from(entry.index()).ok().and_then(|i| Some((i, *names.get(i)?)));
            let (index, name) = at.ok_or_else(|| {
                let (n, all) = (entry.index(), names.len());
                Diagnostic::bad_input(format!("a scale is given for tensor {n}, the file has {all}"))
            })?;
            // A scale of zero says that none was found.
            if info.scale() == 0.0 {
                continue;
            }
            if !info.scale().is_finite() || info.scale() < 0.0 {
                return Err(Diagnostic::bad_input(format!("tensor {name} has the scale {}", info.scale())));
            }
            let zero = info.zero();
            if !(-128.0..=127.0).contains(&zero) || zero.fract() != 0.0 {
                return Err(Diagnostic::bad_input(format!("tensor {name} has the zero point {zero}; it is an int8")));
            }
            of.insert(
                index,
                Scale { scale: info.scale(), zero: zero as i8, low: info.min(), high: info.max(), origin: index },
            );
        }
        propagate(net, &mut of);
        Ok(Scales { of, ..Scales::default() })
    }

    /// Whether MNN computes this op in int8.
    pub(crate) fn runs_in_int8(&self, op: &Op, inputs: &[TensorId], outputs: &[usize]) -> bool {
        if self.of.is_empty() || inputs.is_empty() {
            return false;
        }
        let Some(from) = inputs.iter().map(|t| self.of.get(&t.0)).collect::<Option<Vec<_>>>() else { return false };
        let Some(to) = outputs.iter().map(|t| self.of.get(t)).collect::<Option<Vec<_>>>() else { return false };
        let unchanged = match (from.first(), to.first()) {
            (Some(a), Some(b)) => a.scale == b.scale && a.zero == b.zero,
            _ => false,
        };
        match op.type_() {
            OpType::Convolution | OpType::ConvolutionDepthwise => {
                inputs.len() == 1
                    && op.main_as_convolution2_d().is_some_and(|c| c.weight().is_none_or(|w| w.is_empty()))
            }
            op if moves(op) || matches!(op, OpType::Crop | OpType::Concat) => {
                from.iter().all(|f| to.iter().all(|t| f.scale == t.scale && f.zero == t.zero))
            }
            OpType::Pooling => unchanged,
            // Over all of a picture, it becomes a pooling.
            OpType::Pooling3D => unchanged && op.main_as_pool3_d().is_some_and(|p| p.is_global()),
            OpType::ReLU => {
                let one = from.iter().all(|f| to.iter().all(|t| f.origin == t.origin));
                one && op.main_as_relu().is_none_or(|r| r.slope() == 0.0)
            }
            OpType::Softmax | OpType::LayerNorm | OpType::BinaryOp | OpType::Scale | OpType::Interp | OpType::PReLU => {
                true
            }
            OpType::UnaryOp => op
                .main_as_unary_op()
                .is_some_and(|u| u.table_int8().is_some() || matches!(u.op_type(), U::NEG | U::ABS | U::SIGN)),
            _ => false,
        }
    }
}

impl OpCx<'_, '_, '_> {
    /// Lets the op read quantised values. Returns what its tensors were before.
    pub(crate) fn quantise_inputs(&mut self) -> Result<Vec<(TensorId, Slot)>, OpError> {
        let mut before = Vec::new();
        for id in self.inputs().to_vec() {
            let Some(&slot @ Slot::Value(v, format)) = self.imp.slots.get(id.0) else { continue };
            if self.imp.scales.quantised.contains(&id.0) {
                continue;
            }
            let copy = match self.imp.scales.copies.get(&id.0) {
                Some(&copy) => copy,
                None => {
                    let copy = self.pair(v, id)?;
                    self.imp.scales.copies.insert(id.0, copy);
                    copy
                }
            };
            before.push((id, slot));
            self.imp.set_slot(id.0, Slot::Value(copy, format));
        }
        Ok(before)
    }

    /// The result `v` of an op that computes in int8, as that leaves it.
    pub(crate) fn quantised(&mut self, v: ValueId, id: TensorId) -> Result<ValueId, OpError> {
        let v = self.pair(v, id)?;
        self.imp.scales.quantised.insert(id.0);
        Ok(v)
    }

    /// The bias of a depthwise convolution with weights of these scales as its kernel on integers has it, `None` where the op computes in float.
    pub(crate) fn depthwise_bias(&self, stored: &[f32], weights: &[f32]) -> Option<Vec<f32>> {
        let scales = &self.imp.scales;
        if !scales.runs_in_int8(&self.op, self.inputs(), self.outputs()) || stored.len() != weights.len() {
            return None;
        }
        let x = scales.of.get(&self.inputs().first()?.0)?;
        let y = scales.of.get(self.outputs().first()?)?;
        let rule = |w: f32| DepthwiseBias::new(w, x.scale, (y.scale, i32::from(y.zero)));
        Some(stored.iter().zip(weights).map(|(&b, &w)| rule(w).meaning(b)).collect())
    }

    fn pair(&mut self, v: ValueId, id: TensorId) -> Result<ValueId, OpError> {
        let Some(&q) = self.imp.scales.of.get(&id.0) else { return Ok(v) };
        self.quantise_pair(v, q)
    }

    /// `v` rounded to the steps of `q`.
    pub(crate) fn quantise_pair(&mut self, mut v: ValueId, q: Scale) -> Result<ValueId, OpError> {
        // Where the range is all of int8, but perhaps for -128, saturation does it.
        if q.low > -127.0 || q.high < 127.0 {
            let real = |bound: f32| f64::from((bound - f32::from(q.zero)) * q.scale);
            let (low, high) = (self.scalar(real(q.low), v)?, self.scalar(real(q.high), v)?);
            v = self.aside("clip", &[v, low, high], Attrs::new())?;
        }
        let (scale, zero) = (self.constant(Tensor::scalar(q.scale)), self.constant(Tensor::scalar(q.zero)));
        let stored = self.aside("quantize_linear", &[v, scale, zero], Attrs::new())?;
        self.aside("dequantize_linear", &[stored, scale, zero], Attrs::new())
    }
}
