//! Putting a node into the graph, or its value, if that depends on constants only.

use super::{Builder, op};
use super::partial::Element;
use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::{NodeSpec, OpCtx, OpError, Tensor, TensorType, Traits, ValueId};
use mnnc_ops::evaluate_op;

/// Results up to this size are folded while importing: shapes, indices, scalars. Larger ones are left to the pass that
/// folds constants.
const FOLD_BYTES: usize = 64 << 10;
/// Work that folding one node may take.
const FOLD_FLOPS: u64 = 10_000_000;

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
        match ty.static_dims() {
            Some(_) if ty.num_bytes().is_none_or(|n| n as u64 > max) => Err(OpError::invalid(format!(
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
        if expands_weights(spec, types) {
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

/// Whether the node makes floats of a weight that is stored in less: folding it would lose how.
fn expands_weights(spec: &NodeSpec, types: &[TensorType]) -> bool {
    match spec.op.name {
        "dequantize_linear" => true,
        "cast" => types.iter().any(|ty| ty.rank() > 1 && ty.dtype.is_float()),
        _ => false,
    }
}
