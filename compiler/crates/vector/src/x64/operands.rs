//! Operands of machine instructions and the instruction made of them.

use super::asm::{Asm, ConstId};
use crate::compile::EncodeError;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

use crate::target::Width;

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum O {
    /// A register.
    R(Register),
    /// Memory.
    M(MemoryOperand),
    /// A constant of the pool; `true` to broadcast its one word.
    C(ConstId, bool),
    /// An immediate.
    I(i32),
}

/// The vector register of a hardware number.
pub(super) fn vec(width: Width, n: usize) -> Register {
    let first = match width {
        Width::W128 => Register::XMM0,
        Width::W256 => Register::YMM0,
        Width::W512 => Register::ZMM0,
    };
    first + n as u32
}

pub(super) fn xmm(n: usize) -> Register {
    vec(Width::W128, n)
}

pub(super) fn gpr64(n: usize) -> Register {
    Register::RAX + n as u32
}

pub(super) fn gpr32(n: usize) -> Register {
    Register::EAX + n as u32
}

pub(super) fn gpr16(n: usize) -> Register {
    Register::AX + n as u32
}

/// The low byte; numbers 4 to 7 are spl to dil, not ah to bh.
pub(super) fn gpr8(n: usize) -> Register {
    match n {
        0..4 => Register::AL + n as u32,
        4..8 => Register::SPL + (n as u32 - 4),
        _ => Register::R8L + (n as u32 - 8),
    }
}

pub(super) fn mask(n: usize) -> Register {
    Register::K0 + n as u32
}

/// Makes the instruction; a constant becomes `[rip + 0]`, to be patched.
pub(super) fn build(code: Code, ops: &[O]) -> Result<Instruction, EncodeError> {
    let konst = |o: &O| match *o {
        O::C(_, broadcast) => O::M(Asm::const_mem(broadcast)),
        other => other,
    };
    let ops: smallvec::SmallVec<[O; 4]> = ops.iter().map(konst).collect();
    use O::{I, M, R};
    let inst = match ops[..] {
        [] => Ok(Instruction::with(code)),
        [R(a)] => Instruction::with1(code, a),
        [M(a)] => Instruction::with1(code, a),
        [R(a), R(b)] => Instruction::with2(code, a, b),
        [R(a), M(b)] => Instruction::with2(code, a, b),
        [M(a), R(b)] => Instruction::with2(code, a, b),
        [R(a), I(b)] => Instruction::with2(code, a, b),
        [R(a), R(b), R(c)] => Instruction::with3(code, a, b, c),
        [R(a), R(b), M(c)] => Instruction::with3(code, a, b, c),
        [R(a), R(b), I(c)] => Instruction::with3(code, a, b, c),
        [R(a), M(b), I(c)] => Instruction::with3(code, a, b, c),
        [R(a), M(b), R(c)] => Instruction::with3(code, a, b, c),
        [M(a), R(b), R(c)] => Instruction::with3(code, a, b, c),
        [M(a), R(b), I(c)] => Instruction::with3(code, a, b, c),
        [R(a), R(b), R(c), R(d)] => Instruction::with4(code, a, b, c, d),
        [R(a), R(b), R(c), I(d)] => Instruction::with4(code, a, b, c, d),
        [R(a), R(b), M(c), I(d)] => Instruction::with4(code, a, b, c, d),
        _ => return Err(EncodeError::new("no instruction has such operands")),
    };
    Ok(inst?)
}
