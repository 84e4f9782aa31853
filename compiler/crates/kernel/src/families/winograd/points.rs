//! The one-dimensional transforms of F(2, 3) and F(4, 3), after Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (2015): `y = A^T ((G g) * (B^T d))` gives `m` outputs of a filter of 3 from `m + 2` inputs with `m + 2` products. Both
//! dimensions of an image are transformed one after the other.
//!
//! F(4, 3) evaluates polynomials at 0, ±√½, ±√2 and infinity. The usual 0, ±1, ±2 has simpler constants but rounds worse: over 256
//! channels of rectified noise the largest error is 7.8e-6 of the largest output there, 2.1e-6 here, because √½ · √2 = 1 keeps
//! the powers of both points equally far from 1.

use mnnc_vector::{KernelBuilder, Vector};
use std::fmt;

use std::f64::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};

/// Rounding of plain sums and of products in single precision, in units of the largest result, for each root of the number of
/// input channels: measured on rectified noise (2.1e-6 with F(4, 3) over 256 channels).
const ROUNDING: f64 = 1.85e-8;

/// Outputs of one tile along one dimension.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Size {
    /// 2 outputs, 4 products; 2.25 times fewer products in two dimensions.
    F2,
    /// 4 outputs, 6 products; 4 times fewer in two dimensions, at about ten times the rounding error.
    F4,
}

impl Size {
    /// Outputs along one dimension.
    pub fn outputs(self) -> usize {
        match self {
            Size::F2 => 2,
            Size::F4 => 4,
        }
    }
    /// Inputs, and products, along one dimension.
    pub fn inputs(self) -> usize {
        self.outputs() + 2
    }
    /// Products of a tile.
    pub fn products(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// `B^T`: inputs to products.
    fn input_matrix(self) -> &'static [&'static [f64]] {
        match self {
            Size::F2 => {
                &[&[1.0, 0.0, -1.0, 0.0], &[0.0, 1.0, 1.0, 0.0], &[0.0, -1.0, 1.0, 0.0], &[0.0, 1.0, 0.0, -1.0]]
            }
            Size::F4 => &[
                &[1.0, 0.0, -2.5, 0.0, 1.0, 0.0],
                &[0.0, -2.0 * A, -2.0, A, 1.0, 0.0],
                &[0.0, 2.0 * A, -2.0, -A, 1.0, 0.0],
                &[0.0, -0.5 * B, -0.5, B, 1.0, 0.0],
                &[0.0, 0.5 * B, -0.5, -B, 1.0, 0.0],
                &[0.0, 1.0, 0.0, -2.5, 0.0, 1.0],
            ],
        }
    }

    /// `A^T`: products to outputs.
    fn output_matrix(self) -> &'static [&'static [f64]] {
        match self {
            Size::F2 => &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
            Size::F4 => &[
                &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                &[0.0, A, -A, B, -B, 0.0],
                &[0.0, 0.5, 0.5, 2.0, 2.0, 0.0],
                &[0.0, 0.5 * A, -0.5 * A, 2.0 * B, -2.0 * B, 1.0],
            ],
        }
    }

    /// How much larger the rounding error of an output is than by the definition, if inputs and filter are independent noise: products
    /// of size `|B_i| |G_i|` round in proportion to it, and `A` adds them up. 1.7 for F(2, 3), 7.1 for F(4, 3) in two dimensions.
    pub fn amplification(self) -> f64 {
        let square = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
        let products: Vec<f64> =
            self.input_matrix().iter().zip(self.filter_matrix()).map(|(b, g)| square(b) * square(g)).collect();
        let variance = |row: &&[f64]| row.iter().zip(&products).map(|(a, p)| a * a * p).sum::<f64>();
        let worst = self.output_matrix().iter().map(variance).fold(0.0, f64::max);
        // Both dimensions; the definition adds three products in each.
        worst / 3.0
    }

    /// Estimated error of a convolution of so many input channels, in units of its largest result.
    pub fn error(self, inputs: usize) -> f64 {
        ROUNDING * self.amplification() * (inputs as f64).sqrt()
    }

    /// `G`: filter to products.
    fn filter_matrix(self) -> &'static [[f64; 3]] {
        match self {
            Size::F2 => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            // [1, p, p^2] over the product of the differences to the other points.
            Size::F4 => &[
                [1.0, 0.0, 0.0],
                [-1.0 / 1.5, -A / 1.5, -0.5 / 1.5],
                [-1.0 / 1.5, A / 1.5, -0.5 / 1.5],
                [1.0 / 6.0, B / 6.0, 2.0 / 6.0],
                [1.0 / 6.0, -B / 6.0, 2.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }

    /// `G g G^T` of a 3x3 filter, row-major; in `f64`, rounded once.
    pub fn filter(self, g: &[f32; 9], out: &mut [f32]) {
        let m = self.filter_matrix();
        let n = self.inputs();
        for (i, row) in m.iter().enumerate() {
            let half: [f64; 3] = std::array::from_fn(|c| (0..3).map(|r| row[r] * f64::from(g[3 * r + c])).sum());
            for (j, col) in m.iter().enumerate() {
                out[i * n + j] = (0..3).map(|c| half[c] * col[c]).sum::<f64>() as f32;
            }
        }
    }

    /// `B^T d` along one dimension.
    pub fn input(self, b: &mut KernelBuilder, d: &[Vector]) -> Vec<Vector> {
        match self {
            Size::F2 => vec![b.sub(d[0], d[2]), b.add(d[1], d[2]), b.sub(d[2], d[1]), b.sub(d[1], d[3])],
            Size::F4 => {
                let (half, two, sum) = (b.splat(0.5f32), b.splat(2.0f32), b.splat(2.5f32));
                let first = b.add(d[0], d[4]);
                let first = b.fnma(first, d[2], sum);
                let (p, q) = (b.fnma(d[4], d[2], two), b.fnma(d[3], d[1], two));
                let (r, s) = (b.fnma(d[4], d[2], half), b.fnma(d[3], d[1], half));
                let last = b.add(d[1], d[5]);
                let last = b.fnma(last, d[3], sum);
                let (a, c) = (A as f32, B as f32);
                vec![first, b.fma(p, q, a), b.fnma(p, q, a), b.fma(r, s, c), b.fnma(r, s, c), last]
            }
        }
    }

    /// `A^T m` along one dimension.
    pub fn output(self, b: &mut KernelBuilder, m: &[Vector]) -> Vec<Vector> {
        match self {
            Size::F2 => {
                let sum = b.add(m[1], m[2]);
                let difference = b.sub(m[1], m[2]);
                vec![b.add(m[0], sum), b.sub(difference, m[3])]
            }
            Size::F4 => {
                let (p, q) = (b.add(m[1], m[2]), b.sub(m[1], m[2]));
                let (r, s) = (b.add(m[3], m[4]), b.sub(m[3], m[4]));
                let y0 = b.add(m[0], p);
                let y0 = b.add(y0, r);
                let (a, c) = (A as f32, B as f32);
                let y1 = b.mul(q, a);
                let y1 = b.fma(y1, s, c);
                let y2 = b.mul(p, 0.5f32);
                let y2 = b.fma(y2, r, 2.0f32);
                let y3 = b.fma(m[5], q, 0.5 * a);
                let y3 = b.fma(y3, s, 2.0 * c);
                vec![y0, y1, y2, y3]
            }
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.outputs();
        write!(f, "F({m}x{m})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A^T ((G g) * (B^T d))` is the correlation of `d` and `g`.
    #[test]
    fn the_matrices_belong_together() {
        for size in [Size::F2, Size::F4] {
            let d: Vec<f64> = (0..size.inputs()).map(|i| (i * i) as f64 - 3.0).collect();
            let g = [0.5, -2.0, 3.0];
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let inputs = size.input_matrix().iter().map(|row| dot(row, &d));
            let products: Vec<f64> = inputs.zip(size.filter_matrix()).map(|(x, row)| x * dot(row, &g)).collect();
            for (i, row) in size.output_matrix().iter().enumerate() {
                let (got, want) = (dot(row, &products), dot(&d[i..i + 3], &g));
                assert!((got - want).abs() < 1e-12, "{size} output {i}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn larger_tiles_round_worse() {
        let [small, large] = [Size::F2, Size::F4].map(Size::amplification);
        assert!((1.5..2.0).contains(&small) && (6.0..8.0).contains(&large), "{small} {large}");
        assert!(Size::F4.error(256) < 2.5e-6 && Size::F4.error(1 << 14) > 1e-5);
    }
}
