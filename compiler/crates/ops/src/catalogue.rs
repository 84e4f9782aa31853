//! Every op that the compiler knows, one line each.

use crate::elementwise;
use crate::family::*;
use mnnc_ir::OpDecl;
use mnnc_ir::decl::Sample;
use std::collections::HashMap;
use std::sync::OnceLock;

/// All declarations, by family.
pub static ALL: &[&OpDecl] = &[
    // activation
    &activation::RELU,
    // conv
    &conv::CONV,
    // linear
    &linear::MATMUL,
    &linear::GEMM,
    &linear::EINSUM,
    // pool
    &pool::MAX_POOL,
    &pool::AVERAGE_POOL,
    &pool::LP_POOL,
    &pool::GLOBAL_AVERAGE_POOL,
    &pool::GLOBAL_MAX_POOL,
    &pool::GLOBAL_LP_POOL,
    // structured
    &structured::IF,
    &structured::LOOP,
    &structured::SCAN,
    &structured::FUSED,
];

/// The op of this name.
pub fn lookup(name: &str) -> Option<&'static OpDecl> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static OpDecl>> = OnceLock::new();
    BY_NAME.get_or_init(|| ALL.iter().map(|&op| (op.name, op)).collect()).get(name).copied()
}

/// Random valid uses of an op: its own, or for an element-wise op that gives none, those that follow from its operands.
pub fn samples(op: &'static OpDecl, seed: u64) -> Vec<Sample> {
    let own = (op.samples)(seed);
    if own.is_empty() && op.is_elementwise() { elementwise::samples(op, seed) } else { own }
}
