//! What is odd about a model but does no harm.

use std::fmt;

/// A finding that stops nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The node that it is about.
    pub node: Option<String>,
    /// What is odd, and what is done about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("warning: ")?;
        if let Some(node) = &self.node {
            write!(f, "node {node}: ")?;
        }
        f.write_str(&self.message)
    }
}
