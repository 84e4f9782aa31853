//! Tests of quantisation, in one program: each module is a suite.

mod auto;
mod calibrated;
mod equalise;
mod support;
mod weight;
