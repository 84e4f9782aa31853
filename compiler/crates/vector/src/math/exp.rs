//! Exponential and logistic function.

use crate::builder::KernelBuilder;
use crate::ir::{Op, VecOp, Vector};
use crate::target::Isa;

/// `1.5 * 2^23`: adding it rounds to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// High part of ln 2, with so many zeros at the end that products with exponents are exact; and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// `e^r = 1 + r + r² P(r)` for `|r| <= ln 2 / 2`: Cephes Math Library 2.2, `expf` (S. L. Moshier, 1992), continued down
/// to the constant term.
const COEFFICIENTS: [f32; 8] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1, 1.0, 1.0];

impl KernelBuilder {
    /// `e^x`, within 1 ulp. Overflow gives infinity from 88.7228 on; results below 2^-126 are rounded to denormals, not
    /// flushed; `e^-∞ = 0`, `e^∞ = ∞`, NaN stays NaN.
    pub fn exp(&mut self, x: Vector) -> Vector {
        // Outside, the result is infinity or zero anyway, and the reduction stays finite. NaN is the second operand.
        let lowest = self.splat(-104.0);
        let x = self.max(lowest, x);
        let highest = self.splat(89.0);
        let x = self.min(highest, x);

        let log2_e = self.splat(std::f32::consts::LOG2_E);
        let shifted = self.mul_add(log2_e, x, ROUNDER);
        let n = self.sub(shifted, ROUNDER);
        let r = self.fnma(x, n, LN2_HIGH);
        let r = self.fnma(r, n, LN2_LOW);
        let p = self.polynomial(r, &COEFFICIENTS);
        self.scale_by_power(p, n, shifted)
    }

    /// `p * 2^n`, where `shifted` is `n + ROUNDER` and `-150 <= n <= 129`.
    fn scale_by_power(&mut self, p: Vector, n: Vector, shifted: Vector) -> Vector {
        if self.target().isa == Isa::X64Avx512 {
            return self.scale(p, n);
        }
        // 2^n itself may not be a float: multiply by 2^(n/2) and 2^(n - n/2). Only the last product can round.
        let n = self.sub_i32(shifted, ROUNDER.to_bits());
        let half = self.shr_i32(n, 1);
        let rest = self.sub_i32(n, half);
        let half = self.power_of_two(half);
        let rest = self.power_of_two(rest);
        let p = self.mul(p, half);
        self.mul(p, rest)
    }

    /// `2^n` for i32 lanes from -126 to 127.
    fn power_of_two(&mut self, n: Vector) -> Vector {
        let exponent = self.shl_i32(n, 23);
        self.add_i32(exponent, 1f32.to_bits())
    }

    /// `a * 2^floor(b)` in one instruction, AVX-512 only.
    fn scale(&mut self, a: Vector, b: Vector) -> Vector {
        Vector(self.emit_src(Op::Vec(VecOp::FScale), &[a.0], b.into()))
    }

    /// Logistic function `1 / (1 + e^-x)`, within 2 ulp, denormals included (2.1 where both round badly); 0 at -∞, 1 at ∞, NaN stays NaN.
    pub fn sigmoid(&mut self, x: Vector) -> Vector {
        // As e^-|x| / (1 + e^-|x|) or 1 / (1 + e^-|x|): nothing overflows.
        let minus = self.or(x, 0x8000_0000_u32);
        let e = self.exp(minus);
        let one = self.splat(1.0);
        let denominator = self.add(one, e);
        let negative = self.lt(x, 0.0);
        let numerator = self.select(negative, e, one);
        self.div(numerator, denominator)
    }
}
