//! From kernels over buffers to something that runs: Cranelift around finished kernels, in memory (JIT) or as an ELF
//! object, archive or shared library with its C header and manifest.
//!
//! [`Model::compile`] lowers a graph for every processor level of a [`Target`] and plans its memory; the result goes to
//! [`Jit::new`] or to the writers of [`artifact`]. Both assemble the same functions through one `emit`.
//!
//! # What a model becomes
//! For each level its kernels, a driver that walks the steps on one thread and one that walks a thread's share of them;
//! then the entry points `NAME_workspace_size`, `NAME_run`, `NAME_run_parallel`, which choose the level by what the
//! processor has, and the description `NAME_model`. There is no other state than words that
//! remember what the processor has and that the pages of a level have been brought in (see `first_call`).

pub mod artifact;
mod cpu;
mod cpu_name;
mod describe;
mod driver;
mod emit;
mod error;
mod first_call;
mod isa;
mod jit;
mod loops;
mod math;
mod model;
mod phases;
mod program;
mod subnormals;
pub mod target;

pub use error::CodegenError;
pub use jit::{Jit, StepTime};
pub use mnnc_runtime::Pool;
pub use model::{Interface, Model, Options, Port, Tuned, Variant, identifier, planner};
pub use target::{Arch, Cpu, Level, Target};

/// Version of the binary interface that `mnnc.h` describes.
pub const ABI_VERSION: u32 = 1;
