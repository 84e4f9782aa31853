//! i8 activations become u8 ones: the shift is born at a `quantize_linear`, passes through what moves elements ([`moves`]), and
//! dies where the integers are read. At the model's outputs it stays.
//!
//! [`moves`]: super::moves

use super::real::Steps;
use super::shift::{SHIFT, signed, source};
use crate::pass::PassCx;
use crate::pattern::output;
use crate::rules::Rule;
use mnnc_ir::{DType, Graph, NodeId, Patch, Plan};

pub const RULES: &[Rule] = &[
    Rule { name: "unsigned", roots: &["quantize_linear"], rewrite: quantised },
    Rule { name: "unsigned", roots: &["dequantize_linear"], rewrite: dequantised },
];

/// Quantised to i8 = quantised to u8 with a zero point 128 larger, shifted
fn quantised(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let y = output(g, n)?;
    let steps = Steps::of(g, n).filter(|s| s.stored == DType::I8)?;
    if g.is_output(y) && g.value(y).users().is_empty() {
        return None;
    }
    let mut p = Patch::at(g, n);
    let steps = Steps { zero: steps.zero + SHIFT, stored: DType::U8, ..steps };
    let u = steps.quantise(&mut p, g.node(n).input(0)?)?;
    let z = signed(&mut p, u)?;
    p.replace(y, z);
    Some(p.finish())
}

/// Reals of a shifted value = reals of the value
fn dequantised(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let u = source(g, g.node(n).input(0)?)?;
    let steps = Steps::of(g, n)?;
    let mut p = Patch::at(g, n);
    let y = Steps { zero: steps.zero + SHIFT, stored: DType::U8, ..steps }.dequantise(&mut p, u)?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}
