//! The loop form of an op: each output element as an expression over input elements, after the tensor
//! expressions of Halide and TVM. From it come the generic native code of every op without a tuned kernel, and a second,
//! independent evaluation for tests.

use crate::dtype::DType;
use crate::scalar::ScalarFn;

/// How a reduction combines elements.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard reductions")]
pub enum Combine {
    Sum,
    Product,
    Max,
    Min,
}

/// Reduction loops of a stage. Their axis numbers follow those of the stage's dims.
#[derive(Clone, PartialEq, Debug)]
pub struct Reduction {
    /// Extents, outermost first.
    pub dims: Vec<usize>,
    /// How elements combine.
    pub combine: Combine,
    /// The start value, in the stage's type.
    pub init: f64,
}

/// One tensor computed by one perfect loop nest.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// Shape of the result: the outer loops, outermost first.
    pub dims: Vec<usize>,
    /// Element type of the result, equal to that of the body's result.
    pub dtype: DType,
    /// Inner loops, if this stage reduces.
    pub reduce: Option<Reduction>,
    /// The element, or the summand, at the current axes.
    pub body: ScalarFn,
}

/// An op as a sequence of loop nests. A stage reads inputs and earlier stages only.
#[derive(Clone, PartialEq, Debug)]
pub struct Compute {
    /// In order of execution.
    pub stages: Vec<Stage>,
    /// For each output of the op, the stage that computes it.
    pub outputs: Vec<usize>,
}
