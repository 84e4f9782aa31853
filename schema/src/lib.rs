//! Wire formats that mnnc reads and writes, compiled from the schemas beside
//! this crate. Formats only: no meaning is checked here.

pub mod mnn;
pub mod onnx;
