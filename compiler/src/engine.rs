//! Something that runs a model.

use mnnc_codegen::Jit;
use mnnc_ir::decl::OpErrorKind;
use mnnc_ir::diag::{Diagnostic, Kind};
use mnnc_ir::{Graph, Tensor};
use mnnc_kernel::weights::AlignedBytes;
use mnnc_ops::{EvalError, Evaluator};

use crate::error::Result;

/// Runs a model on inputs in the model's order.
pub enum Engine {
    /// The reference evaluator, op by op.
    Reference(Box<Graph>),
    /// Native code with its workspace.
    Jit(Box<Jit>, AlignedBytes),
}

impl Engine {
    /// The reference evaluator for `graph`.
    pub fn reference(graph: &Graph) -> Self {
        Engine::Reference(Box::new(graph.clone()))
    }

    /// Native code.
    pub fn jit(jit: Jit) -> Self {
        let workspace = jit.workspace();
        Engine::Jit(Box::new(jit), workspace)
    }

    /// Computes the outputs, in the model's order.
    ///
    /// # Errors
    /// Inputs that do not fit the model, or what the model computes is not defined.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Engine::Reference(graph) => Evaluator::new(graph).run(inputs).map_err(|e| diagnostic(&e).into()),
            Engine::Jit(jit, workspace) => jit.run_in(workspace, inputs).map_err(|e| crate::native::diagnostics(e, "")),
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
