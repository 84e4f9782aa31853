//! Sub-graphs: bodies of `If`, `Loop` and `Scan`.

use super::model::Importer;
use super::scope::{Scope, Slot};
use super::types::tensor_type;
use super::{tensor, types};
use mnnc_ir::{OpError, RegionId, TensorType, ValueId};
use mnnc_schema::onnx::{GraphProto, ValueInfoProto};

/// Why a body gives nothing: reported already.
fn reported() -> OpError {
    OpError::invalid("")
}

impl Importer<'_> {
    /// Imports `g` as a new region whose parameters have the types of `params`, or those that the body states where
    /// `None` is given.
    pub(crate) fn body(&mut self, mut g: GraphProto, params: &[Option<TensorType>]) -> Result<RegionId, OpError> {
        if g.input.len() != params.len() {
            return Err(OpError::invalid(format!(
                "the sub-graph {} takes {} inputs, {} are given",
                g.name,
                g.input.len(),
                params.len()
            )));
        }
        self.enter()?;
        let region = self.build.graph.new_region();
        let outer = std::mem::replace(&mut self.build.region, region);
        let prefix = self.scopes.top().prefix.clone();
        self.scopes.push(Scope { prefix, ..Scope::default() });
        let before = self.findings.len();
        for (info, ty) in g.input.iter().zip(params) {
            self.parameter(region, info, ty.clone());
        }
        let results = self.fill(&mut g);
        self.scopes.pop();
        self.build.region = outer;
        self.depth -= 1;
        if self.findings.len() > before {
            return Err(reported());
        }
        self.build.graph.set_results(region, results?);
        Ok(region)
    }

    /// Imports `g`, which takes no inputs, in place: the branch that a constant condition chooses.
    pub(crate) fn inline_branch(&mut self, mut g: GraphProto) -> Result<Vec<ValueId>, OpError> {
        self.enter()?;
        let prefix = self.scopes.top().prefix.clone();
        self.scopes.push(Scope { prefix, ..Scope::default() });
        let before = self.findings.len();
        let results = self.fill(&mut g);
        self.scopes.pop();
        self.depth -= 1;
        if self.findings.len() > before { Err(reported()) } else { results }
    }

    /// One level deeper, if that is not too deep.
    pub(crate) fn enter(&mut self) -> Result<(), OpError> {
        if self.depth >= self.build.limits.max_depth {
            return Err(OpError::invalid(format!(
                "sub-graphs and functions are nested more than {} deep",
                self.build.limits.max_depth
            )));
        }
        self.depth += 1;
        Ok(())
    }

    fn parameter(&mut self, region: RegionId, info: &ValueInfoProto, ty: Option<TensorType>) {
        let stated = match &info.r#type {
            // Exporters leave out the shapes of loop-carried values; then those that go in are taken.
            Some(t) => tensor_type(t).and_then(|t| {
                let dtype = tensor::dtype(t.elem_type)?;
                let dims =
                    t.shape.as_ref().map(|s| types::dims(s, &mut self.build.graph.syms, &self.sizes)).transpose()?;
                Ok((dtype, dims))
            }),
            None => match &ty {
                Some(ty) => Ok((ty.dtype, None)),
                None => Err(OpError::invalid("it has no type")),
            },
        };
        let ty = match (stated, ty) {
            (Err(e), _) => Err(e),
            (Ok((d, _)), Some(ty)) if d != ty.dtype => {
                Err(OpError::invalid(format!("it is {d}, the value given is {}", ty.dtype)))
            }
            (Ok(_), Some(ty)) => Ok(ty),
            (Ok((d, Some(dims))), None) => Ok(TensorType::new(d, dims)),
            (Ok((_, None)), None) => Err(OpError::unsupported("its rank is unknown")),
        };
        let slot = match ty {
            Ok(ty) => {
                let name = self.scopes.value_name(&info.name);
                Slot::Value(self.build.graph.add_param(region, &name, ty))
            }
            Err(e) => {
                self.report_at(&format!("input {} of a sub-graph", info.name), &e);
                Slot::Unknown
            }
        };
        self.scopes.bind(&info.name, slot);
    }

    /// Imports initializers and nodes of `g` into the current region; gives its outputs.
    fn fill(&mut self, g: &mut GraphProto) -> Result<Vec<ValueId>, OpError> {
        self.state_types(g);
        if !g.sparse_initializer.is_empty() {
            return Err(OpError::unsupported("sparse initializers are not supported"));
        }
        self.initializers(std::mem::take(&mut g.initializer));
        self.nodes(&g.node);
        g.output
            .iter()
            .map(|o| match self.scopes.get(&o.name) {
                Some(Slot::Value(v)) => Ok(v),
                Some(Slot::Unknown) => Err(reported()),
                None => Err(OpError::invalid(format!("output {} of the sub-graph is not defined", o.name))),
            })
            .collect()
    }
}
