//! Natural logarithm.

use crate::builder::KernelBuilder;
use crate::ir::Vector;

/// `ln(1 + f) = f - f²/2 + f³ P(f)` for `√½ - 1 <= f < √2 - 1`: Cephes Math Library 2.2, `logf` (S. L. Moshier, 1992).
const COEFFICIENTS: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_87e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_7e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
/// ln 2 in two parts, the first exact in products with exponents.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Bits of √½: the mantissa is brought between √½ and √2.
const SQRT_HALF: u32 = 0x3f35_04f3;

impl KernelBuilder {
    /// `ln x`, within 2 ulp, for denormals too. `ln 0 = -∞` (of both signs), `ln ∞ = ∞`, NaN for `x < 0` and NaN.
    pub fn log(&mut self, x: Vector) -> Vector {
        // Denormals are brought into range and their exponent corrected.
        let tiny = self.lt(x, f32::MIN_POSITIVE);
        let lifted = self.mul(x, (1u32 << 23) as f32);
        let bits = self.select(tiny, lifted, x);
        let lift = self.splat(-23.0);
        let none = self.zero();
        let correction = self.select(tiny, lift, none);

        let above = self.sub_i32(bits, SQRT_HALF);
        let exponent = self.shr_i32(above, 23);
        let in_place = self.shl_i32(exponent, 23);
        let mantissa = self.sub_i32(bits, in_place);
        let exponent = self.i32_to_f32(exponent);
        let e = self.add(exponent, correction);

        let f = self.sub(mantissa, 1.0);
        let f2 = self.mul(f, f);
        let p = self.polynomial(f, &COEFFICIENTS);
        let f3 = self.mul(f2, f);
        let y = self.mul(p, f3);
        let y = self.fma(y, e, LN2_LOW);
        let y = self.fnma(y, f2, 0.5);
        let y = self.add(f, y);
        let y = self.fma(y, e, LN2_HIGH);

        let finite = self.lt(x, f32::INFINITY);
        let y = self.select(finite, y, x);
        let zero = self.eq(x, 0.0);
        let infinite = self.splat(f32::NEG_INFINITY);
        let y = self.select(zero, infinite, y);
        let negative = self.lt(x, 0.0);
        let undefined = self.splat(f32::NAN);
        self.select(negative, undefined, y)
    }
}
