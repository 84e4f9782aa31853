//! `lower-quant`: quantised graphs as native code computes them.
//!
//! A quantised graph is a float graph with `quantize_linear` and `dequantize_linear` around its ops, or has the ops of ONNX
//! that compute on integers. What comes out:
//!
//! * convolutions, transposed ones, and matrix products as `conv_integer`, `conv_transpose_integer` and `matmul_integer` of u8
//!   data by i8 weights, behind them a chain in f32: conversion, product with one factor a channel, sum with the bias, whatever was element-wise, and a
//!   `quantize_linear`, by a scale of 1 where the factors could take up its own;
//! * signed activations as unsigned ones, 128 larger (what the model takes and gives keeps its type);
//! * reshapes, transposes, slices, concatenations, maximum pooling and whatever else only moves or picks elements on the
//!   stored integers;
//! * everything else in float, as it was.
//!
//! | file | rewrites |
//! |---|---|
//! | [`operator`] | ONNX's own integer operators, to the bit |
//! | [`signed`] | i8 to u8 |
//! | [`moves`] | what only moves elements |
//! | [`anchor`] | convolutions and products between quantised values |
//! | [`requantise`] | pairs that cancel, activations and factors in front of a `quantize_linear` |

mod anchor;
mod moves;
mod operator;
mod real;
mod requantise;
mod shift;
mod signed;

pub use anchor::centred;

use crate::pass::{Pass, PassOption};
use crate::rules;

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-quant",
    doc: "compute on quantised integers instead of floats (native code only)",
    options: &[PassOption {
        name: "inexact",
        default: 0,
        doc: "1: factors also fold where the last bit of a float before rounding may change",
    }],
    run: |g, cx| {
        rules::apply(g, operator::RULES, cx);
        let integers = [signed::RULES, moves::RULES, requantise::EXACT].concat();
        rules::apply(g, &integers, cx);
        rules::apply(g, anchor::RULES, cx);
        rules::apply(g, &integers, cx);
        if cx.option("inexact") == 1 {
            rules::apply(g, requantise::INEXACT, cx);
        }
        Ok(())
    },
};
