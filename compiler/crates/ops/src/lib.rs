//! Every op, declared once.
//!
//! A declaration ([`mnnc_ir::OpDecl`]) is a `static` in its family's file under [`family`]; [`catalogue`] lists them, one
//! line each. To add an op: write the declaration, add the line, and add one row to each frontend that has the op.
//!
//! An element-wise op is its formula ([`define::elementwise`], [`define::unary`], [`define::binary`]): typing, reference
//! evaluation ([`lanes`]), loop form, FLOPs and test samples follow. Any other op starts from [`define::BASE`] and gives
//! `infer`, `eval`, `compute`, `flops` and `samples`; [`axes`], [`broadcast`], [`sample`] hold what these share.

pub mod axes;
pub mod broadcast;
pub mod catalogue;
pub mod compute_eval;
pub mod define;
pub mod dims;
pub mod elementwise;
pub mod eval;
pub mod family;
pub mod lanes;
mod loops;
mod markdown;
mod num;
mod product;
mod promote;
mod real;
pub mod sample;
mod separable;
mod window;

pub use catalogue::{ALL, lookup, samples};
pub use compute_eval::evaluate_compute;
pub use elementwise::scalar_fn;
pub use eval::{EvalError, Evaluator, evaluate_op};
pub use markdown::markdown;
pub use promote::{promote, promote_tensor};
