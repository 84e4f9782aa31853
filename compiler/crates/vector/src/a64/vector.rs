//! Lane-wise arithmetic, comparisons, masks (which are vectors of all-ones and zero lanes).

use super::emit::{Ctx, Emitter};
use super::encoding as enc;
use crate::compile::EncodeError;
use crate::ir::{Cmp, CmpType, FmaOp, MaskOp, Op, ShiftOp, UnaryOp, VecOp};

impl Emitter {
    pub(super) fn vector(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let d = c.res();
        match &c.inst.op {
            // `!a & b` is "bit clear" with the operands in reverse.
            Op::Vec(VecOp::AndNot) => self.rrr(enc::BIC, d, c.arg(1), c.arg(0)),
            Op::Vec(VecOp::DotI16) => {
                let t = c.temp(0);
                self.rrr(enc::SMULL_4S, t, c.arg(0), c.arg(1));
                self.rrr(enc::SMULL2_4S, d, c.arg(0), c.arg(1));
                self.rrr(enc::ADDP_4S, d, t, d);
            }
            Op::Vec(op) => {
                let base = vec_op(*op).ok_or_else(|| EncodeError::new("no such instruction on NEON"))?;
                self.rrr(base, d, c.arg(0), c.arg(1));
            }
            Op::Unary(op) => self.rr(unary_op(*op), d, c.arg(0)),
            Op::Fma(op) => {
                let base = if *op == FmaOp::Add { enc::FMLA } else { enc::FMLS };
                self.rrr(base, d, c.arg(1), c.arg(2));
            }
            Op::FmaLane(op, lane) => {
                self.word(enc::fma_lane(*op == FmaOp::Sub, d, c.arg(1), c.arg(2), (*lane).into()));
            }
            Op::MulAdd => self.rrr(enc::FMLA, d, c.arg(0), c.arg(1)),
            Op::DotU8S8 => self.rrr(enc::USDOT, d, c.arg(1), c.arg(2)),
            Op::Shift(ShiftOp::Shl16, n) => self.word(enc::shl_8h(d, c.arg(0), (*n).into())),
            Op::Shift(ShiftOp::Shl, n) => self.word(enc::shl_v(d, c.arg(0), (*n).into())),
            // A right shift by 0 cannot be encoded.
            Op::Shift(_, 0) => self.rrr(enc::ORR_V, d, c.arg(0), c.arg(0)),
            Op::Shift(ShiftOp::Shr, n) => self.word(enc::ushr_v(d, c.arg(0), (*n).into())),
            Op::Shift(ShiftOp::Shr16, n) => self.word(enc::ushr_8h(d, c.arg(0), (*n).into())),
            Op::Shift(ShiftOp::Sar16, n) => self.word(enc::sshr_8h(d, c.arg(0), (*n).into())),
            Op::Shift(ShiftOp::Sar, n) => self.word(enc::sshr_v(d, c.arg(0), (*n).into())),
            Op::Compare(ty, cmp) => self.vector_compare(c, *ty, *cmp),
            Op::Select => self.select(d, c.arg(0), c.arg(1), c.arg(2)),
            Op::MaskConst(n) => {
                let words: [u32; 4] = std::array::from_fn(|i| if i < *n as usize { u32::MAX } else { 0 });
                match n {
                    0 => self.load_zero(d),
                    4 => self.word(enc::splat_imm(d, u32::MAX).ok_or_else(|| EncodeError::new("all ones"))?),
                    _ => self.asm.load_const(d, &words),
                }
            }
            Op::MaskFirst => {
                let t = c.temp(0);
                self.asm.load_const(t, &[0, 1, 2, 3]);
                self.word(enc::dup_gpr(d, c.arg(0)));
                self.rrr(enc::CMGT, d, d, t);
            }
            Op::Mask(op) => {
                let base = match op {
                    MaskOp::And => enc::AND_V,
                    MaskOp::Or => enc::ORR_V,
                    MaskOp::Xor => enc::EOR_V,
                };
                self.rrr(base, d, c.arg(0), c.arg(1));
            }
            Op::MaskNot => self.rr(enc::MVN, d, c.arg(0)),
            _ => return Err(EncodeError::new("not a vector instruction")),
        }
        Ok(())
    }

    fn vector_compare(&mut self, c: &Ctx<'_>, ty: CmpType, cmp: Cmp) {
        let (d, a, b) = (c.res(), c.arg(0), c.arg(1));
        let (eq, ge, gt) = match ty {
            CmpType::F32 => (enc::FCMEQ, enc::FCMGE, enc::FCMGT),
            CmpType::I32 => (enc::CMEQ, enc::CMGE, enc::CMGT),
        };
        match cmp {
            Cmp::Eq => self.rrr(eq, d, a, b),
            Cmp::Ne => {
                self.rrr(eq, d, a, b);
                self.rr(enc::MVN, d, d);
            }
            Cmp::Gt => self.rrr(gt, d, a, b),
            Cmp::Ge => self.rrr(ge, d, a, b),
            Cmp::Lt => self.rrr(gt, d, b, a),
            Cmp::Le => self.rrr(ge, d, b, a),
        }
    }

    /// `mask ? a : b`, by the form that finds one of its operands in the destination.
    fn select(&mut self, d: u32, mask: u32, a: u32, b: u32) {
        if d == b {
            self.rrr(enc::BIT, d, a, mask);
        } else if d == a {
            self.rrr(enc::BIF, d, b, mask);
        } else {
            if d != mask {
                self.rrr(enc::ORR_V, d, mask, mask);
            }
            self.rrr(enc::BSL, d, a, b);
        }
    }
}

fn vec_op(op: VecOp) -> Option<u32> {
    Some(match op {
        VecOp::FAdd => enc::FADD,
        VecOp::FSub => enc::FSUB,
        VecOp::FMul => enc::FMUL,
        VecOp::FDiv => enc::FDIV,
        VecOp::FMin => enc::FMIN,
        VecOp::FMax => enc::FMAX,
        VecOp::IAdd => enc::ADD_V,
        VecOp::ISub => enc::SUB_V,
        VecOp::IMul => enc::MUL_V,
        VecOp::IMin => enc::SMIN,
        VecOp::IMax => enc::SMAX,
        VecOp::And => enc::AND_V,
        VecOp::Or => enc::ORR_V,
        VecOp::Xor => enc::EOR_V,
        VecOp::AddI8 => enc::ADD_16B,
        VecOp::AddSatU8 => enc::UQADD_16B,
        VecOp::SubSatU8 => enc::UQSUB_16B,
        VecOp::MinU8 => enc::UMIN_16B,
        VecOp::MaxU8 => enc::UMAX_16B,
        VecOp::AvgU8 => enc::URHADD_16B,
        VecOp::AddI16 => enc::ADD_8H,
        VecOp::FScale | VecOp::AndNot | VecOp::DotI16 => return None,
    })
}

fn unary_op(op: UnaryOp) -> u32 {
    match op {
        UnaryOp::FNeg => enc::FNEG,
        UnaryOp::FAbs => enc::FABS,
        UnaryOp::FSqrt => enc::FSQRT,
        UnaryOp::FRecip => enc::FRECPE,
        UnaryOp::RoundNearest => enc::FRINTN,
        UnaryOp::Floor => enc::FRINTM,
        UnaryOp::Ceil => enc::FRINTP,
        UnaryOp::Trunc => enc::FRINTZ,
        UnaryOp::I32ToF32 => enc::SCVTF,
        UnaryOp::F32ToI32Trunc => enc::FCVTZS,
        UnaryOp::F32ToI32Nearest => enc::FCVTNS,
        UnaryOp::Not => enc::MVN,
    }
}
