//! Compression of graphs: weights in fewer bits, activations in eight.
//!
//! A quantised graph is the float graph in *QDQ form*, made of ordinary ops with the semantics of ONNX:
//!
//! * a compressed weight is an integer constant behind `dequantize_linear`, per tensor, per axis or in blocks; its attribute `bits` says
//!   how many bits the integers need. A weight in half precision is an `f16` constant behind `cast`;
//! * a quantised activation is a pair `quantize_linear`, `dequantize_linear` with per-tensor constants.
//!
//! So the reference evaluator computes every quantised graph, the importers produce the form, the `.mnn` writer and the native
//! lowering consume it, and nothing here knows either.

pub mod auto;
pub mod calibrate;
pub mod weight;
