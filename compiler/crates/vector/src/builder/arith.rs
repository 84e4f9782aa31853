//! Lane-wise arithmetic, comparisons, masks.

use super::{KernelBuilder, Src};
use crate::ir::{Cmp, CmpType, FmaOp, Mask, MaskOp, Op, ShiftOp, UnaryOp, VecOp, Vector};

macro_rules! vec_ops {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {
        impl KernelBuilder {
            $($(#[$doc])*
            pub fn $name(&mut self, a: Vector, b: impl Into<Src>) -> Vector {
                Vector(self.emit_src(Op::Vec(VecOp::$op), &[a.0], b.into()))
            })*
        }
    };
}

vec_ops! {
    /// f32 `a + b`.
    add = FAdd;
    /// f32 `a - b`.
    sub = FSub;
    /// f32 `a * b`.
    mul = FMul;
    /// f32 `a / b`.
    div = FDiv;
    /// f32 minimum. If `b` is NaN the result is NaN everywhere; if only `a` is, x64 gives `b` and NEON gives NaN.
    /// So pass the operand that may be NaN as `b`.
    min = FMin;
    /// f32 maximum; NaN as for [`KernelBuilder::min`].
    max = FMax;
    /// i32 `a + b`.
    add_i32 = IAdd;
    /// i32 `a - b`.
    sub_i32 = ISub;
    /// i32 `a * b`.
    mul_i32 = IMul;
    /// i32 minimum, signed.
    min_i32 = IMin;
    /// i32 maximum, signed.
    max_i32 = IMax;
    /// Bits of `a & b`.
    and = And;
    /// Bits of `a | b`.
    or = Or;
    /// Bits of `a ^ b`.
    xor = Xor;
    /// Bits of `!a & b`.
    andnot = AndNot;
    /// 8-bit `a + b`, wrapping.
    add_i8 = AddI8;
    /// u8 `a + b`, saturating.
    add_sat_u8 = AddSatU8;
    /// u8 `a - b`, saturating at 0.
    sub_sat_u8 = SubSatU8;
    /// u8 minimum.
    min_u8 = MinU8;
    /// u8 maximum.
    max_u8 = MaxU8;
    /// u8 `(a + b + 1) / 2`.
    avg_u8 = AvgU8;
    /// 16-bit `a + b`, wrapping.
    add_i16 = AddI16;
    /// i32 sums of two products of i16: `a.hi * b.hi + a.lo * b.lo`.
    dot_i16 = DotI16;
}

macro_rules! unary_ops {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {
        impl KernelBuilder {
            $($(#[$doc])*
            pub fn $name(&mut self, a: Vector) -> Vector {
                Vector(self.emit_like(a.0, Op::Unary(UnaryOp::$op), &[a.0], None))
            })*
        }
    };
}

unary_ops! {
    /// f32 `-a` (NaN and zero too: the sign bit flips).
    neg = FNeg;
    /// f32 `|a|`.
    abs = FAbs;
    /// f32 square root, correctly rounded.
    sqrt = FSqrt;
    /// Estimate of `1 / a`, right to at least 8 bits; see [`KernelBuilder::reciprocal`].
    reciprocal_estimate = FRecip;
    /// Nearest integer as f32, ties to even.
    round = RoundNearest;
    /// Largest integer not above, as f32.
    floor = Floor;
    /// Smallest integer not below, as f32.
    ceil = Ceil;
    /// Integer towards zero, as f32.
    trunc = Trunc;
    /// i32 to f32, nearest even.
    i32_to_f32 = I32ToF32;
    /// f32 to i32 towards zero; see [`UnaryOp::F32ToI32Trunc`] for what is out of range.
    f32_to_i32_trunc = F32ToI32Trunc;
    /// f32 to i32, nearest even.
    f32_to_i32_nearest = F32ToI32Nearest;
    /// Bits of `!a`.
    not = Not;
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident = $cmp:ident;)*) => {
        impl KernelBuilder {
            $($(#[$doc])*
            pub fn $name(&mut self, a: Vector, b: impl Into<Src>) -> Mask {
                self.compare(CmpType::F32, Cmp::$cmp, a, b)
            })*
        }
    };
}

comparisons! {
    /// f32 `a == b`; false for NaN.
    eq = Eq;
    /// f32 `a != b`; true for NaN.
    ne = Ne;
    /// f32 `a < b`; false for NaN.
    lt = Lt;
    /// f32 `a <= b`; false for NaN.
    le = Le;
    /// f32 `a > b`; false for NaN.
    gt = Gt;
    /// f32 `a >= b`; false for NaN.
    ge = Ge;
}

impl KernelBuilder {
    /// `acc + a * b`, rounded once. The result takes the register of `acc`, which is copied first if it is used later.
    pub fn fma(&mut self, acc: Vector, a: Vector, b: impl Into<Src>) -> Vector {
        Vector(self.emit_src(Op::Fma(FmaOp::Add), &[acc.0, a.0], b.into()))
    }

    /// `acc - a * b`, rounded once.
    pub fn fnma(&mut self, acc: Vector, a: Vector, b: impl Into<Src>) -> Vector {
        Vector(self.emit_src(Op::Fma(FmaOp::Sub), &[acc.0, a.0], b.into()))
    }

    /// `acc + a * b[lane]` with a lane below 4; see [`crate::Target::has_fma_lane`].
    pub fn fma_lane(&mut self, acc: Vector, a: Vector, b: Vector, lane: usize) -> Vector {
        assert!(lane < 4, "lane {lane} of a lane-wise multiply-add");
        Vector(self.emit_like(acc.0, Op::FmaLane(FmaOp::Add, lane as u8), &[acc.0, a.0, b.0], None))
    }

    /// `acc` plus the products of the bf16 halves of each lane; see [`Op::DotBf16`].
    pub fn dot_bf16(&mut self, acc: Vector, a: Vector, b: impl Into<Src>) -> Vector {
        Vector(self.emit_src(Op::DotBf16, &[acc.0, a.0], b.into()))
    }

    /// Both vectors as bf16 in one, `low` first.
    pub fn pack_bf16(&mut self, low: Vector, high: Vector) -> Vector {
        Vector(self.emit_like(low.0, Op::PackBf16, &[low.0, high.0], None))
    }

    /// `a * b + c`, rounded once: a step of Horner's scheme, where `a` is not used again and `c` may be a constant.
    pub fn mul_add(&mut self, a: Vector, b: Vector, c: impl Into<Src>) -> Vector {
        Vector(self.emit_src(Op::MulAdd, &[a.0, b.0], c.into()))
    }

    /// 32-bit lanes shifted left by `n` below 32.
    pub fn shl_i32(&mut self, a: Vector, n: u8) -> Vector {
        self.shift(ShiftOp::Shl, a, n)
    }

    /// 32-bit lanes shifted right by `n` below 32, filling with zeros.
    pub fn shr_u32(&mut self, a: Vector, n: u8) -> Vector {
        self.shift(ShiftOp::Shr, a, n)
    }

    /// 32-bit lanes shifted right by `n` below 32, filling with the sign.
    pub fn shr_i32(&mut self, a: Vector, n: u8) -> Vector {
        self.shift(ShiftOp::Sar, a, n)
    }

    /// Lanes of 32 or 16 bits shifted by a constant.
    ///
    /// # Panics
    /// If a lane has not more than `n` bits.
    pub fn shift(&mut self, op: ShiftOp, a: Vector, n: u8) -> Vector {
        assert!(n < op.bits(), "shift of {}-bit lanes by {n}", op.bits());
        if n == 0 { a } else { Vector(self.emit_like(a.0, Op::Shift(op, n), &[a.0], None)) }
    }

    /// Comparison of f32 or i32 lanes.
    pub fn compare(&mut self, ty: CmpType, cmp: Cmp, a: Vector, b: impl Into<Src>) -> Mask {
        Mask(self.emit_src(Op::Compare(ty, cmp), &[a.0], b.into()))
    }

    /// Comparison of signed i32 lanes.
    pub fn cmp_i32(&mut self, cmp: Cmp, a: Vector, b: impl Into<Src>) -> Mask {
        self.compare(CmpType::I32, cmp, a, b)
    }

    /// `mask ? a : b`, lane by lane.
    pub fn select(&mut self, mask: Mask, a: Vector, b: Vector) -> Vector {
        Vector(self.emit_like(a.0, Op::Select, &[mask.0, a.0, b.0], None))
    }

    /// Both masks.
    pub fn mask_and(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.emit_like(a.0, Op::Mask(MaskOp::And), &[a.0, b.0], None))
    }

    /// Either mask.
    pub fn mask_or(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.emit_like(a.0, Op::Mask(MaskOp::Or), &[a.0, b.0], None))
    }

    /// Exactly one of the masks.
    pub fn mask_xor(&mut self, a: Mask, b: Mask) -> Mask {
        Mask(self.emit_like(a.0, Op::Mask(MaskOp::Xor), &[a.0, b.0], None))
    }

    /// The other lanes.
    pub fn mask_not(&mut self, a: Mask) -> Mask {
        Mask(self.emit_like(a.0, Op::MaskNot, &[a.0], None))
    }

    /// `min(hi, max(lo, x))` in two instructions; NaN stays NaN on every target.
    pub fn clamp(&mut self, x: Vector, lo: Vector, hi: Vector) -> Vector {
        let at_least = self.max(lo, x);
        self.min(hi, at_least)
    }

    /// `max(0, x)`; NaN stays NaN on every target. `zero` is a register of zeros, made once by the caller.
    pub fn relu(&mut self, x: Vector, zero: Vector) -> Vector {
        self.max(zero, x)
    }
}
