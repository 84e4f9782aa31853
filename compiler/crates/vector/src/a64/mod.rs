//! Encoder for AArch64 with NEON.

use crate::compile::CompileError;
use crate::ir::{Inst, Kernel};
use crate::regalloc::{Allocated, Constraints};
use regalloc2::{MachineEnv, PRegSet};

pub(crate) fn machine_env() -> MachineEnv {
    MachineEnv {
        preferred_regs_by_class: [PRegSet::empty(); 3],
        non_preferred_regs_by_class: [PRegSet::empty(); 3],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

pub(crate) fn constraints(_: &Kernel, _: &Inst) -> Constraints {
    Constraints::default()
}

pub(crate) fn encode(a: &Allocated<'_>) -> Result<(Vec<u8>, usize), CompileError> {
    Err(CompileError::Encoding { kernel: a.kernel.name.clone(), inst: String::new(), reason: "no encoder yet".to_owned() })
}
