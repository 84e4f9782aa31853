//! Error function.

use crate::builder::KernelBuilder;
use crate::ir::Vector;

/// Both approximations: N. Juffa, "A fast and accurate single-precision erff()" (published 2016, revised 2020), below
/// 1 ulp each with a correctly rounded exponential. `erf x = x + x P(x²)` near zero.
const NEAR: [f32; 6] =
    [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1];
/// `erf x = 1 - e^(x Q(x) - x)` elsewhere.
const FAR: [f32; 7] =
    [-1.728_534_7e-5, 3.831_971_3e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1];
/// 475/512.
const BOUNDARY: f32 = 0.927_734_4;
/// From here on the result rounds to 1; it keeps the polynomial finite.
const SATURATED: f32 = 4.0;

/// `1 - erf x = e^(x R(x))` for `0 <= x <= 4.2` within 2.2e-7, by weighted least squares; from there to 10 it falls below 1e-8.
const COMPLEMENT: [f32; 8] = [
    -6.298_707e-6,
    7.927_124e-5,
    -2.109_765e-4,
    -1.998_922e-3,
    2.094_678e-2,
    -1.035_637_6e-1,
    -6.364_614_4e-1,
    -1.128_389_5,
];

impl KernelBuilder {
    /// `1 + erf x`, within 4e-7; what becomes of the error function in GELU, in two thirds of the operations. NaN stays NaN.
    pub fn one_plus_erf(&mut self, x: Vector) -> Vector {
        let magnitude = self.abs(x);
        let highest = self.splat(10.0);
        let t = self.min(highest, magnitude);
        let r = self.polynomial(t, &COMPLEMENT);
        let exponent = self.mul(r, t);
        let complement = self.exp_nonpositive(exponent);
        let two = self.splat(2.0);
        let above = self.sub(two, complement);
        let negative = self.lt(x, 0.0);
        self.select(negative, complement, above)
    }

    /// Error function, within 2 ulp; ±1 at ±∞, `erf -0 = -0`, NaN stays NaN.
    pub fn erf(&mut self, x: Vector) -> Vector {
        let x2 = self.mul(x, x);
        let p = self.polynomial(x2, &NEAR);
        let near = self.fma(x, p, x);

        let magnitude = self.abs(x);
        let saturated = self.splat(SATURATED);
        let t = self.min(saturated, magnitude);
        let q = self.polynomial(t, &FAR);
        let minus_t = self.neg(t);
        let exponent = self.fma(minus_t, q, t);
        let e = self.exp_in_range(exponent);
        let one = self.splat(1.0);
        let far = self.sub(one, e);
        let far = self.copy_sign(far, x);

        let is_far = self.gt(magnitude, BOUNDARY);
        // NaN is in neither part: the near one passes it on.
        self.select(is_far, far, near)
    }
}
