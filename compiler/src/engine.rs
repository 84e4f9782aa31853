//! Something that runs a model.

use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::diag::{Diagnostic, Kind};
use mnnc_ir::{Graph, Tensor};
use mnnc_ops::{EvalError, Evaluator};

use crate::error::Result;

/// Runs a model on inputs in the model's order.
pub enum Engine {
    /// The reference evaluator, op by op.
    Reference(Box<Graph>),
}

impl Engine {
    /// The reference evaluator for `graph`.
    pub fn reference(graph: &Graph) -> Self {
        Engine::Reference(Box::new(graph.clone()))
    }

    /// Computes the outputs, in the model's order.
    ///
    /// # Errors
    /// Inputs that do not fit the model, or what the model computes is not defined.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Engine::Reference(graph) => Evaluator::new(graph).run(inputs).map_err(|e| diagnostic(&e).into()),
        }
    }
}

/// An evaluation's failure; its message names node and shapes already.
pub(crate) fn diagnostic(error: &EvalError) -> Diagnostic {
    let kind = match error.kind {
        OpErrorKind::Invalid => Kind::BadInput,
        OpErrorKind::Unsupported => Kind::Unsupported,
    };
    Diagnostic::new(kind, error.message.clone())
}
