//! Tests of the catalogue of ops, in one program: each module is a suite.

mod catalogue;
mod graphs;
