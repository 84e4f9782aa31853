//! Why a graph cannot be written.

use std::fmt;

/// One node that the format, or MNN's engine, has no form for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// The node's name in the model; for a graph input or output, that value's.
    pub node: String,
    /// The op's name.
    pub op: String,
    /// The types of the node's inputs, as `f32[1x3x224x224]`, comma separated.
    pub shapes: String,
    /// What cannot be said in the format, and the remedy where one exists.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {}): {}", self.node, self.op, self.shapes, self.reason)
    }
}

/// Why a graph cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// Every node that has no form in the format, all at once.
    Unsupported(Vec<Unsupported>),
    /// The weights do not fit a file of the format, whose offsets are 31 bits.
    TooLarge {
        /// What the constants alone take.
        bytes: u64,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Unsupported(nodes) => {
                write!(f, "{} node(s) cannot be written to .mnn:", nodes.len())?;
                nodes.iter().try_for_each(|node| write!(f, "\n  {node}"))
            }
            WriteError::TooLarge { bytes } => {
                write!(
                    f,
                    "the constants take {bytes} bytes, but a .mnn file holds less than 2 GiB; use fewer bits a weight"
                )
            }
        }
    }
}

impl std::error::Error for WriteError {}
