//! What the model says about its values' types, against what follows from its operators.
//!
//! A wrong element type is an error. A wrong shape is a warning, as in ONNX Runtime: exporters often leave stale shapes
//! behind, and the inferred one is what the model computes.

use super::model::Importer;
use super::scope::Slot;
use super::sort::node_name;
use super::{tensor, types};
use mnnc_ir::{Dim, OpError, TensorType};
use mnnc_schema::onnx::NodeProto;

impl Importer<'_> {
    /// The type that the model states for a value of the innermost graph.
    pub(crate) fn stated_type(&mut self, name: &str) -> Option<TensorType> {
        let t = self.scopes.top().stated.get(name)?.clone();
        let t = types::tensor_type(&t).ok()?;
        let dims = types::dims(t.shape.as_ref()?, &mut self.build.graph.syms, &self.sizes).ok()?;
        let ty = TensorType::new(tensor::dtype(t.elem_type).ok()?, dims);
        self.build.within_limits(&ty).ok()?;
        Some(ty)
    }

    /// Compares the outputs of `node` with what the model states about them.
    pub(crate) fn check_stated(&mut self, node: &NodeProto) {
        for name in &node.output {
            let Some(Slot::Value(v)) = self.scopes.get(name) else { continue };
            if self.tainted.contains(&v) {
                continue;
            }
            let Some(stated) = self.stated_type(name) else { continue };
            let inferred = self.build.graph.ty(v).clone();
            let differ = stated.rank() != inferred.rank()
                || stated.dims.iter().zip(&inferred.dims).any(|(a, b)| match (a, b) {
                    (Dim::Const(x), Dim::Const(y)) => x != y,
                    _ => false,
                });
            let both = format!(
                "the model states {} for {name}, its operator gives {}",
                stated.show(&self.build.graph.syms),
                inferred.show(&self.build.graph.syms)
            );
            if stated.dtype != inferred.dtype {
                let e = OpError::invalid(both);
                let d = self.about(node, &[], e.into());
                self.report(d);
            } else if differ {
                self.warn(Some(node_name(node)), format!("{both}; the stated shape is ignored"));
            }
        }
    }
}
