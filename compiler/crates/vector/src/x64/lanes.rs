//! Movement of lanes.

use super::codes;
use super::emit::{Ctx, Emitter};
use super::operands::{O, mask, vec, xmm};
use crate::compile::EncodeError;
use crate::ir::{Op, ReduceOp, ShuffleOp};
use crate::target::{Isa, Width};
use iced_x86::Code;

impl Emitter<'_> {
    pub(super) fn lanes(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let w = c.width;
        let avx512 = self.isa == Isa::X64Avx512;
        match &c.inst.op {
            Op::Shuffle(op) => self.shuffle(c, *op),
            // The window is taken from `b:a`, so the operands stand in reverse.
            Op::Align(n) if avx512 => {
                self.vop(&codes::ALIGND, w, &[O::R(c.dst()), O::R(c.src(1)), O::R(c.src(0)), O::I((*n).into())])
            }
            Op::Align(n) => self.align_avx2(c, *n),
            Op::Permute => {
                let (d, a, index) = (O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1)));
                if w == Width::W128 {
                    self.vop(&codes::PERMILPS, w, &[d, a, index])
                } else {
                    self.vop(&codes::PERMPS, w, &[d, index, a])
                }
            }
            Op::PermuteBytes => self.vop(&codes::PSHUFB, w, &[O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1))]),
            Op::PermuteConst(table) => {
                let (d, a) = (O::R(c.dst()), O::R(c.src(0)));
                if w == Width::W128 {
                    let imm = table.iter().rev().fold(0, |imm, i| imm << 2 | (*i as i32 & 3));
                    return self.vop(&codes::PERMILPS_IMM, w, &[d, a, O::I(imm)]);
                }
                let id = self.constant(table);
                self.vop(&codes::MOVU_LOAD, w, &[d, O::C(id, false)])?;
                self.vop(&codes::PERMPS, w, &[d, d, a])
            }
            Op::LookupBytes(table) if self.kernel.target.has_wide_byte_tables() => self.lookup_by_halves(c, table),
            Op::LookupBytes(table) => self.lookup_by_rows(c, table),
            Op::BroadcastLane(lane) => self.broadcast_lane(w, c.res(0), c.arg(0), *lane),
            Op::Parts(select) => {
                let (d, a, b) = (O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1)));
                if avx512 {
                    self.vop(&codes::SHUFF32X4, w, &[d, a, b, O::I((*select).into())])
                } else {
                    let (x, y) = (select & 1, select >> 1 & 1);
                    self.vop(&codes::PERM2F128, w, &[d, a, b, O::I((x | (2 + y) << 4).into())])
                }
            }
            Op::Half(high) => self.half(w, c.res(0), c.arg(0), *high),
            Op::Concat => {
                let (low, high) = (c.arg(0), c.arg(1));
                let (code, half) = match (w, avx512) {
                    (Width::W512, _) => (Code::EVEX_Vinsertf64x4_zmm_k1z_zmm_ymmm256_imm8, Width::W256),
                    (_, true) => (Code::EVEX_Vinsertf32x4_ymm_k1z_ymm_xmmm128_imm8, Width::W128),
                    (_, false) => (Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, Width::W128),
                };
                self.op(code, &[O::R(c.dst()), O::R(vec(w, low)), O::R(vec(half, high)), O::I(1)])
            }
            Op::Reduce(op) => self.reduce(c, *op),
            _ => Err(EncodeError::new("not a lane instruction")),
        }
    }

    /// Each byte in both halves of the table; its high bit says which it is. Whole registers, whatever the width: the tables need them.
    fn lookup_by_halves(&mut self, c: &Ctx<'_>, table: &[u32]) -> Result<(), EncodeError> {
        let w = Width::W512;
        let reg = |n: usize| O::R(vec(w, n));
        let (high, low, index) = (reg(c.res(0)), reg(c.temp(0)), reg(c.arg(0)));
        let k = mask(c.temp(1));
        let [a, b, x, y] = [0, 16, 32, 48].map(|i| O::C(self.constant(&table[i..i + 16]), false));
        self.op(Code::EVEX_Vpmovb2m_kr_zmm, &[O::R(k), index])?;
        self.vop(&codes::MOVU_LOAD, w, &[low, a])?;
        self.vop(&codes::MOVU_LOAD, w, &[high, x])?;
        self.op(Code::EVEX_Vpermt2b_zmm_k1z_zmm_zmmm512, &[low, index, b])?;
        self.op(Code::EVEX_Vpermt2b_zmm_k1z_zmm_zmmm512, &[high, index, y])?;
        self.masked(Code::EVEX_Vpblendmb_zmm_k1z_zmm_zmmm512, &[high, low, high], k, false)
    }

    /// Row by row of 16 bytes. A byte of the index loses 16 each time and selects until it is negative, so that it selects from all rows up
    /// to its own: each holds what differs from the one before. The upper 128 follow with their high bit turned.
    fn lookup_by_rows(&mut self, c: &Ctx<'_>, table: &[u32]) -> Result<(), EncodeError> {
        let w = c.width;
        let (sum, row, x, index) = (O::R(c.dst()), O::R(vec(w, c.temp(0))), O::R(vec(w, c.temp(1))), O::R(c.src(0)));
        let splat = |e: &mut Self, byte: u32| O::C(e.constant(&vec![byte * 0x0101_0101; w.lanes()]), false);
        let (step, turn) = (splat(self, 16), splat(self, 0x80));
        for r in 0..16 {
            let first = r % 8 == 0;
            let words: Vec<u32> =
                (4 * r..4 * r + 4).map(|i| if first { table[i] } else { table[i] ^ table[i - 4] }).collect();
            match r {
                0 => self.vop(&codes::MOVA, w, &[x, index])?,
                8 => self.vop(&codes::XOR, w, &[x, index, turn])?,
                _ => self.vop(&codes::PSUBSB, w, &[x, x, step])?,
            }
            let words = O::C(self.constant(&words), false);
            let to = if r == 0 { sum } else { row };
            self.vop(&codes::BROADCAST128, w, &[to, words])?;
            self.vop(&codes::PSHUFB, w, &[to, to, x])?;
            if r > 0 {
                self.vop(&codes::XOR, w, &[sum, sum, row])?;
            }
        }
        Ok(())
    }

    fn shuffle(&mut self, c: &Ctx<'_>, op: ShuffleOp) -> Result<(), EncodeError> {
        let w = c.width;
        let n = w.lanes() as u32;
        let (d, a, b) = (O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1)));
        let single = w == Width::W128;
        match op {
            ShuffleOp::UnpackLo32 => self.vop(&codes::UNPCKLPS, w, &[d, a, b]),
            ShuffleOp::UnpackHi32 => self.vop(&codes::UNPCKHPS, w, &[d, a, b]),
            ShuffleOp::UnpackLo64 => self.vop(&codes::UNPCKLPD, w, &[d, a, b]),
            ShuffleOp::UnpackHi64 => self.vop(&codes::UNPCKHPD, w, &[d, a, b]),
            ShuffleOp::UnpackLo8 => self.vop(&codes::PUNPCKLBW, w, &[d, a, b]),
            ShuffleOp::UnpackHi8 => self.vop(&codes::PUNPCKHBW, w, &[d, a, b]),
            ShuffleOp::UnpackLo16 => self.vop(&codes::PUNPCKLWD, w, &[d, a, b]),
            ShuffleOp::UnpackHi16 => self.vop(&codes::PUNPCKHWD, w, &[d, a, b]),
            ShuffleOp::NarrowI32 => self.vop(&codes::PACKSSDW, w, &[d, a, b]),
            ShuffleOp::NarrowI16 => self.vop(&codes::PACKUSWB, w, &[d, a, b]),
            ShuffleOp::ZipLo if single => self.vop(&codes::UNPCKLPS, w, &[d, a, b]),
            ShuffleOp::ZipHi if single => self.vop(&codes::UNPCKHPS, w, &[d, a, b]),
            ShuffleOp::Even | ShuffleOp::Odd if single || self.isa == Isa::X64Avx2 => {
                let imm = if op == ShuffleOp::Even { 0x88 } else { 0xdd };
                self.vop(&codes::SHUFPS, w, &[d, a, b, O::I(imm)])?;
                // 64-bit quarters now stand as a, b, a, b.
                if single { Ok(()) } else { self.vop(&codes::PERMPD_IMM, w, &[d, d, O::I(0xd8)]) }
            }
            ShuffleOp::ZipLo | ShuffleOp::ZipHi if self.isa == Isa::X64Avx2 => {
                let t = O::R(vec(w, c.temp(0)));
                self.vop(&codes::UNPCKLPS, w, &[t, a, b])?;
                self.vop(&codes::UNPCKHPS, w, &[d, a, b])?;
                let imm = if op == ShuffleOp::ZipLo { 0x20 } else { 0x31 };
                self.vop(&codes::PERM2F128, w, &[d, t, d, O::I(imm)])
            }
            ShuffleOp::Even => self.permute2(c, |i| 2 * i),
            ShuffleOp::Odd => self.permute2(c, |i| 2 * i + 1),
            ShuffleOp::ZipLo => self.permute2(c, |i| i / 2 + (i % 2) * n),
            ShuffleOp::ZipHi => self.permute2(c, |i| n / 2 + i / 2 + (i % 2) * n),
        }
    }

    /// Any selection from `a` (indices below the number of lanes) and `b`: AVX-512, result not shared with arguments.
    fn permute2(&mut self, c: &Ctx<'_>, index: impl Fn(u32) -> u32) -> Result<(), EncodeError> {
        let table: Vec<u32> = (0..c.width.lanes() as u32).map(index).collect();
        let id = self.constant(&table);
        self.vop(&codes::MOVU_LOAD, c.width, &[O::R(c.dst()), O::C(id, false)])?;
        self.vop(&codes::PERMI2PS, c.width, &[O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1))])
    }

    fn align_avx2(&mut self, c: &Ctx<'_>, n: u8) -> Result<(), EncodeError> {
        let w = c.width;
        let (d, a, b) = (O::R(c.dst()), O::R(c.src(0)), O::R(c.src(1)));
        if w == Width::W128 {
            return self.vop(&codes::PALIGNR, w, &[d, b, a, O::I((n * 4).into())]);
        }
        // The middle: high part of a, low part of b.
        self.vop(&codes::PERM2F128, w, &[d, a, b, O::I(0x21)])?;
        match n {
            4 => Ok(()),
            0..4 => self.vop(&codes::PALIGNR, w, &[d, d, a, O::I((n * 4).into())]),
            _ => self.vop(&codes::PALIGNR, w, &[d, b, d, O::I(((n - 4) * 4).into())]),
        }
    }

    /// One lane of `src` in all lanes of `dst`; they may be the same register.
    pub(super) fn broadcast_lane(&mut self, w: Width, dst: usize, src: usize, lane: u8) -> Result<(), EncodeError> {
        let (x, d) = (O::R(xmm(dst)), O::R(vec(w, dst)));
        let mut from = O::R(xmm(src));
        let mut lane = lane;
        if lane >= 4 && self.isa == Isa::X64Avx512 {
            let s = O::R(vec(w, src));
            self.vop(&codes::ALIGND, w, &[d, s, s, O::I(lane.into())])?;
            (from, lane) = (x, 0);
        } else if lane >= 4 {
            self.op(Code::VEX_Vextractf128_xmmm128_ymm_imm8, &[x, O::R(vec(w, src)), O::I(1)])?;
            (from, lane) = (x, lane - 4);
        }
        if lane > 0 || w == Width::W128 {
            self.vop(&codes::PERMILPS_IMM, Width::W128, &[x, from, O::I((lane * 0x55).into())])?;
            from = x;
        }
        if w == Width::W128 { Ok(()) } else { self.vop(&codes::BROADCASTSS_REG, w, &[d, from]) }
    }

    /// Half of the lanes of `src`, which has width `w`.
    fn half(&mut self, w: Width, dst: usize, src: usize, high: bool) -> Result<(), EncodeError> {
        let half = w.half().ok_or_else(|| EncodeError::new("no half of 128 bits"))?;
        let d = O::R(vec(half, dst));
        if !high {
            let s = O::R(vec(half, src));
            return if dst == src { Ok(()) } else { self.vop(&codes::MOVA, half, &[d, s]) };
        }
        let code = match (w, self.isa) {
            (Width::W512, _) => Code::EVEX_Vextractf64x4_ymmm256_k1z_zmm_imm8,
            (_, Isa::X64Avx512) => Code::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8,
            _ => Code::VEX_Vextractf128_xmmm128_ymm_imm8,
        };
        self.op(code, &[d, O::R(vec(w, src)), O::I(1)])
    }

    fn reduce(&mut self, c: &Ctx<'_>, op: ReduceOp) -> Result<(), EncodeError> {
        let family = match op {
            ReduceOp::Add => &codes::ADDPS,
            ReduceOp::Min => &codes::MINPS,
            ReduceOp::Max => &codes::MAXPS,
        };
        let (d, t) = (c.res(0), c.temp(0));
        let reg = |w: Width, n: usize| -> O { O::R(vec(w, n)) };
        let (mut from, mut w) = (c.arg(0), c.width);
        while let Some(half) = w.half() {
            self.half(w, t, from, true)?;
            self.vop(family, half, &[reg(half, d), reg(half, from), reg(half, t)])?;
            (from, w) = (d, half);
        }
        // Lanes 2, 3 onto 0, 1; then lane 1 onto 0.
        for imm in [0x4e, 0xb1] {
            self.vop(&codes::PERMILPS_IMM, w, &[reg(w, t), reg(w, from), O::I(imm)])?;
            self.vop(family, w, &[reg(w, d), reg(w, from), reg(w, t)])?;
            from = d;
        }
        Ok(())
    }
}
