//! Implicit GEMM on AMX tiles: products of bf16 pairs, or of four bytes; 16 pixels by 16 such elements by 16 channels an instruction.
//!
//! A tile of the input is 16 pixels as they lie in the image, their distance the stride of its rows: there is no im2col here either. A tile
//! of the weights is 16 steps of a packed panel as the vector kernels read it, too. Two by two accumulators (tiles 0 to 3), two input
//! tiles (4, 5) and two weight tiles (6, 7) make every loaded tile serve twice. The sums pass through a scratch area of the frame, where
//! the epilogue reads them pixel by pixel.
//!
//! A panel of weights that L1 does not hold is multiplied in chunks: all pairs of tiles of a unit pass over a chunk before the next, their sums waiting in
//! the scratch area, which at first holds the bias.
//!
//! The multiplier takes as long for 8 rows as for 16 once tiles are loaded, so [`plan`] cuts the output into tiles as full as its shape allows.

mod emit;
mod finish;
mod plan;
mod reduction;

use super::spec::{Number, Spec};
use mnnc_vector::{CompileError, CompiledKernel, KernelBuilder, Target};

/// Elements of the reduction, pairs of bf16 or four bytes, that a row of a tile holds at most.
pub const ELEMENTS: usize = 16;
/// Elements of bytes in a row from which on tiles are worth it.
const FEWEST: usize = 8;
/// Pixels from which on tiles are faster at bytes than vectors, which read as many weights and need no copy of the sums.
const PIXELS: usize = 8;

/// Whether the spec is for tiles on this target.
pub fn takes(spec: &Spec, target: &Target) -> bool {
    fits(target, spec.number, spec.block_in, spec.out)
}

/// Elements in a row of the tiles that read `together` elements which lie together: rows are equally long, so that none reads beyond.
pub fn row(together: usize) -> usize {
    (1..=ELEMENTS).rev().find(|&n| together.is_multiple_of(n)).unwrap_or(1)
}

/// Whether numbers of which `together` elements lie together in a pixel are multiplied on tiles.
pub fn fits(target: &Target, number: Number, together: usize, out: [usize; 2]) -> bool {
    match number {
        Number::Bf16 => target.has_tiles(),
        Number::U8 => {
            // Packed panels hold four steps in a row.
            let rows = together > 0 && together.is_multiple_of(4) && row(together) >= FEWEST;
            target.has_int8_tiles() && rows && out[0] * out[1] >= PIXELS
        }
        _ => false,
    }
}

/// Number of units of the kernel.
pub fn units(spec: &Spec) -> usize {
    spec.images * plan::Plan::new(spec).groups() * spec.panels
}

/// Compiles the kernel.
pub fn compile(spec: &Spec, target: &Target, name: &str) -> Result<CompiledKernel, CompileError> {
    let mut b = KernelBuilder::new(target, name);
    emit::Emitter::new(spec).emit(&mut b);
    b.compile()
}
