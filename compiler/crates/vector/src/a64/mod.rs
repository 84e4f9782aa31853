//! Encoder for AArch64 with NEON, in words of its own making.
//!
//! x16 and x17 are never allocated: they hold addresses and constants inside an instruction's sequence.

mod asm;
mod emit;
mod encoding;
#[cfg(test)]
mod golden;
mod integer;
mod lanes;
mod memory;
mod vector;

use crate::compile::CompileError;
use crate::ir::{Inst, Kernel, Op, ReduceOp, ShuffleOp, VecOp};
use crate::regalloc::{Allocated, Class, Constraints};
use regalloc2::{MachineEnv, PReg, PRegSet, RegClass};

/// Registers that a function must preserve (AAPCS64): x19 to x28, and the low halves of v8 to v15.
const CALLEE_SAVED_X: std::ops::Range<usize> = 19..29;
const CALLEE_SAVED_V: std::ops::Range<usize> = 8..16;
/// Parameters.
const PARAMS: &[u8] = &[0, 1, 2];

/// Registers for allocation. x18 belongs to the platform; x29 and x30 keep the caller's frame and return address.
pub(crate) fn machine_env() -> MachineEnv {
    let set = |numbers: &mut dyn Iterator<Item = usize>, class| {
        let mut s = PRegSet::empty();
        numbers.for_each(|n| s.add(PReg::new(n, class)));
        s
    };
    MachineEnv {
        preferred_regs_by_class: [
            set(&mut (0..16), RegClass::Int),
            set(&mut (0..8).chain(16..32), RegClass::Float),
            PRegSet::empty(),
        ],
        non_preferred_regs_by_class: [
            set(&mut { CALLEE_SAVED_X }, RegClass::Int),
            set(&mut { CALLEE_SAVED_V }, RegClass::Float),
            PRegSet::empty(),
        ],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

/// What the sequences of this encoder ask of their registers.
pub(crate) fn constraints(_: &Kernel, inst: &Inst) -> Constraints {
    match &inst.op {
        Op::Entry => Constraints { fixed_results: PARAMS, ..Constraints::default() },
        Op::Fma(_) | Op::FmaLane(..) | Op::DotU8S8 => Constraints::tied(0),
        Op::MulAdd => Constraints::tied(2),
        Op::Gather(_) | Op::LoadMasked | Op::PermuteConst(_) | Op::Reduce(ReduceOp::Add) => Constraints::early(),
        Op::LookupBytes(_) => Constraints::early().with_temp(Class::Vec).with_temp(Class::Vec).with_temp(Class::Vec),
        Op::Shuffle(ShuffleOp::NarrowI32 | ShuffleOp::NarrowI16) => Constraints::early(),
        Op::StoreConvert(_) | Op::MaskFirst | Op::PermuteBytes | Op::Vec(VecOp::DotI16) => {
            Constraints::default().with_temp(Class::Vec)
        }
        _ => Constraints::default(),
    }
}

/// Encodes an allocated kernel. Returns code with constants and the frame size in bytes.
pub(crate) fn encode(allocated: &Allocated<'_>) -> Result<(Vec<u8>, usize), CompileError> {
    emit::encode(allocated)
}
