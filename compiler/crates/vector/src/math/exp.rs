//! Exponential and logistic function.

use crate::builder::KernelBuilder;
use crate::ir::{Op, VecOp, Vector};
use crate::target::Isa;

/// `1.5 * 2^23`: adding it rounds to an integer, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// High part of ln 2, with so many zeros at the end that products with exponents are exact; and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// `e^r` within 2e-9, by Remez's exchange for the relative error over `|r| <= ln 2 / 2`.
const COEFFICIENTS: [f32; 7] = [1.383_681_4e-3, 8.374_841e-3, 4.166_823e-2, 1.666_642e-1, 4.999_999e-1, 1.0, 1.0];
/// The same within 8e-8.
const SHORT: [f32; 6] = [8.297_633e-3, 4.191_553e-2, 1.666_757_6e-1, 4.999_889_4e-1, 9.999_997e-1, 1.000_000_1];

/// Where [`KernelBuilder::exp_nonpositive`] ends: the power is just a normal number.
const LOWEST: f32 = -87.3;

/// What its steps give there, on every target: products and sums are rounded alike.
fn at_lowest() -> f32 {
    let n = LOWEST.mul_add(std::f32::consts::LOG2_E, ROUNDER) - ROUNDER;
    let r = (-n).mul_add(std::f32::consts::LN_2, LOWEST);
    let p = SHORT[1..].iter().fold(SHORT[0], |p, c| p.mul_add(r, *c));
    p * 2f32.powi(n as i32)
}

impl KernelBuilder {
    /// `e^x`, within 1 ulp. Overflow gives infinity from 88.7228 on; results below 2^-126 are rounded to denormals, not
    /// flushed; `e^-∞ = 0`, `e^∞ = ∞`, NaN stays NaN.
    pub fn exp(&mut self, x: Vector) -> Vector {
        // Outside, the result is infinity or zero anyway, and the reduction stays finite. NaN is the second operand.
        let lowest = self.splat(-104.0);
        let x = self.max(lowest, x);
        let highest = self.splat(89.0);
        let x = self.min(highest, x);

        self.exp_in_range(x)
    }

    /// `e^x` for x between -104 and 89, or NaN.
    pub(super) fn exp_in_range(&mut self, x: Vector) -> Vector {
        let log2_e = self.splat(std::f32::consts::LOG2_E);
        let shifted = self.mul_add(log2_e, x, ROUNDER);
        let n = self.sub(shifted, ROUNDER);
        let r = self.fnma(x, n, LN2_HIGH);
        let r = self.fnma(r, n, LN2_LOW);
        let p = self.polynomial(r, &COEFFICIENTS);
        self.scale_by_power(p, n, shifted)
    }

    /// `e^x` for `x <= 0`, in fewer operations than [`KernelBuilder::exp`]: within 4e-7 relative from -69 on, within 2e-38 below,
    /// and 0 from -87.3 on. `e^-∞ = 0`, NaN stays NaN. No denormal is met, which would cost a hundred times as much: masks
    /// of -100 are common.
    pub fn exp_nonpositive(&mut self, x: Vector) -> Vector {
        let lowest = self.splat(LOWEST);
        let x = self.max(lowest, x);
        let log2_e = self.splat(std::f32::consts::LOG2_E);
        let shifted = self.mul_add(log2_e, x, ROUNDER);
        let n = self.sub(shifted, ROUNDER);
        // The part of ln 2 that is left out is 1e-9 of the exponent.
        let r = self.fnma(x, n, std::f32::consts::LN_2);
        let p = self.polynomial(r, &SHORT);
        let y = self.scale_by_normal_power(p, n, shifted);
        self.sub(y, at_lowest())
    }

    /// `p * 2^n` for `-126 <= n <= 127`.
    fn scale_by_normal_power(&mut self, p: Vector, n: Vector, shifted: Vector) -> Vector {
        if self.target().isa == Isa::X64Avx512 {
            return self.scale(p, n);
        }
        let n = self.sub_i32(shifted, ROUNDER.to_bits());
        let power = self.power_of_two(n);
        self.mul(p, power)
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

    /// Logistic function `1 / (1 + e^-x)`, within 5e-7 relative from -69 on, and `e^-69 = 1e-30` below; NaN stays NaN.
    pub fn logistic(&mut self, x: Vector) -> Vector {
        // The divisor stays where its reciprocal is a normal number; beyond 87, the exponential is lost beside 1 anyway.
        let highest = self.splat(87.0);
        let x = self.min(highest, x);
        let lowest = self.splat(-69.0);
        let x = self.max(lowest, x);
        let minus_log2_e = self.splat(-std::f32::consts::LOG2_E);
        let shifted = self.mul_add(minus_log2_e, x, ROUNDER);
        let n = self.sub(shifted, ROUNDER);
        // -r, so that x need not be negated.
        let r = self.fma(x, n, std::f32::consts::LN_2);
        let alternating: [f32; 6] = std::array::from_fn(|i| if i % 2 == 0 { -SHORT[i] } else { SHORT[i] });
        let p = self.polynomial(r, &alternating);
        let e = self.scale_by_normal_power(p, n, shifted);
        let divisor = self.add(e, 1.0);
        self.reciprocal(divisor)
    }
}
