//! The vector level: kernels as straight-line and counted-loop code over typed virtual registers.
//!
//! A generator writes a kernel through [`KernelBuilder`], once for all targets. It becomes a [`Kernel`] in SSA form,
//! registers are assigned by regalloc2, and the encoder of the target emits a leaf function
//! `extern "C" fn(args: *const *mut u8, begin: usize, end: usize)` with its constants behind it.
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

pub use builder::{IntoRhs, KernelBuilder, Reg, Src, Var};
pub use compile::{CompileError, CompiledKernel, Stats};
pub use ir::{Cmp, CmpType, Cond, Elem, Gpr, Hint, IntType, Kernel, Mask, Mem, Rhs, ShuffleOp, Type, Value, Vector};
pub use target::{Features, Isa, Target, Width};
pub use text::ParseError;
