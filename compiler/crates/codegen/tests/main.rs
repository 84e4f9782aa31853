//! Tests of the code generator, in one program: each module is a suite.

mod artifacts;
mod catalogue;
mod forms;
mod subnormals;
mod support;
