//! Machine words of the instructions that the encoder uses ("Arm Architecture Reference Manual for A-profile", C4 and C7).
//! Registers are numbers 0 to 31; vectors are `.4s` or `.16b` unless the name says otherwise.

/// Zero register or stack pointer, by instruction.
pub(super) const ZR_SP: u32 = 31;

/// `op rd, rn, rm` with the fields in their usual places.
pub(super) const fn rrr(base: u32, d: u32, n: u32, m: u32) -> u32 {
    base | m << 16 | n << 5 | d
}

/// `op rd, rn`.
pub(super) const fn rr(base: u32, d: u32, n: u32) -> u32 {
    base | n << 5 | d
}

// Integer, 64 bits; for use with `rrr`.
pub(super) const ADD_X: u32 = 0x8b00_0000;
pub(super) const SUB_X: u32 = 0xcb00_0000;
pub(super) const SUBS_X: u32 = 0xeb00_0000;
pub(super) const AND_X: u32 = 0x8a00_0000;
pub(super) const ORR_X: u32 = 0xaa00_0000;
pub(super) const EOR_X: u32 = 0xca00_0000;
pub(super) const MUL_X: u32 = 0x9b00_7c00;

/// `add xd, xn, xm, lsl #shift`.
pub(super) const fn add_lsl(d: u32, n: u32, m: u32, shift: u32) -> u32 {
    rrr(ADD_X, d, n, m) | shift << 10
}

/// `add xd, xn, wm, sxtw #shift`.
pub(super) const fn add_sxtw(d: u32, n: u32, m: u32, shift: u32) -> u32 {
    rrr(0x8b20_c000, d, n, m) | shift << 10
}

/// `add xd, xn, #imm`, `imm` below 4096, or that many times 4096.
pub(super) const fn add_imm(d: u32, n: u32, imm: u32, times_4096: bool) -> u32 {
    rr(0x9100_0000, d, n) | imm << 10 | (times_4096 as u32) << 22
}

/// `sub xd, xn, #imm`.
pub(super) const fn sub_imm(d: u32, n: u32, imm: u32, times_4096: bool) -> u32 {
    rr(0xd100_0000, d, n) | imm << 10 | (times_4096 as u32) << 22
}

/// `cmp xn, #imm`, `imm` below 4096.
pub(super) const fn cmp_imm(n: u32, imm: u32) -> u32 {
    rr(0xf100_0000, ZR_SP, n) | imm << 10
}

/// `cmn xn, #imm`: compares with `-imm`.
pub(super) const fn cmn_imm(n: u32, imm: u32) -> u32 {
    rr(0xb100_0000, ZR_SP, n) | imm << 10
}

/// `csel xd, xn, xm, cond`.
pub(super) const fn csel(d: u32, n: u32, m: u32, cond: u32) -> u32 {
    rrr(0x9a80_0000, d, n, m) | cond << 12
}

/// `movz`, `movn`, `movk xd, #imm, lsl #(16 * part)`.
pub(super) const fn movz(d: u32, imm: u32, part: u32) -> u32 {
    0xd280_0000 | part << 21 | imm << 5 | d
}
pub(super) const fn movn(d: u32, imm: u32, part: u32) -> u32 {
    0x9280_0000 | part << 21 | imm << 5 | d
}
pub(super) const fn movk(d: u32, imm: u32, part: u32) -> u32 {
    0xf280_0000 | part << 21 | imm << 5 | d
}

/// `lsl xd, xn, #n`.
pub(super) const fn lsl(d: u32, n: u32, by: u32) -> u32 {
    rr(0xd340_0000, d, n) | ((64 - by) % 64) << 16 | (63 - by) << 10
}

/// `lsr xd, xn, #n`.
pub(super) const fn lsr(d: u32, n: u32, by: u32) -> u32 {
    rr(0xd340_0000, d, n) | by << 16 | 63 << 10
}

/// `asr xd, xn, #n`.
pub(super) const fn asr(d: u32, n: u32, by: u32) -> u32 {
    rr(0x9340_0000, d, n) | by << 16 | 63 << 10
}

pub(super) const RET: u32 = 0xd65f_03c0;

/// A load or store of one register: its size field, register file and operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    size: u32,
    vector: u32,
    opc: u32,
    /// Logarithm of the number of bytes.
    pub log2_bytes: u32,
}

impl Access {
    const fn new(size: u32, vector: u32, opc: u32, log2_bytes: u32) -> Access {
        Access { size, vector, opc, log2_bytes }
    }

    pub const STRB: Access = Access::new(0, 0, 0, 0);
    pub const LDRB: Access = Access::new(0, 0, 1, 0);
    pub const LDRSB: Access = Access::new(0, 0, 2, 0);
    pub const STRH: Access = Access::new(1, 0, 0, 1);
    pub const LDRH: Access = Access::new(1, 0, 1, 1);
    pub const LDRSH: Access = Access::new(1, 0, 2, 1);
    pub const STR_W: Access = Access::new(2, 0, 0, 2);
    pub const LDR_W: Access = Access::new(2, 0, 1, 2);
    pub const LDRSW: Access = Access::new(2, 0, 2, 2);
    pub const STR_X: Access = Access::new(3, 0, 0, 3);
    pub const LDR_X: Access = Access::new(3, 0, 1, 3);
    pub const PRFM: Access = Access::new(3, 0, 2, 3);
    pub const STR_S: Access = Access::new(2, 1, 0, 2);
    pub const LDR_S: Access = Access::new(2, 1, 1, 2);
    pub const STR_D: Access = Access::new(3, 1, 0, 3);
    pub const LDR_D: Access = Access::new(3, 1, 1, 3);
    pub const STR_Q: Access = Access::new(0, 1, 2, 4);
    pub const LDR_Q: Access = Access::new(0, 1, 3, 4);

    const fn base(self) -> u32 {
        self.size << 30 | 0b111 << 27 | self.vector << 26 | self.opc << 22
    }

    /// `[xn, #(units * bytes)]`, `units` below 4096.
    pub const fn scaled(self, t: u32, n: u32, units: u32) -> u32 {
        rr(self.base(), t, n) | 1 << 24 | units << 10
    }

    /// `[xn, #disp]`, `disp` from -256 to 255.
    pub const fn unscaled(self, t: u32, n: u32, disp: i32) -> u32 {
        rr(self.base(), t, n) | (disp.cast_unsigned() & 0x1ff) << 12
    }

    /// `[xn, xm]` or `[xn, xm, lsl #log2_bytes]`.
    pub const fn indexed(self, t: u32, n: u32, m: u32, shifted: bool) -> u32 {
        rrr(self.base(), t, n, m) | 1 << 21 | 0b011 << 13 | (shifted as u32) << 12 | 0b10 << 10
    }
}

/// `stp`/`ldp` of two 64-bit registers at `[sp, #(8 * units)]`.
pub(super) const fn stp_x(t: u32, t2: u32, units: u32) -> u32 {
    0xa900_0000 | units << 15 | t2 << 10 | ZR_SP << 5 | t
}
pub(super) const fn ldp_x(t: u32, t2: u32, units: u32) -> u32 {
    0xa940_0000 | units << 15 | t2 << 10 | ZR_SP << 5 | t
}
pub(super) const fn stp_d(t: u32, t2: u32, units: u32) -> u32 {
    0x6d00_0000 | units << 15 | t2 << 10 | ZR_SP << 5 | t
}
pub(super) const fn ldp_d(t: u32, t2: u32, units: u32) -> u32 {
    0x6d40_0000 | units << 15 | t2 << 10 | ZR_SP << 5 | t
}

// Vector, three registers; for use with `rrr`.
pub(super) const FADD: u32 = 0x4e20_d400;
pub(super) const FSUB: u32 = 0x4ea0_d400;
pub(super) const FMUL: u32 = 0x6e20_dc00;
pub(super) const FDIV: u32 = 0x6e20_fc00;
pub(super) const FMIN: u32 = 0x4ea0_f400;
pub(super) const FMAX: u32 = 0x4e20_f400;
pub(super) const FMLA: u32 = 0x4e20_cc00;
pub(super) const FMLS: u32 = 0x4ea0_cc00;
pub(super) const FADDP: u32 = 0x6e20_d400;
pub(super) const FCMEQ: u32 = 0x4e20_e400;
pub(super) const FCMGE: u32 = 0x6e20_e400;
pub(super) const FCMGT: u32 = 0x6ea0_e400;
pub(super) const ADD_V: u32 = 0x4ea0_8400;
pub(super) const SUB_V: u32 = 0x6ea0_8400;
pub(super) const MUL_V: u32 = 0x4ea0_9c00;
pub(super) const SMIN: u32 = 0x4ea0_6c00;
pub(super) const SMAX: u32 = 0x4ea0_6400;
pub(super) const CMEQ: u32 = 0x6ea0_8c00;
pub(super) const CMGE: u32 = 0x4ea0_3c00;
pub(super) const CMGT: u32 = 0x4ea0_3400;
pub(super) const AND_V: u32 = 0x4e20_1c00;
/// `n & !m`.
pub(super) const BIC: u32 = 0x4e60_1c00;
pub(super) const ORR_V: u32 = 0x4ea0_1c00;
pub(super) const EOR_V: u32 = 0x6e20_1c00;
/// `d = d ? n : m`.
pub(super) const BSL: u32 = 0x6e60_1c00;
/// `d = m ? n : d`.
pub(super) const BIT: u32 = 0x6ea0_1c00;
/// `d = m ? d : n`.
pub(super) const BIF: u32 = 0x6ee0_1c00;
pub(super) const ZIP1_4S: u32 = 0x4e80_3800;
pub(super) const ZIP2_4S: u32 = 0x4e80_7800;
pub(super) const UZP1_4S: u32 = 0x4e80_1800;
pub(super) const UZP2_4S: u32 = 0x4e80_5800;
pub(super) const ZIP1_2D: u32 = 0x4ec0_3800;
pub(super) const ZIP2_2D: u32 = 0x4ec0_7800;
pub(super) const ADD_16B: u32 = 0x4e20_8400;
pub(super) const SUB_16B: u32 = 0x6e20_8400;
pub(super) const UQADD_16B: u32 = 0x6e20_0c00;
pub(super) const UQSUB_16B: u32 = 0x6e20_2c00;
pub(super) const UMIN_16B: u32 = 0x6e20_6c00;
pub(super) const UMAX_16B: u32 = 0x6e20_6400;
/// `(n + m + 1) >> 1`.
pub(super) const URHADD_16B: u32 = 0x6e20_1400;
pub(super) const ADD_8H: u32 = 0x4e60_8400;
/// Products of the low four i16 lanes.
pub(super) const SMULL_4S: u32 = 0x0e60_c000;
/// Products of the high four.
pub(super) const SMULL2_4S: u32 = 0x4e60_c000;
pub(super) const ADDP_4S: u32 = 0x4ea0_bc00;
/// `d` plus four products of unsigned bytes of `n` and signed bytes of `m`.
pub(super) const USDOT: u32 = 0x4e80_9c00;
pub(super) const ZIP1_16B: u32 = 0x4e00_3800;
pub(super) const ZIP2_16B: u32 = 0x4e00_7800;
pub(super) const ZIP1_8H: u32 = 0x4e40_3800;
pub(super) const ZIP2_8H: u32 = 0x4e40_7800;
/// Bytes of `n` at the indices `m`.
pub(super) const TBL: u32 = 0x4e00_0000;

// Vector, two registers; for use with `rr`.
pub(super) const FNEG: u32 = 0x6ea0_f800;
pub(super) const FABS: u32 = 0x4ea0_f800;
pub(super) const FSQRT: u32 = 0x6ea1_f800;
pub(super) const FRECPE: u32 = 0x4ea1_d800;
pub(super) const FRINTN: u32 = 0x4e21_8800;
pub(super) const FRINTM: u32 = 0x4e21_9800;
pub(super) const FRINTP: u32 = 0x4ea1_8800;
pub(super) const FRINTZ: u32 = 0x4ea1_9800;
pub(super) const SCVTF: u32 = 0x4e21_d800;
pub(super) const FCVTZS: u32 = 0x4ea1_b800;
pub(super) const FCVTNS: u32 = 0x4e21_a800;
pub(super) const MVN: u32 = 0x6e20_5800;
pub(super) const FMAXV: u32 = 0x6e30_f800;
pub(super) const FMINV: u32 = 0x6eb0_f800;
/// f16 to f32, low half.
pub(super) const FCVTL: u32 = 0x0e21_7800;
/// f32 to f16, into the low half.
pub(super) const FCVTN: u32 = 0x0e21_6800;
pub(super) const SSHLL_8H: u32 = 0x0f08_a400;
pub(super) const SSHLL_4S: u32 = 0x0f10_a400;
pub(super) const USHLL_8H: u32 = 0x2f08_a400;
pub(super) const USHLL_4S: u32 = 0x2f10_a400;

/// Saturating narrowing, `xtn` into the low half and `xtn2` into the high half.
pub(super) const SQXTN_4H: u32 = 0x0e61_4800;
pub(super) const SQXTN2_8H: u32 = 0x4e61_4800;
pub(super) const SQXTN_8B: u32 = 0x0e21_4800;
pub(super) const SQXTUN_8B: u32 = 0x2e21_2800;
pub(super) const SQXTUN2_16B: u32 = 0x6e21_2800;

/// `fmla` (or `fmls`) `vd, vn, vm.s[lane]`.
pub(super) const fn fma_lane(subtract: bool, d: u32, n: u32, m: u32, lane: u32) -> u32 {
    let base = if subtract { 0x4f80_5000 } else { 0x4f80_1000 };
    rrr(base, d, n, m) | (lane & 1) << 21 | (lane >> 1) << 11
}

/// Shifts by 0 to 31 (right: 1 to 31).
pub(super) const fn shl_v(d: u32, n: u32, by: u32) -> u32 {
    rr(0x4f00_5400, d, n) | (32 + by) << 16
}
pub(super) const fn ushr_v(d: u32, n: u32, by: u32) -> u32 {
    rr(0x6f00_0400, d, n) | (64 - by) << 16
}
pub(super) const fn sshr_v(d: u32, n: u32, by: u32) -> u32 {
    rr(0x4f00_0400, d, n) | (64 - by) << 16
}

/// Shifts of 16-bit lanes by 0 to 15 (right: 1 to 15).
pub(super) const fn shl_8h(d: u32, n: u32, by: u32) -> u32 {
    rr(0x4f00_5400, d, n) | (16 + by) << 16
}
pub(super) const fn ushr_8h(d: u32, n: u32, by: u32) -> u32 {
    rr(0x6f00_0400, d, n) | (32 - by) << 16
}
pub(super) const fn sshr_8h(d: u32, n: u32, by: u32) -> u32 {
    rr(0x4f00_0400, d, n) | (32 - by) << 16
}

/// `movi vd.16b, #byte`.
pub(super) const fn movi_16b(d: u32, byte: u32) -> u32 {
    0x4f00_e400 | (byte >> 5) << 16 | (byte & 0x1f) << 5 | d
}

/// `ext vd.16b, vn.16b, vm.16b, #bytes`.
pub(super) const fn ext(d: u32, n: u32, m: u32, bytes: u32) -> u32 {
    rrr(0x6e00_0000, d, n, m) | bytes << 11
}

/// `dup vd.4s, vn.s[lane]`.
pub(super) const fn dup_lane(d: u32, n: u32, lane: u32) -> u32 {
    rr(0x4e00_0400, d, n) | (lane << 3 | 4) << 16
}

/// `dup vd.4s, wn`.
pub(super) const fn dup_gpr(d: u32, n: u32) -> u32 {
    rr(0x4e04_0c00, d, n)
}

/// `umov wd, vn.s[lane]`.
pub(super) const fn umov(d: u32, n: u32, lane: u32) -> u32 {
    rr(0x0e00_3c00, d, n) | (lane << 3 | 4) << 16
}

/// `ld1 {vt.s}[lane], [xn]`.
pub(super) const fn ld1_lane(t: u32, n: u32, lane: u32) -> u32 {
    rr(0x0d40_8000, t, n) | (lane >> 1) << 30 | (lane & 1) << 12
}

/// `st1 {vt.s}[lane], [xn]`.
pub(super) const fn st1_lane(t: u32, n: u32, lane: u32) -> u32 {
    rr(0x0d00_8000, t, n) | (lane >> 1) << 30 | (lane & 1) << 12
}

/// `ld1r {vt.4s}, [xn]`.
pub(super) const fn ld1r(t: u32, n: u32) -> u32 {
    rr(0x4d40_c800, t, n)
}

/// `ld1r {vt.16b}, [xn]`.
pub(super) const fn ld1r_16b(t: u32, n: u32) -> u32 {
    rr(0x4d40_c000, t, n)
}

/// The instruction that puts a 32-bit word into all lanes, if an immediate can say it.
pub(super) fn splat_imm(d: u32, bits: u32) -> Option<u32> {
    let imm8 = |base: u32, v: u32| base | (v >> 5) << 16 | (v & 0x1f) << 5 | d;
    for byte in 0..4 {
        let cmode = byte << 13;
        let mask = 0xff << (8 * byte);
        if bits & !mask == 0 {
            return Some(imm8(0x4f00_0400 | cmode, bits >> (8 * byte))); // movi
        }
        if !bits & !mask == 0 {
            return Some(imm8(0x6f00_0400 | cmode, !bits >> (8 * byte))); // mvni
        }
    }
    // fmov: sign, exponent of three bits, mantissa of four; the rest zero.
    let (sign, exponent, mantissa) = (bits >> 31, bits >> 25 & 0x3f, bits >> 19 & 0xf);
    if bits & 0x7_ffff == 0 && (exponent == 0b01_1111 || exponent == 0b10_0000) {
        let v = sign << 7 | (exponent & 1) << 6 | (bits >> 23 & 0b11) << 4 | mantissa;
        return Some(imm8(0x4f00_f400, v));
    }
    None
}

/// `cbz`/`cbnz wt, #(4 * words)`.
pub(super) const fn cbz_w(t: u32, words: u32) -> u32 {
    0x3400_0000 | words << 5 | t
}
