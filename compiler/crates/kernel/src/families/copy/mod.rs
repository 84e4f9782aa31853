//! Copies that rearrange elements: from one storage to another, transposition.

mod boxes;
mod channels;
pub mod convert;
pub mod emit;
pub mod loops;
mod moves;
mod pairs;
pub mod pixels;
pub mod planes;
mod rearrange;
mod transpose;

pub use rearrange::Rearrange;
pub use transpose::Transpose;

use crate::families::fingerprint;
use emit::Plan;
use loops::Piece;
use mnnc_ir::DType;
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

/// Whether elements of a type are copied by these kernels: those of one or four bytes.
pub fn is_copied(dtype: DType) -> bool {
    matches!(dtype.size(), 1 | 4)
}

/// The kernels that carry out a copy of elements of one or four bytes, or `None` if it is empty or too large.
pub fn parts(pieces: Vec<Piece>, element: usize) -> Option<Vec<Part>> {
    pieces
        .into_iter()
        .map(|p| {
            if p.loops.iter().any(|l| l.extent == 0) {
                return None;
            }
            let p = p.simplified();
            let (src, dst) = p.spans(element);
            let plan = match (element, p.in_words()) {
                (1, Some(words)) => Plan::of(&words),
                (1, None) => Plan::of_bytes(&p),
                _ => Plan::of(&p),
            };
            (src.max(dst) < 1 << 31).then_some(Part { src: (p.src, src), dst: (p.dst, dst), plan })
        })
        .collect()
}
