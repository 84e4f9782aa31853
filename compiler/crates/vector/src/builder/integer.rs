//! Integer and address arithmetic.

use super::KernelBuilder;
use crate::ir::{Cond, Gpr, Hint, IntImmOp, IntOp, IntType, Mem, MemArg, Op, Rhs};
use std::sync::Arc;

impl KernelBuilder {
    /// A 64-bit constant.
    pub fn int(&mut self, value: i64) -> Gpr {
        Gpr(self.emit(Op::IntConst(value), &[], None))
    }

    fn int_op(&mut self, op: IntOp, a: Gpr, b: Gpr) -> Gpr {
        Gpr(self.emit(Op::Int(op), &[a.0, b.0], None))
    }

    fn int_imm(&mut self, op: IntImmOp, a: Gpr, imm: i64) -> Gpr {
        Gpr(self.emit(Op::IntImm(op, imm), &[a.0], None))
    }

    /// `a + b`, wrapping; `b` is a register or a constant of 32 bits.
    pub fn int_add(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        match b.into_rhs() {
            Rhs::Imm(0) => a,
            Rhs::Imm(imm) => self.int_imm(IntImmOp::Add, a, imm.into()),
            Rhs::Reg(b) => self.int_op(IntOp::Add, a, b),
        }
    }

    /// `a - b`, wrapping.
    pub fn int_sub(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        match b.into_rhs() {
            Rhs::Imm(0) => a,
            Rhs::Imm(imm) if imm != i32::MIN => self.int_imm(IntImmOp::Add, a, -i64::from(imm)),
            Rhs::Imm(imm) => {
                let b = self.int(imm.into());
                self.int_op(IntOp::Sub, a, b)
            }
            Rhs::Reg(b) => self.int_op(IntOp::Sub, a, b),
        }
    }

    /// `a * b`, wrapping. Powers of two become shifts.
    pub fn int_mul(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        match b.into_rhs() {
            Rhs::Imm(1) => a,
            Rhs::Imm(imm) if imm > 0 && imm.count_ones() == 1 => {
                self.int_imm(IntImmOp::Shl, a, imm.trailing_zeros().into())
            }
            Rhs::Imm(imm) => self.int_imm(IntImmOp::Mul, a, imm.into()),
            Rhs::Reg(b) => self.int_op(IntOp::Mul, a, b),
        }
    }

    /// `a & mask`.
    pub fn int_and(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        match b.into_rhs() {
            Rhs::Imm(imm) => self.int_imm(IntImmOp::And, a, imm.into()),
            Rhs::Reg(b) => self.int_op(IntOp::And, a, b),
        }
    }

    /// `a | b`.
    pub fn int_or(&mut self, a: Gpr, b: Gpr) -> Gpr {
        self.int_op(IntOp::Or, a, b)
    }

    /// `a ^ b`.
    pub fn int_xor(&mut self, a: Gpr, b: Gpr) -> Gpr {
        self.int_op(IntOp::Xor, a, b)
    }

    /// `a << n`, `n` from 0 to 63.
    pub fn int_shl(&mut self, a: Gpr, n: u8) -> Gpr {
        self.int_imm(IntImmOp::Shl, a, n.into())
    }

    /// `a >> n`, filling with zeros.
    pub fn int_shr(&mut self, a: Gpr, n: u8) -> Gpr {
        self.int_imm(IntImmOp::Shr, a, n.into())
    }

    /// `a >> n`, filling with the sign.
    pub fn int_sar(&mut self, a: Gpr, n: u8) -> Gpr {
        self.int_imm(IntImmOp::Sar, a, n.into())
    }

    /// Signed minimum.
    pub fn int_min(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        let b = self.rhs_in_register(b);
        self.int_op(IntOp::Min, a, b)
    }

    /// Signed maximum.
    pub fn int_max(&mut self, a: Gpr, b: impl super::IntoRhs) -> Gpr {
        let b = self.rhs_in_register(b);
        self.int_op(IntOp::Max, a, b)
    }

    /// `if a cond b { x } else { y }` without a branch.
    pub fn int_select(&mut self, cond: Cond, a: Gpr, b: impl super::IntoRhs, x: Gpr, y: Gpr) -> Gpr {
        let b = self.rhs_in_register(b);
        Gpr(self.emit(Op::IntSelect(cond), &[a.0, b.0, x.0, y.0], None))
    }

    /// `a / d` rounded down, for `0 <= a < 2^31` and a constant `d > 0`.
    ///
    /// Multiplication by `ceil(2^(31+s) / d)` with `2^s >= d > 2^(s-1)` is exact for such `a` (Granlund and Montgomery,
    /// "Division by Invariant Integers using Multiplication", 1994); the product stays below 2^63.
    ///
    /// # Panics
    /// If `d` is 0 or above 2^31.
    pub fn int_div(&mut self, a: Gpr, d: u32) -> Gpr {
        assert!(d > 0 && d <= 1 << 31, "division by {d}");
        if d == 1 {
            return a;
        }
        if d.is_power_of_two() {
            return self.int_shr(a, d.trailing_zeros() as u8);
        }
        let shift = 31 + d.ilog2() + 1;
        let multiplier = (1u64 << shift).div_ceil(d.into());
        let m = self.int(multiplier.cast_signed());
        let product = self.int_op(IntOp::Mul, a, m);
        self.int_shr(product, shift as u8)
    }

    /// `a mod d`, for `0 <= a < 2^31` and a constant `d > 0`.
    pub fn int_rem(&mut self, a: Gpr, d: u32) -> Gpr {
        if d.is_power_of_two() {
            return self.int_and(a, (d - 1).cast_signed());
        }
        let quotient = self.int_div(a, d);
        let multiple = self.int_mul(quotient, d.cast_signed());
        self.int_sub(a, multiple)
    }

    /// The address itself.
    pub fn lea(&mut self, mem: Mem) -> Gpr {
        match mem {
            Mem { base, index: None, disp: 0 } => base,
            Mem { base, index: None, disp } => self.int_imm(IntImmOp::Add, base, disp.into()),
            _ => Gpr(self.emit(Op::Lea, &[], Some(MemArg::At(mem)))),
        }
    }

    /// Address of constant 32-bit words that are stored beside the code (4-byte aligned).
    pub fn table_addr(&mut self, words: &[u32]) -> Gpr {
        Gpr(self.emit(Op::TableAddr(Arc::from(words)), &[], None))
    }

    /// Loads an integer and extends it to 64 bits.
    pub fn int_load(&mut self, ty: IntType, mem: Mem) -> Gpr {
        Gpr(self.emit(Op::IntLoad(ty), &[], Some(MemArg::At(mem))))
    }

    /// Stores the low bits of an integer.
    pub fn int_store(&mut self, ty: IntType, value: Gpr, mem: Mem) {
        self.emit_at(self.width, Op::IntStore(ty), &[value.0], Some(MemArg::At(mem)));
    }

    /// Prefetches the cache line for reading. Any address is harmless.
    pub fn prefetch(&mut self, hint: Hint, mem: Mem) {
        self.emit_at(self.width, Op::Prefetch(hint), &[], Some(MemArg::At(mem)));
    }

    pub(super) fn rhs_in_register(&mut self, rhs: impl super::IntoRhs) -> Gpr {
        match rhs.into_rhs() {
            Rhs::Reg(r) => r,
            Rhs::Imm(imm) => self.int(imm.into()),
        }
    }
}
