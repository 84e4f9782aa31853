//! Failures of the facade, as the diagnostics that all crates share.

use std::path::Path;

use mnnc_ir::diag::{Diagnostic, Diagnostics};

/// Everything that went wrong in one run; its [`exit_code`](Diagnostics::exit_code) is that of the command line.
pub type Error = Diagnostics;

/// A result of the facade.
pub type Result<T> = std::result::Result<T, Error>;

/// A file that cannot be read or written; `action` is the verb.
pub fn file(action: &str, path: &Path, error: &std::io::Error) -> Error {
    Diagnostic::bad_input(format!("cannot {action} the file: {error}")).file(path.display()).into()
}

/// A wrong command line or wrong options.
pub fn usage(message: impl Into<String>) -> Error {
    Diagnostic::usage(message).into()
}

/// A mistake in the compiler.
pub fn internal(message: impl Into<String>) -> Error {
    Diagnostic::internal(message).into()
}
