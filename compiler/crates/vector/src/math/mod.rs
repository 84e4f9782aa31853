//! Elementary functions of f32 vectors, written in the primitive operations and emitted inline.
//!
//! They are the same on all targets. Errors are in units in the last place (ulp) of the result, measured by
//! `tests/math.rs` over dense samples of all floats. Constants are operands from the constant pool, so a function
//! keeps only a handful of registers.

mod erf;
mod exp;
mod log;
mod tanh;

use crate::builder::KernelBuilder;
use crate::ir::Vector;
use crate::target::Isa;

impl KernelBuilder {
    /// A polynomial by Horner's scheme: `c[0] x^n + … + c[n]`.
    fn polynomial(&mut self, x: Vector, coefficients: &[f32]) -> Vector {
        let mut p = self.splat(coefficients[0]);
        for c in &coefficients[1..] {
            p = self.mul_add(p, x, *c);
        }
        p
    }

    /// `1 / x` within 2 ulp, for `x` between 2^-100 and 2^100 in magnitude: Newton's iteration, several times faster than a
    /// division. NaN stays NaN.
    pub fn reciprocal(&mut self, x: Vector) -> Vector {
        let mut y = self.reciprocal_estimate(x);
        // The estimate has 14 bits (AVX-512), 11 (AVX2) or 8.
        let rounds = if self.target().isa == Isa::A64Neon { 2 } else { 1 };
        for _ in 0..rounds {
            let one = self.splat(1.0);
            let error = self.fnma(one, x, y);
            y = self.fma(y, y, error);
        }
        y
    }

    /// `magnitude`'s absolute value with the sign of `sign`.
    pub fn copy_sign(&mut self, magnitude: Vector, sign: Vector) -> Vector {
        let magnitude = self.and(magnitude, 0x7fff_ffff_u32);
        let sign = self.and(sign, 0x8000_0000_u32);
        self.or(magnitude, sign)
    }
}
