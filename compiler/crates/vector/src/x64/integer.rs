//! Integer instructions.

use super::emit::{Ctx, Emitter, RhsReg};
use super::operands::{O, gpr8, gpr16, gpr32, gpr64};
use crate::compile::EncodeError;
use crate::ir::{Cond, Hint, IntImmOp, IntOp, IntType, Op};
use iced_x86::{Code, MemoryOperand, Register};

impl Emitter<'_> {
    pub(super) fn integer(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        match &c.inst.op {
            Op::IntConst(value) => self.int_const(c.res(0), *value),
            Op::TableAddr(words) => {
                let id = self.constant(words);
                self.op(Code::Lea_r64_m, &[O::R(gpr64(c.res(0))), O::C(id, false)])
            }
            Op::Int(op) => self.int_op(c, *op),
            Op::IntImm(op, imm) => self.int_imm(c, *op, *imm as i32),
            Op::IntSelect(cond) => {
                self.compare(*cond, c.arg(0), c.inst.args[0], RhsReg::Reg(c.arg(1)))?;
                let code = cmov(*cond);
                self.op(code, &[O::R(gpr64(c.res(0))), O::R(gpr64(c.arg(2)))])
            }
            Op::Lea => self.op(Code::Lea_r64_m, &[O::R(gpr64(c.res(0))), O::M(c.address())]),
            Op::IntLoad(ty) => {
                let dst = c.res(0);
                let (code, reg) = match ty {
                    IntType::I8 => (Code::Movsx_r64_rm8, gpr64(dst)),
                    IntType::U8 => (Code::Movzx_r32_rm8, gpr32(dst)),
                    IntType::I16 => (Code::Movsx_r64_rm16, gpr64(dst)),
                    IntType::U16 => (Code::Movzx_r32_rm16, gpr32(dst)),
                    IntType::I32 => (Code::Movsxd_r64_rm32, gpr64(dst)),
                    IntType::U32 => (Code::Mov_r32_rm32, gpr32(dst)),
                    IntType::I64 => (Code::Mov_r64_rm64, gpr64(dst)),
                };
                self.op(code, &[O::R(reg), O::M(c.address())])
            }
            Op::IntStore(ty) => {
                let src = c.arg(0);
                let (code, reg) = match ty.bytes() {
                    1 => (Code::Mov_rm8_r8, gpr8(src)),
                    2 => (Code::Mov_rm16_r16, gpr16(src)),
                    4 => (Code::Mov_rm32_r32, gpr32(src)),
                    _ => (Code::Mov_rm64_r64, gpr64(src)),
                };
                self.op(code, &[O::M(c.address()), O::R(reg)])
            }
            Op::Prefetch(hint) => {
                let code = match hint {
                    Hint::L1 => Code::Prefetcht0_m8,
                    Hint::L2 => Code::Prefetcht1_m8,
                };
                self.op(code, &[O::M(c.address())])
            }
            _ => Err(EncodeError::new("not an integer instruction")),
        }
    }

    fn int_const(&mut self, dst: usize, value: i64) -> Result<(), EncodeError> {
        if value == 0 {
            self.op(Code::Xor_r32_rm32, &[O::R(gpr32(dst)), O::R(gpr32(dst))])
        } else if let Ok(v) = u32::try_from(value) {
            self.op(Code::Mov_r32_imm32, &[O::R(gpr32(dst)), O::I(v.cast_signed())])
        } else if let Ok(v) = i32::try_from(value) {
            self.op(Code::Mov_rm64_imm32, &[O::R(gpr64(dst)), O::I(v)])
        } else {
            Ok(self.asm.emit(&iced_x86::Instruction::with2(Code::Mov_r64_imm64, gpr64(dst), value)?)?)
        }
    }

    fn int_op(&mut self, c: &Ctx<'_>, op: IntOp) -> Result<(), EncodeError> {
        let (dst, a, b) = (c.res(0), c.arg(0), c.arg(1));
        let rr = |x: usize, y: usize| [O::R(gpr64(x)), O::R(gpr64(y))];
        match op {
            IntOp::Add if dst == a || dst == b => {
                self.op(Code::Add_rm64_r64, &rr(dst, if dst == a { b } else { a }))?;
                self.flags_of = Some(c.inst.results[0]);
                Ok(())
            }
            IntOp::Add => {
                let sum = MemoryOperand::new(gpr64(a), gpr64(b), 1, 0, 0, false, Register::None);
                self.op(Code::Lea_r64_m, &[O::R(gpr64(dst)), O::M(sum)])
            }
            IntOp::Sub => {
                self.op(Code::Sub_rm64_r64, &rr(dst, b))?;
                self.flags_of = Some(c.inst.results[0]);
                Ok(())
            }
            IntOp::Mul => self.op(Code::Imul_r64_rm64, &rr(dst, b)),
            IntOp::And => self.op(Code::And_rm64_r64, &rr(dst, b)),
            IntOp::Or => self.op(Code::Or_rm64_r64, &rr(dst, b)),
            IntOp::Xor => self.op(Code::Xor_rm64_r64, &rr(dst, b)),
            IntOp::Min | IntOp::Max => {
                let take_b_if = if op == IntOp::Min { Cond::Gt } else { Cond::Lt };
                self.op(Code::Cmp_rm64_r64, &rr(dst, b))?;
                self.op(cmov(take_b_if), &rr(dst, b))
            }
        }
    }

    fn int_imm(&mut self, c: &Ctx<'_>, op: IntImmOp, imm: i32) -> Result<(), EncodeError> {
        let (dst, a) = (c.res(0), c.arg(0));
        let d = O::R(gpr64(dst));
        let small = i8::try_from(imm).is_ok();
        match op {
            IntImmOp::Add if dst == a => {
                // 128 is one byte as the negative of a subtraction.
                let (code, imm) = match imm {
                    128 => (Code::Sub_rm64_imm8, -128),
                    _ if small => (Code::Add_rm64_imm8, imm),
                    _ => (Code::Add_rm64_imm32, imm),
                };
                self.op(code, &[d, O::I(imm)])?;
                self.flags_of = Some(c.inst.results[0]);
                Ok(())
            }
            IntImmOp::Add => {
                let sum = MemoryOperand::new(gpr64(a), Register::None, 1, imm.into(), 1, false, Register::None);
                self.op(Code::Lea_r64_m, &[d, O::M(sum)])
            }
            IntImmOp::Mul => {
                let code = if small { Code::Imul_r64_rm64_imm8 } else { Code::Imul_r64_rm64_imm32 };
                self.op(code, &[d, O::R(gpr64(a)), O::I(imm)])
            }
            IntImmOp::And => {
                let code = if small { Code::And_rm64_imm8 } else { Code::And_rm64_imm32 };
                self.op(code, &[d, O::I(imm)])
            }
            IntImmOp::Shl => self.op(Code::Shl_rm64_imm8, &[d, O::I(imm)]),
            IntImmOp::Shr => self.op(Code::Shr_rm64_imm8, &[d, O::I(imm)]),
            IntImmOp::Sar => self.op(Code::Sar_rm64_imm8, &[d, O::I(imm)]),
        }
    }
}

fn cmov(cond: Cond) -> Code {
    match cond {
        Cond::Eq => Code::Cmove_r64_rm64,
        Cond::Ne => Code::Cmovne_r64_rm64,
        Cond::Lt => Code::Cmovl_r64_rm64,
        Cond::Le => Code::Cmovle_r64_rm64,
        Cond::Gt => Code::Cmovg_r64_rm64,
        Cond::Ge => Code::Cmovge_r64_rm64,
    }
}
