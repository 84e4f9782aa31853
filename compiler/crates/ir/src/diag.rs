//! What the compiler tells people when something is wrong.
//!
//! A [`Diagnostic`] names file, node, op and shapes, says what is wrong and what to do. A step that can go on after a
//! mistake collects them, so that one run shows everything: [`Diagnostics`].

use crate::decl::{OpError, OpErrorKind};
use crate::graph::{Graph, NodeId};
use std::fmt;

/// What kind of failure it is; decides the exit code.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// The model or another file is broken, missing or too large.
    BadInput,
    /// The model is right but needs something that this compiler lacks.
    Unsupported,
    /// A result differs from the reference.
    Verification,
    /// A mistake in the compiler.
    Internal,
}

impl Kind {
    /// The process exit code: 1 wrong use or bad input, 2 unsupported, 3 verification failed, 4 internal error.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::BadInput => 1,
            Kind::Unsupported => 2,
            Kind::Verification => 3,
            Kind::Internal => 4,
        }
    }
    /// The first words of the message.
    fn title(self) -> &'static str {
        match self {
            Kind::Usage => "wrong use",
            Kind::BadInput => "bad input",
            Kind::Unsupported => "unsupported",
            Kind::Verification => "verification failed",
            Kind::Internal => "internal error",
        }
    }
}

/// One failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// What kind of failure.
    pub kind: Kind,
    /// What is wrong, one sentence without full stop.
    pub message: String,
    /// The file it is in.
    pub file: Option<String>,
    /// The node's name in the model.
    pub node: Option<String>,
    /// The op's name, as the model's format spells it.
    pub op: Option<String>,
    /// Operand names and types, such as `x f32[1x3x8x8]`.
    pub shapes: Vec<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Diagnostic {
    /// A failure of a kind with a message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Diagnostic {
        Diagnostic { kind, message: message.into(), file: None, node: None, op: None, shapes: Vec::new(), remedy: None }
    }
    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Usage, message)
    }
    /// A broken model or other file.
    pub fn bad_input(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::BadInput, message)
    }
    /// Something that this compiler lacks.
    pub fn unsupported(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Unsupported, message)
    }
    /// A result that differs from the reference.
    pub fn verification(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Verification, message)
    }
    /// A mistake in the compiler.
    pub fn internal(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Kind::Internal, message)
    }
    /// The failure of an op's function at a node of a graph.
    pub fn at_node(g: &Graph, n: NodeId, e: &OpError) -> Diagnostic {
        let node = g.node(n);
        let shapes = node.inputs().iter().flatten().map(|&v| format!("{} {}", g.value(v).name, g.show_type(v)));
        Diagnostic::from(e.clone()).node(&node.name).op(node.op.name).shapes(shapes)
    }
    /// Sets the file.
    pub fn file(mut self, file: impl fmt::Display) -> Diagnostic {
        self.file = Some(file.to_string());
        self
    }
    /// Sets the node.
    pub fn node(mut self, node: impl Into<String>) -> Diagnostic {
        self.node = Some(node.into());
        self
    }
    /// Sets the op.
    pub fn op(mut self, op: impl Into<String>) -> Diagnostic {
        self.op = Some(op.into());
        self
    }
    /// Sets the shapes.
    pub fn shapes<S: Into<String>>(mut self, shapes: impl IntoIterator<Item = S>) -> Diagnostic {
        self.shapes = shapes.into_iter().map(Into::into).collect();
        self
    }
    /// Sets the remedy.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Diagnostic {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<OpError> for Diagnostic {
    fn from(e: OpError) -> Diagnostic {
        let kind = match e.kind {
            OpErrorKind::Invalid => Kind::BadInput,
            OpErrorKind::Unsupported => Kind::Unsupported,
        };
        Diagnostic::new(kind, e.message)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.kind.title(), printable(&self.message))?;
        let mut row = |label: &str, text: &str| write!(f, "\n  {label:<7} {}", printable(text));
        if let Some(file) = &self.file {
            row("file", file)?;
        }
        if let Some(node) = &self.node {
            row("node", if node.is_empty() { "(unnamed)" } else { node })?;
        }
        if let Some(op) = &self.op {
            row("op", op)?;
        }
        if !self.shapes.is_empty() {
            row("shapes", &self.shapes.join(", "))?;
        }
        if let Some(remedy) = &self.remedy {
            row("remedy", remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Names come from hostile files: no control characters reach the terminal, and no endless lines.
fn printable(text: &str) -> String {
    const MAX: usize = 2000;
    let mut out: String =
        text.chars().take(MAX).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX).is_some() {
        out.push('…');
    }
    out
}

/// One or more failures of one run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// No failure yet.
    pub fn new() -> Diagnostics {
        Diagnostics::default()
    }
    /// Adds one.
    pub fn push(&mut self, d: Diagnostic) {
        self.0.push(d);
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
    /// `Err` with everything collected, or `Ok` if nothing was.
    pub fn into_result(self) -> Result<(), Diagnostics> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
    /// Names the file in every diagnostic that names none.
    pub fn in_file(mut self, file: impl fmt::Display) -> Diagnostics {
        for d in &mut self.0 {
            d.file.get_or_insert_with(|| file.to_string());
        }
        self
    }
    /// The exit code of the run: an internal error weighs most, then bad input, then what is unsupported.
    pub fn exit_code(&self) -> u8 {
        [4, 1, 2, 3].into_iter().find(|&c| self.0.iter().any(|d| d.kind.exit_code() == c)).unwrap_or(0)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Diagnostics {
        Diagnostics(vec![d])
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Diagnostics {
        Diagnostics(iter.into_iter().collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_one_block() {
        let d = Diagnostic::unsupported("mode `cubic` is not implemented")
            .file("model.onnx")
            .node("/up/Resize")
            .op("Resize")
            .shapes(["x f32[1x3x8x8]", "scales f32[4]"])
            .remedy("export with mode `linear`");
        let text = "error: unsupported: mode `cubic` is not implemented\n  file    model.onnx\n  node    /up/Resize\n  \
                    op      Resize\n  shapes  x f32[1x3x8x8], scales f32[4]\n  remedy  export with mode `linear`";
        assert_eq!(d.to_string(), text);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert!(!Diagnostic::bad_input("\u{1b}[2J").to_string().contains('\u{1b}'));
    }

    #[test]
    fn the_gravest_failure_gives_the_exit_code() {
        let mut all = Diagnostics::new();
        assert_eq!(all.exit_code(), 0);
        all.push(Diagnostic::verification("v"));
        assert_eq!(all.exit_code(), 3);
        all.push(Diagnostic::unsupported("u"));
        assert_eq!(all.exit_code(), 2);
        all.push(Diagnostic::bad_input("b"));
        assert_eq!(all.exit_code(), 1);
        all.push(Diagnostic::internal("i"));
        assert_eq!(all.exit_code(), 4);
    }
}
