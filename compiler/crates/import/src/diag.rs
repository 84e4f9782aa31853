//! What goes wrong with a model, for people and for exit codes.

use std::fmt;
use std::path::{Path, PathBuf};

/// What kind of trouble a diagnostic reports.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Worth knowing; nothing fails.
    Warning,
    /// Wrong use or a bad file: exit code 1.
    BadInput,
    /// A valid model that needs something that is not there yet: exit code 2.
    Unsupported,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Its kind.
    pub kind: Kind,
    /// The file that it is about.
    pub file: Option<PathBuf>,
    /// Name of the node.
    pub node: Option<String>,
    /// Op type of the node, with its domain unless that is the standard one.
    pub op: Option<String>,
    /// Operands with their types, such as `x f32[1x3x224x224]`.
    pub shapes: Vec<String>,
    /// What is wrong. No trailing full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Diagnostic {
    fn new(kind: Kind, message: impl Into<String>) -> Diagnostic {
        Diagnostic { kind, file: None, node: None, op: None, shapes: Vec::new(), message: message.into(), remedy: None }
    }
    /// Wrong use or a bad file.
    pub fn bad_input(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::BadInput, message)
    }
    /// A valid model that needs something that is not there.
    pub fn unsupported(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Unsupported, message)
    }
    /// Worth knowing.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Warning, message)
    }
    /// Names the file.
    pub fn in_file(mut self, file: &Path) -> Diagnostic {
        self.file = Some(file.to_path_buf());
        self
    }
    /// Adds what to do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Diagnostic {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Warning => "warning: ",
            Kind::BadInput => "error: ",
            Kind::Unsupported => "unsupported: ",
        })?;
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        match (&self.node, &self.op) {
            (Some(n), Some(op)) => write!(f, "node {n} ({op}): ")?,
            (Some(n), None) => write!(f, "node {n}: ")?,
            (None, Some(op)) => write!(f, "{op}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)?;
        if !self.shapes.is_empty() {
            write!(f, " [{}]", self.shapes.join(", "))?;
        }
        if let Some(r) = &self.remedy {
            write!(f, "; {r}")?;
        }
        Ok(())
    }
}

/// Findings that stopped an import; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The process's exit code: 1 if anything is bad input, else 2.
    pub fn exit_code(&self) -> u8 {
        if self.0.iter().any(|d| d.kind == Kind::BadInput) { 1 } else { 2 }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Diagnostics {
        Diagnostics(vec![d])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
