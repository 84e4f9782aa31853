//! Lane-wise arithmetic, comparisons, masks.

use super::codes::{self, Family, pick};
use super::emit::{Ctx, Emitter};
use super::operands::{O, gpr32, mask, vec, xmm};
use crate::compile::EncodeError;
use crate::ir::{Cmp, CmpType, FmaOp, MaskOp, Op, ShiftOp, UnaryOp, VecOp};
use crate::target::Isa;
use iced_x86::Code;

impl Emitter<'_> {
    pub(super) fn vector(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let w = c.width;
        let avx512 = self.isa == Isa::X64Avx512;
        match &c.inst.op {
            Op::Vec(op) => {
                let b = self.last(c, 1);
                self.vop(vec_family(*op), w, &[O::R(c.dst()), O::R(c.src(0)), b])
            }
            Op::Unary(op) => self.unary(c, *op),
            Op::Fma(op) => {
                let b = self.last(c, 2);
                self.vop(fma_family(*op), w, &[O::R(c.dst()), O::R(c.src(1)), b])
            }
            Op::FmaLane(op, lane) => {
                let t = c.temp(0);
                self.broadcast_lane(w, t, c.arg(2), *lane)?;
                self.vop(fma_family(*op), w, &[O::R(c.dst()), O::R(c.src(1)), O::R(vec(w, t))])
            }
            Op::MulAdd => {
                let addend = self.last(c, 2);
                self.vop(&codes::FMADD213PS, w, &[O::R(c.dst()), O::R(c.src(1)), addend])
            }
            Op::DotBf16 => {
                let b = self.last(c, 2);
                self.vop(&codes::DPBF16PS, w, &[O::R(c.dst()), O::R(c.src(1)), b])
            }
            Op::DotU8S8 => {
                let b = self.last(c, 2);
                self.vop(&codes::DPBUSD, w, &[O::R(c.dst()), O::R(c.src(1)), b])
            }
            Op::PackBf16 => self.vop(&codes::CVTNE2PS2BF16, w, &[O::R(c.dst()), O::R(c.src(1)), O::R(c.src(0))]),
            Op::Shift(op, n) => {
                let family = match (op, avx512) {
                    (ShiftOp::Shl, true) => &codes::PSLLD_EVEX,
                    (ShiftOp::Shr, true) => &codes::PSRLD_EVEX,
                    (ShiftOp::Sar, true) => &codes::PSRAD_EVEX,
                    (ShiftOp::Shl, false) => &codes::PSLLD_VEX,
                    (ShiftOp::Shr, false) => &codes::PSRLD_VEX,
                    (ShiftOp::Sar, false) => &codes::PSRAD_VEX,
                    (ShiftOp::Shl16, true) => &codes::PSLLW_EVEX,
                    (ShiftOp::Shr16, true) => &codes::PSRLW_EVEX,
                    (ShiftOp::Sar16, true) => &codes::PSRAW_EVEX,
                    (ShiftOp::Shl16, false) => &codes::PSLLW_VEX,
                    (ShiftOp::Shr16, false) => &codes::PSRLW_VEX,
                    (ShiftOp::Sar16, false) => &codes::PSRAW_VEX,
                };
                self.vop(family, w, &[O::R(c.dst()), O::R(c.src(0)), O::I((*n).into())])
            }
            Op::Compare(ty, cmp) => self.vector_compare(c, *ty, *cmp),
            Op::Select if avx512 => {
                let code = pick(&codes::BLENDMPS, self.isa, w);
                self.masked(code, &[O::R(c.dst()), O::R(c.src(2)), O::R(c.src(1))], mask(c.arg(0)), false)
            }
            Op::Select => {
                self.vop(&codes::BLENDVPS, w, &[O::R(c.dst()), O::R(c.src(2)), O::R(c.src(1)), O::R(c.src(0))])
            }
            _ if avx512 => self.opmask(c),
            _ => self.vector_mask(c),
        }
    }

    fn unary(&mut self, c: &Ctx<'_>, op: UnaryOp) -> Result<(), EncodeError> {
        const TO_INTEGRAL: i32 = 8; // raise no inexact exception
        let w = c.width;
        let (d, a) = (O::R(c.dst()), O::R(c.src(0)));
        let mut round = |mode| self.vop(&codes::ROUNDPS, w, &[d, a, O::I(mode | TO_INTEGRAL)]);
        match op {
            UnaryOp::RoundNearest => round(0),
            UnaryOp::Floor => round(1),
            UnaryOp::Ceil => round(2),
            UnaryOp::Trunc => round(3),
            UnaryOp::FNeg => {
                let sign = self.splat_const(0x8000_0000, w);
                self.vop(&codes::XOR, w, &[d, a, sign])
            }
            UnaryOp::FAbs => {
                let rest = self.splat_const(0x7fff_ffff, w);
                self.vop(&codes::AND, w, &[d, a, rest])
            }
            UnaryOp::FRecip => self.vop(&codes::RCPPS, w, &[d, a]),
            UnaryOp::FSqrt => self.vop(&codes::SQRTPS, w, &[d, a]),
            UnaryOp::I32ToF32 => self.vop(&codes::CVTDQ2PS, w, &[d, a]),
            UnaryOp::F32ToI32Trunc => self.vop(&codes::CVTTPS2DQ, w, &[d, a]),
            UnaryOp::F32ToI32Nearest => self.vop(&codes::CVTPS2DQ, w, &[d, a]),
            // Truth table of "not the third operand".
            UnaryOp::Not if self.isa == Isa::X64Avx512 => self.vop(&codes::TERNLOGD, w, &[d, a, a, O::I(0x55)]),
            UnaryOp::Not => {
                let ones = self.splat_const(u32::MAX, w);
                self.vop(&codes::XOR, w, &[d, a, ones])
            }
        }
    }

    fn vector_compare(&mut self, c: &Ctx<'_>, ty: CmpType, cmp: Cmp) -> Result<(), EncodeError> {
        let w = c.width;
        let a = O::R(c.src(0));
        let b = self.last(c, 1);
        let avx512 = self.isa == Isa::X64Avx512;
        if avx512 {
            let k = O::R(mask(c.res(0)));
            return match ty {
                CmpType::F32 => self.vop(&codes::CMPPS_K, w, &[k, a, b, O::I(float_predicate(cmp))]),
                CmpType::I32 => self.vop(&codes::PCMPD_K, w, &[k, a, b, O::I(int_predicate(cmp))]),
            };
        }
        let d = O::R(c.dst());
        if ty == CmpType::F32 {
            return self.vop(&codes::CMPPS_VEX, w, &[d, a, b, O::I(float_predicate(cmp))]);
        }
        // Only "equal" and "greater" exist: swap the operands, or complement the result.
        let (family, swap, complement): (&Family, bool, bool) = match cmp {
            Cmp::Eq => (&codes::PCMPEQD_VEX, false, false),
            Cmp::Ne => (&codes::PCMPEQD_VEX, false, true),
            Cmp::Gt => (&codes::PCMPGTD_VEX, false, false),
            Cmp::Le => (&codes::PCMPGTD_VEX, false, true),
            Cmp::Lt => (&codes::PCMPGTD_VEX, true, false),
            Cmp::Ge => (&codes::PCMPGTD_VEX, true, true),
        };
        if swap {
            self.vop(family, w, &[d, b, a])?;
        } else {
            self.vop(family, w, &[d, a, b])?;
        }
        if complement {
            let ones = self.splat_const(u32::MAX, w);
            self.vop(&codes::XOR, w, &[d, d, ones])?;
        }
        Ok(())
    }

    /// Operations on masks in opmask registers. Bits above the number of lanes have no meaning.
    fn opmask(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let k = O::R(mask(c.res(0)));
        match &c.inst.op {
            Op::MaskConst(n) if *n as usize == 16 => self.op(Code::VEX_Kxnorw_kr_kr_kr, &[k, k, k]),
            Op::MaskConst(0) => self.op(Code::VEX_Kxorw_kr_kr_kr, &[k, k, k]),
            Op::MaskConst(n) => {
                let t = O::R(gpr32(c.temp(0)));
                self.op(Code::Mov_r32_imm32, &[t, O::I((1 << n) - 1)])?;
                self.op(Code::VEX_Kmovw_kr_r32, &[k, t])
            }
            Op::MaskFirst => {
                let t = O::R(vec(c.width, c.temp(0)));
                self.vop(&codes::PBROADCASTD_GPR, c.width, &[t, O::R(gpr32(c.arg(0)))])?;
                let id = self.constant(&iota(c.width.lanes()));
                self.vop(&codes::PCMPD_K, c.width, &[k, t, O::C(id, false), O::I(int_predicate(Cmp::Gt))])
            }
            Op::Mask(op) => {
                let code = match op {
                    MaskOp::And => Code::VEX_Kandw_kr_kr_kr,
                    MaskOp::Or => Code::VEX_Korw_kr_kr_kr,
                    MaskOp::Xor => Code::VEX_Kxorw_kr_kr_kr,
                };
                self.op(code, &[k, O::R(mask(c.arg(0))), O::R(mask(c.arg(1)))])
            }
            Op::MaskNot => self.op(Code::VEX_Knotw_kr_kr, &[k, O::R(mask(c.arg(0)))]),
            _ => Err(EncodeError::new("not a mask instruction")),
        }
    }

    /// Operations on masks in vector registers.
    fn vector_mask(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let w = c.width;
        let d = O::R(c.dst());
        match &c.inst.op {
            Op::MaskConst(n) => {
                let words: Vec<u32> = (0..w.lanes()).map(|i| if i < *n as usize { u32::MAX } else { 0 }).collect();
                let id = self.constant(&words);
                self.vop(&codes::MOVU_LOAD, w, &[d, O::C(id, false)])
            }
            Op::MaskFirst => {
                let x = O::R(xmm(c.res(0)));
                self.op(Code::VEX_Vmovd_xmm_rm32, &[x, O::R(gpr32(c.arg(0)))])?;
                self.vop(&codes::BROADCASTSS_REG, w, &[d, x])?;
                let id = self.constant(&iota(w.lanes()));
                self.vop(&codes::PCMPGTD_VEX, w, &[d, d, O::C(id, false)])
            }
            Op::Mask(op) => {
                let family = match op {
                    MaskOp::And => &codes::AND,
                    MaskOp::Or => &codes::OR,
                    MaskOp::Xor => &codes::XOR,
                };
                self.vop(family, w, &[d, O::R(c.src(0)), O::R(c.src(1))])
            }
            Op::MaskNot => {
                let ones = self.splat_const(u32::MAX, w);
                self.vop(&codes::XOR, w, &[d, O::R(c.src(0)), ones])
            }
            _ => Err(EncodeError::new("not a mask instruction")),
        }
    }
}

fn iota(lanes: usize) -> Vec<u32> {
    (0..lanes as u32).collect()
}

fn vec_family(op: VecOp) -> &'static Family {
    match op {
        VecOp::FAdd => &codes::ADDPS,
        VecOp::FSub => &codes::SUBPS,
        VecOp::FMul => &codes::MULPS,
        VecOp::FDiv => &codes::DIVPS,
        VecOp::FMin => &codes::MINPS,
        VecOp::FMax => &codes::MAXPS,
        VecOp::FScale => &codes::SCALEFPS,
        VecOp::IAdd => &codes::PADDD,
        VecOp::ISub => &codes::PSUBD,
        VecOp::IMul => &codes::PMULLD,
        VecOp::IMin => &codes::PMINSD,
        VecOp::IMax => &codes::PMAXSD,
        VecOp::And => &codes::AND,
        VecOp::Or => &codes::OR,
        VecOp::Xor => &codes::XOR,
        VecOp::AndNot => &codes::ANDN,
        VecOp::AddI8 => &codes::PADDB,
        VecOp::AddSatU8 => &codes::PADDUSB,
        VecOp::SubSatU8 => &codes::PSUBUSB,
        VecOp::MinU8 => &codes::PMINUB,
        VecOp::MaxU8 => &codes::PMAXUB,
        VecOp::AvgU8 => &codes::PAVGB,
        VecOp::AddI16 => &codes::PADDW,
        VecOp::DotI16 => &codes::PMADDWD,
    }
}

fn fma_family(op: FmaOp) -> &'static Family {
    match op {
        FmaOp::Add => &codes::FMADD231PS,
        FmaOp::Sub => &codes::FNMADD231PS,
    }
}

/// Predicate of `vcmpps`: quiet; ordered but for "not equal".
fn float_predicate(cmp: Cmp) -> i32 {
    match cmp {
        Cmp::Eq => 0x00,
        Cmp::Ne => 0x04,
        Cmp::Lt => 0x11,
        Cmp::Le => 0x12,
        Cmp::Ge => 0x1d,
        Cmp::Gt => 0x1e,
    }
}

/// Predicate of `vpcmpd`.
fn int_predicate(cmp: Cmp) -> i32 {
    match cmp {
        Cmp::Eq => 0,
        Cmp::Lt => 1,
        Cmp::Le => 2,
        Cmp::Ne => 4,
        Cmp::Ge => 5,
        Cmp::Gt => 6,
    }
}
