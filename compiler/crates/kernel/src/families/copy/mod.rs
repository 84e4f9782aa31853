//! Copies that rearrange elements: from one storage to another, transposition.

mod boxes;
pub mod convert;
pub mod emit;
pub mod loops;
mod moves;
mod rearrange;
mod transpose;

pub use rearrange::Rearrange;
pub use transpose::Transpose;

use crate::families::fingerprint;
use emit::Plan;
use loops::Piece;
use mnnc_vector::{CompileError, CompiledKernel, Target};

/// One kernel of a copy.
pub struct Part {
    /// Where the source starts, and how many bytes it spans.
    pub src: (usize, usize),
    /// Where the destination starts, and how many bytes it spans.
    pub dst: (usize, usize),
    /// How it is done.
    pub plan: Plan,
}

impl Part {
    /// Full name of the kernel.
    pub fn name(&self, target: &Target) -> String {
        let kind = self.plan.kind();
        format!("copy_{kind}_{target}_{}", fingerprint(&format!("{:?}", self.plan)))
    }
    /// The kernel.
    pub fn compile(&self, target: &Target) -> Result<CompiledKernel, CompileError> {
        emit::compile(&self.plan, target, &self.name(target))
    }
}

/// The kernels that carry out a copy of 4-byte elements, or `None` if it is empty or too large.
pub fn parts(pieces: Vec<Piece>) -> Option<Vec<Part>> {
    pieces
        .into_iter()
        .map(|p| {
            if p.loops.iter().any(|l| l.extent == 0) {
                return None;
            }
            let p = p.simplified();
            let (src, dst) = p.spans();
            let plan = Plan::of(&p);
            (src.max(dst) < 1 << 31).then_some(Part { src: (p.src, src), dst: (p.dst, dst), plan })
        })
        .collect()
}
