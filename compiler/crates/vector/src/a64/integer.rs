//! Integer instructions.

use super::emit::{Ctx, Emitter, RhsReg, X16, condition};
use super::encoding::{self as enc, Access};
use crate::compile::EncodeError;
use crate::ir::{Cond, Hint, IntImmOp, IntOp, IntType, Op};

impl Emitter {
    pub(super) fn integer(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        match &c.inst.op {
            Op::IntConst(value) => self.constant(c.res(), *value),
            Op::TableAddr(words) => self.asm.const_address(c.res(), words),
            Op::Int(op) => self.int_op(c, *op),
            Op::IntImm(op, imm) => self.int_imm(c, *op, *imm),
            Op::IntSelect(cond) => {
                self.compare(c.arg(0), RhsReg::Reg(c.arg(1)));
                self.word(enc::csel(c.res(), c.arg(2), c.arg(3), condition(*cond)));
            }
            Op::Lea => {
                let a = c.address();
                match a.index {
                    Some((index, shift)) => self.word(enc::add_lsl(X16, a.base, index, shift)),
                    None => self.rrr(enc::ORR_X, X16, enc::ZR_SP, a.base),
                }
                self.add_constant(c.res(), X16, a.disp.into());
            }
            Op::IntLoad(ty) => {
                let access = match ty {
                    IntType::I8 => Access::LDRSB,
                    IntType::U8 => Access::LDRB,
                    IntType::I16 => Access::LDRSH,
                    IntType::U16 => Access::LDRH,
                    IntType::I32 => Access::LDRSW,
                    IntType::U32 => Access::LDR_W,
                    IntType::I64 => Access::LDR_X,
                };
                self.access(access, c.res(), c.address());
            }
            Op::IntStore(ty) => {
                let access = match ty.bytes() {
                    1 => Access::STRB,
                    2 => Access::STRH,
                    4 => Access::STR_W,
                    _ => Access::STR_X,
                };
                self.access(access, c.arg(0), c.address());
            }
            Op::Prefetch(hint) => {
                const PLDL1KEEP: u32 = 0;
                const PLDL2KEEP: u32 = 2;
                let operation = match hint {
                    Hint::L1 => PLDL1KEEP,
                    Hint::L2 => PLDL2KEEP,
                };
                self.access(Access::PRFM, operation, c.address());
            }
            _ => return Err(EncodeError::new("not an integer instruction")),
        }
        Ok(())
    }

    fn int_op(&mut self, c: &Ctx<'_>, op: IntOp) {
        let (d, a, b) = (c.res(), c.arg(0), c.arg(1));
        let base = match op {
            IntOp::Add => enc::ADD_X,
            IntOp::Sub => enc::SUB_X,
            IntOp::Mul => enc::MUL_X,
            IntOp::And => enc::AND_X,
            IntOp::Or => enc::ORR_X,
            IntOp::Xor => enc::EOR_X,
            IntOp::Min | IntOp::Max => {
                let take_a_if = if op == IntOp::Min { Cond::Lt } else { Cond::Gt };
                self.compare(a, RhsReg::Reg(b));
                self.word(enc::csel(d, a, b, condition(take_a_if)));
                return;
            }
        };
        self.rrr(base, d, a, b);
    }

    fn int_imm(&mut self, c: &Ctx<'_>, op: IntImmOp, imm: i64) {
        let (d, a) = (c.res(), c.arg(0));
        let by = imm as u32;
        match op {
            IntImmOp::Add => self.add_constant(d, a, imm),
            IntImmOp::Mul | IntImmOp::And => {
                self.constant(X16, imm);
                self.rrr(if op == IntImmOp::Mul { enc::MUL_X } else { enc::AND_X }, d, a, X16);
            }
            IntImmOp::Shl => self.word(enc::lsl(d, a, by)),
            IntImmOp::Shr => self.word(enc::lsr(d, a, by)),
            IntImmOp::Sar => self.word(enc::asr(d, a, by)),
        }
    }
}
