//! Why no code came out.

use cranelift_module::ModuleError;
use mnnc_kernel::NodeError;

/// Why no code came out.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The caller asked for something that there is not.
    #[error("{0}")]
    Usage(String),
    /// Nodes that cannot be lowered, all of them.
    #[error("{}", .0.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n"))]
    Lowering(Vec<NodeError>),
    /// The system's C compiler is missing or failed.
    #[error("{0}")]
    Linker(String),
    /// Writing failed.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// The machine cannot run the code.
    #[error("{0}")]
    Host(String),
    /// A defect of this program.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<ModuleError> for CodegenError {
    fn from(e: ModuleError) -> CodegenError {
        CodegenError::Internal(format!("{e:?}"))
    }
}
