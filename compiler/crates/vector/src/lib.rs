//! The vector level: kernels as straight-line and counted-loop code over typed virtual registers.
//!
//! A generator writes a kernel once, through [`KernelBuilder`], for all targets: AVX-512, AVX2 with FMA, NEON
//! ([`Target`]). The result is a [`Kernel`] in SSA form. [`Kernel::compile`] verifies it, has regalloc2 assign registers,
//! and encodes it for the target. The code is a leaf function
//!
//! ```c
//! void kernel(uint8_t *const *args, size_t begin, size_t end);
//! ```
//!
//! after System V (x86-64) or AAPCS64 (AArch64), position independent, with its constants behind the return: no
//! relocations, no calls, no memory but its operands and its own frame.
//!
//! ```
//! use mnnc_vector::{KernelBuilder, Target};
//! // y[i] = max(0, a * x[i] + y[i]) for the vectors begin..end
//! let mut b = KernelBuilder::new(&Target::AVX512, "relu_axpy");
//! let (x, y) = (b.arg(0), b.arg(1));
//! let a = b.broadcast(x.at(0));
//! let zero = b.zero();
//! let bytes = b.lanes() as i32 * 4;
//! let (begin, end) = (b.begin(), b.end());
//! let first = b.int_mul(begin, bytes);
//! let last = b.int_mul(end, bytes);
//! b.for_range(first, last, bytes, |b, i| {
//!     let v = b.load(x.at_index(i, 1, 4));
//!     let acc = b.load(y.at_index(i, 1, 0));
//!     let acc = b.fma(acc, a, v);
//!     let r = b.relu(acc, zero);
//!     b.store(r, y.at_index(i, 1, 0));
//! });
//! let kernel = b.finish();
//! assert_eq!(kernel.innermost_loops().len(), 1);
//! ```
//!
//! # Invariants
//!
//! [`Kernel::verify`] reports every violation, and [`Kernel::compile`] refuses a kernel that has any:
//!
//! * **Values** are defined once, numbered in the order of their definitions, and dominate their uses. Each has a type:
//!   general register, vector or mask of a width that the target has.
//! * **Instructions** have the operands of their op's [`ir::Signature`]; all vectors of one instruction have one width,
//!   except where the op halves or doubles it. A memory operand stands last, and only where the target reads it.
//! * **Blocks**: the first is the entry and begins with `entry`; every other can be reached. Values pass to a block
//!   through parameters, from jumps only; the two targets of a branch have no parameters and no other predecessor, so
//!   there is no critical edge.
//! * **Order** is the schedule: instructions are emitted in the order in which they stand, and blocks in the order of
//!   their numbers. Nothing is moved, merged or removed; what the allocator adds is counted in [`Stats`].
//! * **Loops** are contiguous: a jump backwards goes from the last block of a loop (its latch) to the first. When the
//!   allocator adds nothing to the latch, the loop ends in one conditional branch.
//!
//! # What to know as a generator
//!
//! * The accumulator of [`KernelBuilder::fma`] and the first factor of [`KernelBuilder::mul_add`] give their register to
//!   the result (on NEON, the addend of `mul_add`). Use each value once in that place, or a move is added.
//! * [`Stats::edits_in_innermost_loops`] is 0 when everything that lives across the loop fits: count accumulators,
//!   streamed operands and one temporary against [`Target::vec_regs`].
//! * Constants as last operands ([`Src`]) cost no register on x64. NEON loads them: keep them in registers across a hot
//!   loop.
//! * `min` and `max` return the second operand for NaN on x64: pass what may be NaN second. Denormals are never flushed.

mod a64;
mod builder;
mod compile;
pub mod ir;
mod math;
mod regalloc;
mod target;
mod text;
mod verify;
mod x64;

pub use builder::bytes::narrowed_order;
pub use builder::{IntoRhs, KernelBuilder, Reg, Src, TileShapes, Var};
pub use compile::{CompileError, CompiledKernel, Stats};
pub use ir::{
    Cmp, CmpType, Cond, Elem, Gpr, Hint, IntType, Kernel, Mask, Mem, Rhs, ShiftOp, ShuffleOp, Type, Value, Vector,
};
pub use target::{Features, Isa, Target, Width};
pub use text::ParseError;
