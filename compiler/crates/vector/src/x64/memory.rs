//! Vector constants, loads and stores.

use super::codes::{self, pick};
use super::emit::{Ctx, Emitter};
use super::operands::{O, gpr32, mask, vec, xmm};
use crate::compile::EncodeError;
use crate::ir::{Elem, Op};
use crate::target::{Isa, Width};
use iced_x86::{Code, MemoryOperand, Register};

impl Emitter<'_> {
    pub(super) fn memory(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let w = c.width;
        let avx512 = self.isa == Isa::X64Avx512;
        match &c.inst.op {
            Op::Splat(bits) => self.splat(c, *bits),
            Op::Table(words) => {
                let id = self.constant(words);
                self.vop(&codes::MOVU_LOAD, w, &[O::R(c.dst()), O::C(id, false)])
            }
            Op::SplatGpr if avx512 => self.vop(&codes::PBROADCASTD_GPR, w, &[O::R(c.dst()), O::R(gpr32(c.arg(0)))]),
            Op::SplatGpr => {
                let x = xmm(c.res(0));
                self.op(Code::VEX_Vmovd_xmm_rm32, &[O::R(x), O::R(gpr32(c.arg(0)))])?;
                self.vop(&codes::BROADCASTSS_REG, w, &[O::R(c.dst()), O::R(x)])
            }
            Op::ToGpr => {
                let code = if avx512 { Code::EVEX_Vmovd_rm32_xmm } else { Code::VEX_Vmovd_rm32_xmm };
                self.op(code, &[O::R(gpr32(c.res(0))), O::R(xmm(c.arg(0)))])
            }
            Op::Load => self.vop(&codes::MOVU_LOAD, w, &[O::R(c.dst()), O::M(c.address())]),
            Op::Store => self.vop(&codes::MOVU_STORE, w, &[O::M(c.address()), O::R(c.src(0))]),
            Op::LoadLow(n) => {
                let (code, width) = match n {
                    1 if avx512 => (Code::EVEX_Vmovss_xmm_k1z_m32, Width::W128),
                    1 => (Code::VEX_Vmovss_xmm_m32, Width::W128),
                    2 if avx512 => (Code::EVEX_Vmovsd_xmm_k1z_m64, Width::W128),
                    2 => (Code::VEX_Vmovsd_xmm_m64, Width::W128),
                    4 => (pick(&codes::MOVU_LOAD, self.isa, Width::W128), Width::W128),
                    _ => (pick(&codes::MOVU_LOAD, self.isa, Width::W256), Width::W256),
                };
                self.op(code, &[O::R(vec(width, c.res(0))), O::M(c.address())])
            }
            Op::StoreLow(n) => {
                let (code, width) = match n {
                    1 if avx512 => (Code::EVEX_Vmovss_m32_k1_xmm, Width::W128),
                    1 => (Code::VEX_Vmovss_m32_xmm, Width::W128),
                    2 if avx512 => (Code::EVEX_Vmovsd_m64_k1_xmm, Width::W128),
                    2 => (Code::VEX_Vmovsd_m64_xmm, Width::W128),
                    4 => (pick(&codes::MOVU_STORE, self.isa, Width::W128), Width::W128),
                    _ => (pick(&codes::MOVU_STORE, self.isa, Width::W256), Width::W256),
                };
                self.op(code, &[O::M(c.address()), O::R(vec(width, c.arg(0)))])
            }
            Op::LoadMasked if avx512 => {
                let code = pick(&codes::MOVU_LOAD, self.isa, w);
                self.masked(code, &[O::R(c.dst()), O::M(c.address())], mask(c.arg(0)), true)
            }
            Op::LoadMasked => self.vop(&codes::MASKMOV_LOAD, w, &[O::R(c.dst()), O::R(c.src(0)), O::M(c.address())]),
            Op::StoreMasked if avx512 => {
                let code = pick(&codes::MOVU_STORE, self.isa, w);
                self.masked(code, &[O::M(c.address()), O::R(c.src(1))], mask(c.arg(0)), false)
            }
            Op::StoreMasked => self.vop(&codes::MASKMOV_STORE, w, &[O::M(c.address()), O::R(c.src(0)), O::R(c.src(1))]),
            Op::Broadcast => self.vop(&codes::BROADCASTSS, w, &[O::R(c.dst()), O::M(c.address())]),
            Op::BroadcastByte => self.vop(&codes::PBROADCASTB, w, &[O::R(c.dst()), O::M(c.address())]),
            Op::LoadConvert(Elem::Bf16) => {
                let d = O::R(c.dst());
                self.vop(&codes::PMOVZXWD, w, &[d, O::M(c.address())])?;
                let shift = if avx512 { &codes::PSLLD_EVEX } else { &codes::PSLLD_VEX };
                self.vop(shift, w, &[d, d, O::I(16)])
            }
            Op::StoreConvert(Elem::Bf16) => {
                let (half, store) = match w {
                    Width::W512 => (Width::W256, pick(&codes::MOVU_STORE, self.isa, Width::W256)),
                    Width::W256 => (Width::W128, pick(&codes::MOVU_STORE, self.isa, Width::W128)),
                    Width::W128 => (Width::W128, Code::EVEX_Vmovsd_m64_k1_xmm),
                };
                let t = O::R(vec(half, c.temp(0)));
                self.vop(&codes::CVTNEPS2BF16, w, &[t, O::R(c.src(0))])?;
                self.op(store, &[O::M(c.address()), t])
            }
            Op::LoadConvert(elem) => {
                let family = match elem {
                    Elem::F16 | Elem::Bf16 => &codes::CVTPH2PS,
                    Elem::I8 => &codes::PMOVSXBD,
                    Elem::U8 => &codes::PMOVZXBD,
                };
                self.vop(family, w, &[O::R(c.dst()), O::M(c.address())])
            }
            Op::StoreConvert(Elem::I8) if avx512 => self.vop(&codes::PMOVSDB, w, &[O::M(c.address()), O::R(c.src(0))]),
            Op::StoreConvert(Elem::U8) if avx512 => {
                // The instruction takes its source as unsigned.
                let (t, zero) = (O::R(vec(w, c.temp(0))), self.splat_const(0, w));
                self.vop(&codes::PMAXSD, w, &[t, O::R(c.src(0)), zero])?;
                self.vop(&codes::PMOVUSDB, w, &[O::M(c.address()), t])
            }
            Op::StoreConvert(elem @ (Elem::I8 | Elem::U8)) => {
                let (t, low) = (O::R(xmm(c.temp(0))), O::R(xmm(c.arg(0))));
                let to_bytes = if *elem == Elem::I8 { &codes::PACKSSWB } else { &codes::PACKUSWB };
                let store = if w == Width::W256 {
                    self.op(Code::VEX_Vextractf128_xmmm128_ymm_imm8, &[t, O::R(c.src(0)), O::I(1)])?;
                    self.vop(&codes::PACKSSDW, Width::W128, &[t, low, t])?;
                    Code::VEX_Vmovsd_m64_xmm
                } else {
                    self.vop(&codes::PACKSSDW, Width::W128, &[t, low, low])?;
                    Code::VEX_Vmovss_m32_xmm
                };
                self.vop(to_bytes, Width::W128, &[t, t, t])?;
                self.op(store, &[O::M(c.address()), t])
            }
            Op::StoreConvert(_) => {
                // Immediate 0: round to nearest even, whatever the control register says.
                self.vop(&codes::CVTPS2PH, w, &[O::M(c.address()), O::R(c.src(0)), O::I(0)])
            }
            Op::LoadConvertMasked(elem) => {
                let family = if *elem == Elem::I8 { &codes::PMOVSXBD } else { &codes::PMOVZXBD };
                self.masked(pick(family, self.isa, w), &[O::R(c.dst()), O::M(c.address())], mask(c.arg(0)), true)
            }
            Op::StoreConvertMasked(Elem::I8) => {
                let code = pick(&codes::PMOVSDB, self.isa, w);
                self.masked(code, &[O::M(c.address()), O::R(c.src(1))], mask(c.arg(0)), false)
            }
            Op::StoreConvertMasked(_) => {
                let (t, zero) = (O::R(vec(w, c.temp(0))), self.splat_const(0, w));
                self.vop(&codes::PMAXSD, w, &[t, O::R(c.src(1)), zero])?;
                self.masked(pick(&codes::PMOVUSDB, self.isa, w), &[O::M(c.address()), t], mask(c.arg(0)), false)
            }
            Op::Gather(scale) => self.gather(c, *scale),
            _ => Err(EncodeError::new("not a memory instruction")),
        }
    }

    fn splat(&mut self, c: &Ctx<'_>, bits: u32) -> Result<(), EncodeError> {
        let (w, n) = (c.width, c.res(0));
        let d = O::R(c.dst());
        match bits {
            // The VEX form clears the whole register and is two bytes shorter.
            0 if n < 16 => self.op(Code::VEX_Vxorps_xmm_xmm_xmmm128, &[O::R(xmm(n)), O::R(xmm(n)), O::R(xmm(n))]),
            0 => self.vop(&codes::XOR, w, &[d, d, d]),
            u32::MAX if self.isa == Isa::X64Avx512 => self.vop(&codes::TERNLOGD, w, &[d, d, d, O::I(0xff)]),
            u32::MAX => self.vop(&codes::PCMPEQD_VEX, w, &[d, d, d]),
            _ => {
                let id = self.constant(&[bits]);
                self.vop(&codes::BROADCASTSS, w, &[d, O::C(id, false)])
            }
        }
    }

    fn gather(&mut self, c: &Ctx<'_>, scale: u8) -> Result<(), EncodeError> {
        let w = c.width;
        let d = O::R(c.dst());
        let plain = c.address();
        let mem = MemoryOperand::new(
            plain.base,
            c.src(0),
            scale.into(),
            plain.displacement,
            plain.displ_size,
            false,
            Register::None,
        );
        if self.isa == Isa::X64Avx512 {
            let k = mask(c.temp(0));
            self.op(Code::VEX_Kxnorw_kr_kr_kr, &[O::R(k), O::R(k), O::R(k)])?;
            // Cuts the dependence on what the register held.
            self.vop(&codes::XOR, w, &[d, d, d])?;
            self.masked(pick(&codes::GATHER_EVEX, self.isa, w), &[d, O::M(mem)], k, false)
        } else {
            let t = O::R(vec(w, c.temp(0)));
            self.vop(&codes::PCMPEQD_VEX, w, &[t, t, t])?;
            self.vop(&codes::XOR, w, &[d, d, d])?;
            self.vop(&codes::GATHER_VEX, w, &[d, O::M(mem), t])
        }
    }
}
