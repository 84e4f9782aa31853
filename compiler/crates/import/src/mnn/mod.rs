//! The MNN frontend: files of MNN's converter and quantiser, and those of `mnnc-mnn`, to the ops of `mnnc-ops`.
//!
//! 1. `mnnc_schema::mnn::root` runs the FlatBuffers verifier; [`model`] checks what it does not: indices, counts, order.
//! 2. For each op the row of its type is found in [`table`] and run on an [`OpCx`](op::OpCx). A tensor of the file is a
//!    value of the same name and of the dims that MNN knows it by, together with its data format ([`format`]).
//! 3. Weights keep their coding ([`weight`]): fp16 stays behind a `cast`, integers stay behind a `dequantize_linear`.
//!    Activations with scales become pairs of `quantize_linear` and `dequantize_linear` where MNN computes in int8
//!    ([`activation`]).
//! 4. [`crate::build`] takes the nodes; shape computations vanish there.
//!
//! MNN has four element types at run time: a tensor here is `f32`, `i32` (also for what was `i64` or `bool` before the
//! conversion), `i8` or `u8`. Whatever is wrong with an op is recorded and the import goes on, so that one run reports
//! everything.

mod activation;
mod common;
mod format;
mod model;
mod op;
mod propagate;
mod rows;
mod table;
mod tensor;
mod weight;

pub(crate) use model::import;
