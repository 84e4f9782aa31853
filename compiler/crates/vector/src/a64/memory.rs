//! Vector constants, loads and stores.

use super::emit::{Address, Ctx, Emitter, X16, X17};
use super::encoding::{self as enc, Access};
use crate::compile::EncodeError;
use crate::ir::{Elem, Op};

impl Emitter {
    pub(super) fn memory(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        match &c.inst.op {
            Op::Splat(bits) => match enc::splat_imm(c.res(), *bits) {
                Some(word) => self.word(word),
                None => self.asm.load_const(c.res(), &[*bits; 4]),
            },
            Op::Table(words) => self.asm.load_const(c.res(), words),
            Op::SplatGpr => self.word(enc::dup_gpr(c.res(), c.arg(0))),
            Op::ToGpr => self.word(enc::umov(c.res(), c.arg(0), 0)),
            Op::Load => self.access(Access::LDR_Q, c.res(), c.address()),
            Op::Store => self.access(Access::STR_Q, c.arg(0), c.address()),
            Op::LoadLow(1) => self.access(Access::LDR_S, c.res(), c.address()),
            Op::StoreLow(1) => self.access(Access::STR_S, c.arg(0), c.address()),
            Op::LoadLow(2) => self.access(Access::LDR_D, c.res(), c.address()),
            Op::StoreLow(2) => self.access(Access::STR_D, c.arg(0), c.address()),
            Op::LoadLow(_) | Op::StoreLow(_) => self.three_lanes(c),
            Op::LoadMasked => {
                let (d, m) = (c.res(), c.arg(0));
                self.load_zero(d);
                self.each_masked_lane(c.address(), m, |lane| enc::ld1_lane(d, X16, lane));
            }
            Op::StoreMasked => {
                let (m, v) = (c.arg(0), c.arg(1));
                self.each_masked_lane(c.address(), m, |lane| enc::st1_lane(v, X16, lane));
            }
            Op::Broadcast => {
                let from = self.address_register(c.address());
                self.word(enc::ld1r(c.res(), from));
            }
            Op::BroadcastByte => {
                let from = self.address_register(c.address());
                self.word(enc::ld1r_16b(c.res(), from));
            }
            Op::LoadConvert(elem) => {
                let d = c.res();
                match elem {
                    Elem::F16 => {
                        self.access(Access::LDR_D, d, c.address());
                        self.rr(enc::FCVTL, d, d);
                    }
                    Elem::Bf16 => {
                        self.access(Access::LDR_D, d, c.address());
                        self.rr(enc::USHLL_4S, d, d);
                        self.word(enc::shl_v(d, d, 16));
                    }
                    Elem::I8 | Elem::U8 => {
                        let signed = *elem == Elem::I8;
                        self.access(Access::LDR_S, d, c.address());
                        self.rr(if signed { enc::SSHLL_8H } else { enc::USHLL_8H }, d, d);
                        self.rr(if signed { enc::SSHLL_4S } else { enc::USHLL_4S }, d, d);
                    }
                }
            }
            Op::StoreConvert(elem @ (Elem::I8 | Elem::U8)) => {
                let t = c.temp(0);
                self.rr(enc::SQXTN_4H, t, c.arg(0));
                self.rr(if *elem == Elem::I8 { enc::SQXTN_8B } else { enc::SQXTUN_8B }, t, t);
                self.access(Access::STR_S, t, c.address());
            }
            Op::StoreConvert(_) => {
                let t = c.temp(0);
                self.rr(enc::FCVTN, t, c.arg(0));
                self.access(Access::STR_D, t, c.address());
            }
            Op::Gather(scale) => {
                let (d, index) = (c.res(), c.arg(0));
                let base = self.address_register(c.address());
                for lane in 0..4 {
                    self.word(enc::umov(X17, index, lane));
                    self.word(enc::add_sxtw(X17, base, X17, scale.trailing_zeros()));
                    self.word(enc::ld1_lane(d, X17, lane));
                }
            }
            _ => return Err(EncodeError::new("not a memory instruction")),
        }
        Ok(())
    }

    pub(super) fn load_zero(&mut self, d: u32) {
        const MOVI_ZERO: u32 = 0x4f00_0400;
        self.word(MOVI_ZERO | d);
    }

    /// Two lanes at once, then the third at its own address.
    fn three_lanes(&mut self, c: &Ctx<'_>) {
        let base = self.address_register(c.address());
        let plain = Address { base, index: None, disp: 0 };
        if c.inst.results.is_empty() {
            let v = c.arg(0);
            self.access(Access::STR_D, v, plain);
            self.add_constant(X16, base, 8);
            self.word(enc::st1_lane(v, X16, 2));
        } else {
            let d = c.res();
            self.access(Access::LDR_D, d, plain);
            self.add_constant(X16, base, 8);
            self.word(enc::ld1_lane(d, X16, 2));
        }
    }

    /// For each lane, skips the access if the mask is false; x16 walks through memory.
    fn each_masked_lane(&mut self, a: Address, mask: u32, access: impl Fn(u32) -> u32) {
        let base = self.address_register(a);
        if base != X16 {
            self.rrr(enc::ORR_X, X16, enc::ZR_SP, base);
        }
        for lane in 0..4 {
            self.word(enc::umov(X17, mask, lane));
            self.word(enc::cbz_w(X17, 2));
            self.word(access(lane));
            if lane < 3 {
                self.add_constant(X16, X16, 4);
            }
        }
    }
}
