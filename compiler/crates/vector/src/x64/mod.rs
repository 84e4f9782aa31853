//! Encoder for x86-64: AVX-512 with EVEX throughout, AVX2 + FMA with VEX. Bytes come from iced-x86.

mod asm;
mod codes;
mod emit;
mod integer;
mod lanes;
mod memory;
mod operands;
mod tiles;
mod vector;

use crate::compile::CompileError;
use crate::ir::{Elem, Inst, IntImmOp, IntOp, Kernel, Op, ShuffleOp};
use crate::regalloc::{Allocated, Class, Constraints};
use crate::target::{Isa, Width};
use regalloc2::{MachineEnv, PReg, PRegSet, RegClass};

/// Hardware numbers of the registers that a function must preserve (System V): rbx, rbp, r12 to r15.
const CALLEE_SAVED: [usize; 6] = [3, 5, 12, 13, 14, 15];
/// rax, rcx, rdx, rsi, rdi, r8 to r11.
const CALLER_SAVED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
/// rdi, rsi, rdx: the three parameters.
const PARAMS: &[u8] = &[7, 6, 2];

/// Registers for allocation. Opmask k0 cannot predicate and stays out.
pub(crate) fn machine_env(isa: Isa) -> MachineEnv {
    let set = |numbers: &mut dyn Iterator<Item = usize>, class| {
        let mut s = PRegSet::empty();
        numbers.for_each(|n| s.add(PReg::new(n, class)));
        s
    };
    let vectors = if isa == Isa::X64Avx512 { 32 } else { 16 };
    MachineEnv {
        preferred_regs_by_class: [
            set(&mut CALLER_SAVED.into_iter(), RegClass::Int),
            set(&mut (0..vectors), RegClass::Float),
            set(&mut (1..8), RegClass::Vector),
        ],
        non_preferred_regs_by_class: [
            set(&mut CALLEE_SAVED.into_iter(), RegClass::Int),
            PRegSet::empty(),
            PRegSet::empty(),
        ],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

/// What the sequences of this encoder ask of their registers.
pub(crate) fn constraints(kernel: &Kernel, inst: &Inst) -> Constraints {
    let avx512 = kernel.target.isa == Isa::X64Avx512;
    let width = emit::width_of(kernel, inst);
    match &inst.op {
        Op::Entry => Constraints { fixed_results: PARAMS, ..Constraints::default() },
        Op::Int(IntOp::Add) => Constraints::default(),
        Op::Int(_) => Constraints::tied(0),
        Op::IntImm(IntImmOp::Add | IntImmOp::Mul, _) => Constraints::default(),
        Op::IntImm(..) => Constraints::tied(0),
        Op::IntSelect(_) => Constraints::tied(3),
        Op::Fma(_) | Op::MulAdd | Op::DotBf16 | Op::DotU8S8 => Constraints::tied(0),
        Op::StoreConvert(Elem::Bf16 | Elem::U8) | Op::StoreConvertMasked(Elem::U8) => {
            Constraints::default().with_temp(Class::Vec)
        }
        Op::StoreConvert(Elem::I8) if !avx512 => Constraints::default().with_temp(Class::Vec),
        Op::FmaLane(..) => Constraints::tied(0).with_temp(Class::Vec),
        Op::Gather(_) => Constraints::early().with_temp(if avx512 { Class::Mask } else { Class::Vec }),
        Op::Shuffle(ShuffleOp::Even | ShuffleOp::Odd | ShuffleOp::ZipLo | ShuffleOp::ZipHi) if width != Width::W128 => {
            let zip = matches!(inst.op, Op::Shuffle(ShuffleOp::ZipLo | ShuffleOp::ZipHi));
            if zip && !avx512 { Constraints::early().with_temp(Class::Vec) } else { Constraints::early() }
        }
        Op::Align(_) if !avx512 => Constraints::early(),
        Op::PermuteConst(_) if width != Width::W128 => Constraints::early(),
        Op::LookupBytes(_) => {
            let wide = kernel.target.has_wide_byte_tables();
            Constraints::early().with_temp(Class::Vec).with_temp(if wide { Class::Mask } else { Class::Vec })
        }
        Op::Reduce(_) => Constraints::default().with_temp(Class::Vec),
        Op::MaskConst(_) if avx512 => Constraints::default().with_temp(Class::Gpr),
        Op::MaskFirst if avx512 => Constraints::default().with_temp(Class::Vec),
        _ => Constraints::default(),
    }
}

/// Encodes an allocated kernel. Returns code with constants and the frame size in bytes.
pub(crate) fn encode(allocated: &Allocated<'_>) -> Result<(Vec<u8>, usize), CompileError> {
    emit::encode(allocated)
}
