//! Tests of the passes, in one program: each module is a suite.

mod attention;
mod dynamic_quant;
mod filetests;
mod models;
mod property;
mod quantised;
mod rank;
