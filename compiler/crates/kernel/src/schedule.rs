//! The loop level: kernels applied in order to explicit buffers.
//!
//! # Invariants (checked by the verifier of this level and by the plan's checker)
//! * A step touches only the bytes that its operands declare.
//! * Every byte read was written before by an earlier step, is a model input, or is a weight.
//! * Steps run one after the other; the units of one step are independent and may run on several threads.
//! * A child buffer lies inside its parent; only such buffers share bytes while both live.

use crate::cost::Decision;
use crate::program::Program;
use crate::storage::Storage;
use crate::weights::WeightArena;
use mnnc_ir::NodeId;
use mnnc_ir::compute::Stage;
use mnnc_ir::entity::PrimaryMap;
use mnnc_vector::CompiledKernel;
use std::sync::Arc;

mnnc_ir::entity_id! {
    /// A buffer.
    BufferId, "b"
}
mnnc_ir::entity_id! {
    /// A kernel body, shared by all steps that run the same code.
    KernelId, "k"
}

/// Who provides the memory of a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BufferKind {
    /// The caller: input `.0` of the model.
    Input(usize),
    /// The caller: output `.0` of the model.
    Output(usize),
    /// The workspace, at an offset that the plan finds.
    Temp,
    /// Part of another buffer, from byte `.1` on: concat, split and reshape without a copy.
    Within(BufferId, usize),
    /// Packed weights: bytes `.0 .. .0 + bytes` of the arena.
    Weights(usize),
}

/// A range of bytes that steps read and write.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Name of the value that it holds, for people.
    pub name: String,
    /// Size.
    pub bytes: usize,
    /// Provider.
    pub kind: BufferKind,
}

/// How a step uses an operand.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only reads.
    Read,
    /// Only writes; with the step the whole extent that its value needs is written.
    Write,
    /// Reads and writes.
    Update,
}

/// An operand of a step: `args[i]` of the kernel is the address of `buffer` plus `offset`.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Where.
    pub buffer: BufferId,
    /// Bytes from the buffer's start.
    pub offset: usize,
    /// Bytes that the step may touch from there on.
    pub bytes: usize,
    /// How.
    pub access: Access,
}

/// The code of a kernel: `extern "C" fn(args: *const *mut u8, begin: usize, end: usize)`, working on units
/// `begin..end`.
#[derive(Clone, Debug)]
pub enum KernelCode {
    /// Finished machine code from the vector level.
    Machine(Arc<CompiledKernel>),
    /// A scalar loop nest, compiled by Cranelift.
    Loops(Arc<LoopKernel>),
    /// Fills everything but the elements of a blocked tensor: the halo that its readers count on. `args[0]` is the
    /// buffer; the units are the planes (`N * ceil(C / block)`).
    Border(Arc<Storage>),
    /// Calls of kernels that stand before this one.
    Program(Arc<Program>),
}

/// A [`Stage`] over placed operands. `Source::Input(i)` of the stage's body is `args[i]`; the result is the last argument.
/// The units are the iterations of the first `unit_dims` dims of the stage, flattened.
#[derive(Clone, PartialEq, Debug)]
pub struct LoopKernel {
    /// What is computed. The body reads inputs only, never stages.
    pub stage: Stage,
    /// Storage of each input.
    pub inputs: Vec<Storage>,
    /// Storage of the result.
    pub output: Storage,
    /// How many leading dims make up the units.
    pub unit_dims: usize,
}

/// A kernel with what people see of it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// A parsable name: family, parameters, instruction set (`conv_direct_14x2_k3x3s1_avx512`).
    pub name: String,
    /// The code.
    pub code: KernelCode,
}

/// What a step does with subnormal numbers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Subnormals {
    /// Computes with them.
    Keep,
    /// May take them for zero, operands and results.
    Flush,
    /// Computes nothing.
    Any,
}

/// One application of a kernel.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the graph node, for reports.
    pub name: String,
    /// The graph node; `None` for steps that the lowering added (repacking, zero borders).
    pub node: Option<NodeId>,
    /// The code.
    pub kernel: KernelId,
    /// Operands in the order of the kernel's arguments.
    pub operands: Vec<Operand>,
    /// Number of independent units of work, at least 1.
    pub units: usize,
    /// Useful floating-point operations.
    pub flops: u64,
    /// Subnormal numbers.
    pub subnormals: Subnormals,
    /// The result that it makes a part of: steps of equal numbers may run at the same time, though the bytes that they write interleave.
    pub part: Option<u32>,
}

/// A model at loop level.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// All buffers.
    pub buffers: PrimaryMap<BufferId, Buffer>,
    /// All kernel bodies, no two alike.
    pub kernels: PrimaryMap<KernelId, Kernel>,
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Packed weights.
    pub weights: WeightArena,
    /// For each model input and output its buffer.
    pub inputs: Vec<BufferId>,
    /// See `inputs`.
    pub outputs: Vec<BufferId>,
    /// How the products of the steps were scheduled, and what the model expects of it.
    pub decisions: Vec<Decision>,
}

impl Schedule {
    /// The buffer that a part lies in at last, and the byte of it where the part begins.
    pub fn outermost(&self, mut b: BufferId) -> (BufferId, usize) {
        let mut at = 0;
        while let BufferKind::Within(parent, offset) = self.buffers[b].kind {
            at += offset;
            b = parent;
        }
        (b, at)
    }
}
