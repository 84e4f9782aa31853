//! What the tests of the whole product share.

pub mod app;
pub mod command_line;
pub mod contract;
pub mod machine;
pub mod networks;
pub mod object_file;
pub mod onnxruntime;
pub mod picture;
mod python;
pub mod shared;
pub mod tools;

pub use python::python;
