//! Tests of the command, in one program: each module is a suite.

mod bad_input;
mod cli;
mod onnxruntime;
mod zoo;
