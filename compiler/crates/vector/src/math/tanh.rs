//! Hyperbolic tangent.

use crate::builder::KernelBuilder;
use crate::ir::Vector;

/// `tanh x = x + x³ P(x²)` for `|x| < 0.625`: Cephes Math Library 2.2, `tanhf` (S. L. Moshier, 1992).
const COEFFICIENTS: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

impl KernelBuilder {
    /// `tanh x`, within 2 ulp; ±1 at ±∞, `tanh -0 = -0`, NaN stays NaN.
    pub fn tanh(&mut self, x: Vector) -> Vector {
        // Both parts of |x|; the sign comes last, so that -0 keeps it.
        let magnitude = self.abs(x);
        let x2 = self.mul(magnitude, magnitude);
        let p = self.polynomial(x2, &COEFFICIENTS);
        let x3 = self.mul(x2, magnitude);
        let near = self.fma(magnitude, p, x3);

        // 1 - 2 / (e^(2|x|) + 1), which rounds to 1 from 9.1 on.
        let double = self.add(magnitude, magnitude);
        let highest = self.splat(20.0);
        let double = self.min(highest, double);
        let e = self.exp_in_range(double);
        let e = self.add(e, 1.0);
        let inverse = self.reciprocal(e);
        let one = self.splat(1.0);
        let far = self.fnma(one, inverse, 2.0);

        let is_near = self.lt(magnitude, 0.625);
        let result = self.select(is_near, near, far);
        self.copy_sign(result, x)
    }
}
