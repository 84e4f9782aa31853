//! ONNX: the messages of `schema/onnx.proto`.
//!
//! `bytes` fields (above all [`TensorProto::raw_data`]) are [`Bytes`]: decode
//! from a `Bytes` that owns the file (`Bytes::from_owner(mapping)`) and every
//! tensor is a view of it, so a weight is never copied by reading a model.
//!
//! Decoding checks the encoding only (lengths, UTF-8, a nesting of at most
//! 100); it says nothing about the graph. A repeated message takes two bytes in
//! a file and some hundred in memory, so a reader of untrusted files limits
//! the file's size first.

#![allow(missing_docs)] // Generated; the schema documents the fields.

pub use prost::Message;
pub use prost::bytes::Bytes;

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
