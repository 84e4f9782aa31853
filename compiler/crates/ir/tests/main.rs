//! Tests of the representation, in one program: each module is a suite.

mod rewrite;
mod text;
mod toy;
