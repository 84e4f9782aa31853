//! The ONNX frontend: opset 7 to the newest, to the ops of `mnnc-ops`.
//!
//! A model goes through these steps:
//! 1. [`wire`]: the undecoded bytes are walked, so that decoding them is known to fit in memory;
//! 2. [`model`]: inputs, initializers and outputs become values, [`scope`] resolves names, [`sort`] orders nodes;
//! 3. [`node`]: for each node the row of its op is found in [`table`] and run. A row is an IR op that takes the node as it
//!    is, or a function that turns older and odd forms into the newest one; [`function`]s of the model are inlined,
//!    sub-graphs become regions ([`region`]);
//! 4. [`crate::build`] takes the nodes.
//!
//! Whatever is wrong with a node is recorded and the import goes on, so that one run reports everything.

mod attrs;
mod check;
mod function;
mod model;
mod node;
mod region;
mod rows;
mod scope;
mod sort;
mod table;
mod tensor;
mod types;
mod wire;

pub(crate) use model::import;
pub use table::{OPSETS, OpsetRange, coverage};
pub use tensor::read_tensor;

/// Whether these bytes could be those of an ONNX model, whole or damaged.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    wire::looks_like_model(bytes)
}
