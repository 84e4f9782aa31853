//! What ends a compilation early, as one type with the exit code of the command line.

use std::fmt;
use std::path::Path;

use mnnc_ir::OpError;
use mnnc_ir::decl::OpErrorKind;

/// Kinds of failure; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong use or bad input.
    Input,
    /// The model is right but needs something that mnnc cannot do yet.
    Unsupported,
    /// The compiled model does not compute what the reference computes.
    Verification,
    /// The compiler is at fault.
    Internal,
}

impl ErrorKind {
    /// The process's exit code: 1 to 4.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Input => 1,
            ErrorKind::Unsupported => 2,
            ErrorKind::Verification => 3,
            ErrorKind::Internal => 4,
        }
    }
}

/// A failure with its complete message for people: one line a finding, no trailing newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Error {
            kind,
            message: message.to_string(),
        }
    }
    /// Wrong use or bad input.
    pub fn input(message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Input, message)
    }
    /// The model needs something that is not there yet.
    pub fn unsupported(message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Unsupported, message)
    }
    /// The compiler is at fault.
    pub fn internal(message: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Internal, message)
    }
    /// A file that cannot be read or written; `action` is the verb.
    pub fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        Error::input(format!("cannot {action} {}: {error}", path.display()))
    }
    /// An op's refusal.
    pub fn op(error: &OpError) -> Self {
        let kind = match error.kind {
            OpErrorKind::Invalid => ErrorKind::Input,
            OpErrorKind::Unsupported => ErrorKind::Unsupported,
        };
        Error::new(kind, error)
    }
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
