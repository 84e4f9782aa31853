//! The loop level of mnnc: kernels over explicit buffers, their generators and the memory plan.
//!
//! Lowering walks the optimised graph twice. First every node is offered to the kernel families
//! ([`family::Family`]); the first that takes it says in which storage it wants its inputs (blocked, with which
//! halo). Then the nodes are lowered in order: each result is stored the way most of its readers want it, repacked on demand for the others.
//! A node that no family takes goes through [`schedule::LoopKernel`], a generic loop nest made from the op's `compute`, which
//! reads and writes any [`storage::Storage`].

pub mod compressed;
pub mod cost;
pub mod families;
pub mod family;
mod generic;
pub mod lowering;
pub mod machine;
pub mod memory;
pub mod plan;
mod print;
pub mod program;
pub mod prologue;
pub mod schedule;
pub mod storage;
pub mod view;
pub mod weights;

pub use cost::Planner;
pub use family::{Epilogue, Family, View, Wish};
pub use lowering::{Forms, Lowering, NodeError, Placed, lower, lower_with};
pub use machine::{Core, Machine};
pub use plan::{Address, Base, Plan};
pub use schedule::{Access, BufferId, Kernel, KernelCode, KernelId, LoopKernel, Operand, Schedule, Step};
pub use storage::{Halo, Storage};
