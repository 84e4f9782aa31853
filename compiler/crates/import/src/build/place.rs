//! Putting a node into the graph, or its value, if that depends on constants only.

use super::partial::Element;
use super::{Builder, op};
use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::{NodeSpec, OpCtx, OpError, Tensor, TensorType, Traits, ValueId};
use mnnc_ops::evaluate_op;

/// Results up to this size are folded while importing: shapes, indices, scalars. Larger ones are left to the pass that
/// folds constants.
const FOLD_BYTES: usize = 64 << 10;
/// Work that folding one node may take.
const FOLD_FLOPS: u64 = 10_000_000;

/// Whether a node spreads out a compressed weight, which is kept as small as it is stored: a matrix of integers or half-precision numbers.
fn spreads_weight(spec: &NodeSpec, inputs: &[Option<Tensor>], types: &[TensorType]) -> bool {
    let (Some(Some(stored)), [y]) = (inputs.first(), types) else { return false };
    let from = stored.dtype();
    let kind = match spec.op.name {
        "dequantize_linear" => true,
        "cast" => from.is_float() && y.dtype.is_float(),
        _ => false,
    };
    kind && from.size() < y.dtype.size() && stored.dims().iter().filter(|&&d| d > 1).count() >= 2
}

impl Builder {
    /// A name for a value of the model. If a value that was made up on the way has it, that one is renamed.
    pub(crate) fn claim(&mut self, name: &str) -> String {
        if let Some(v) = self.graph.find_value(name) {
            let is_input = self.graph.inputs().contains(&v);
            if !is_input {
                let other = self.graph.fresh_name(&format!("{name}.made"));
                self.graph.rename_value(v, &other);
            }
        }
        name.to_string()
    }

    /// Whether a value of this type may exist.
    pub(crate) fn within_limits(&self, ty: &TensorType) -> Result<(), OpError> {
        let max = self.limits.max_tensor_bytes;
        // Zero extents do not excuse the others: strides are products of them.
        let size =
            |dims: Vec<usize>| dims.iter().filter(|&&d| d > 0).try_fold(ty.dtype.size(), |n, &d| n.checked_mul(d));
        match ty.static_dims().map(size) {
            Some(n) if n.is_none_or(|n| n as u64 > max) => Err(OpError::invalid(format!(
                "a tensor {} takes more than the limit of {max} bytes; raise it with --max-tensor-bytes",
                ty.show(&self.graph.syms)
            ))),
            _ => Ok(()),
        }
    }

    /// Adds a node with one output called `name`.
    pub(crate) fn place_named(&mut self, op_name: &str, inputs: &[ValueId], name: &str) -> Result<ValueId, OpError> {
        let name = self.claim(name);
        let spec = NodeSpec::new(op(op_name)?, inputs.iter().copied()).outputs([name]);
        let out = self.place(spec)?;
        out.first().copied().ok_or_else(|| OpError::invalid("no output"))
    }

    /// Adds a node to the current region and returns its outputs, which are constants where that can be.
    pub(crate) fn place(&mut self, spec: NodeSpec) -> Result<Vec<ValueId>, OpError> {
        let mut types = self.graph.infer(&spec)?;
        if types.len() < spec.outputs.len() {
            return Err(OpError::invalid(format!(
                "{} output(s) are asked for, {} gives {}",
                spec.outputs.len(),
                spec.op.name,
                types.len()
            )));
        }
        self.name_sizes(&spec, &mut types);
        for ty in &types {
            self.within_limits(ty)?;
        }
        let known = self.follow(&spec);
        if let Some(tensors) = self.fold(&spec, &types, known.as_deref())? {
            return Ok(spec.outputs.iter().zip(tensors).map(|(n, t)| self.graph.add_const(n, t)).collect());
        }
        let at = self.graph.region(self.region).nodes().len();
        let n = self.graph.insert_typed(self.region, at, spec, types);
        let out = self.graph.node(n).outputs().to_vec();
        if let (Some(dims), Some(&v)) = (known, out.first()) {
            self.partial.insert(v, dims);
        }
        Ok(out)
    }

    /// The outputs, if they are small and follow from constants.
    fn fold(
        &mut self,
        spec: &NodeSpec,
        types: &[TensorType],
        known: Option<&[Element]>,
    ) -> Result<Option<Vec<Tensor>>, OpError> {
        if spec.op.traits.contains(Traits::IMPURE) || !spec.regions.is_empty() {
            return Ok(None);
        }
        if let ([ty], Some(dims)) = (types, known)
            && let Some(t) = self.known_tensor(dims, ty)
        {
            return Ok(Some(vec![t]));
        }
        let Some(inputs) = self.constants(&spec.inputs) else { return Ok(None) };
        if spreads_weight(spec, &inputs, types) {
            return Ok(None);
        }
        let size = types.iter().try_fold(0usize, |a, t| a.checked_add(t.num_bytes()?));
        let Some(size) = size.filter(|&n| n <= FOLD_BYTES) else { return Ok(None) };
        let ctx = OpCtx {
            op: spec.op,
            attrs: &spec.attrs,
            inputs: &inputs.iter().map(|t| t.as_ref().map(Tensor::ty)).collect::<Vec<_>>(),
            consts: &inputs,
            regions: &[],
            num_outputs: spec.outputs.len(),
            outputs: types,
        };
        if (spec.op.flops)(&ctx) > FOLD_FLOPS {
            return Ok(None);
        }
        match evaluate_op(spec.op, &spec.attrs, &inputs, spec.outputs.len(), size) {
            Ok(mut out) => {
                out.truncate(spec.outputs.len());
                Ok(Some(out))
            }
            Err(e) if e.kind == OpErrorKind::Unsupported => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The values of all inputs, if they are constants.
    fn constants(&self, inputs: &[Option<ValueId>]) -> Option<Vec<Option<Tensor>>> {
        inputs
            .iter()
            .map(|v| match v {
                None => Some(None),
                Some(v) => self.graph.constant(*v).cloned().map(Some),
            })
            .collect()
    }
}
