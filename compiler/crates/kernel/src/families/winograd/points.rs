//! The one-dimensional transforms of F(m, r), after Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (2015): `y = A^T ((G g) * (B^T d))` gives `m` outputs of a filter of `r` taps from `m + r - 1` inputs with as many products. Both
//! dimensions of an image are transformed one after the other. `B` depends on the number of products alone: 4 are F(2, 3) and F(3, 2), 6 are
//! F(4, 3), F(2, 5), F(3, 4) and F(5, 2); a dimension in which the filter has one tap is left as it is.
//!
//! With 6 products polynomials are evaluated at 0, ±√½, ±√2 and infinity. The usual 0, ±1, ±2 has simpler constants but rounds worse: over 256
//! channels of rectified noise the largest error of F(4, 3) is 7.8e-6 of the largest output there, 2.1e-6 here, because √½ · √2 = 1 keeps
//! the powers of both points equally far from 1.

use mnnc_vector::{KernelBuilder, Vector};
use rayon::prelude::*;
use std::fmt;

use std::f64::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};

/// Rounding of plain sums and of products in single precision, in units of the largest result, for each root of the number of
/// input channels: measured on rectified noise (2.1e-6 with F(4, 3) over 256 channels).
const ROUNDING: f64 = 1.85e-8;

/// The transform along one dimension.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    /// Inputs, and products: 6, 4, or 1 for a filter of one tap.
    products: usize,
    /// Taps of the filter.
    taps: usize,
}

impl Line {
    /// For a filter of so many taps, if there is one.
    fn new(products: usize, taps: usize) -> Option<Line> {
        let fits = match products {
            1 => taps == 1,
            4 => (2..=3).contains(&taps),
            6 => (2..=5).contains(&taps),
            _ => false,
        };
        fits.then_some(Line { products, taps })
    }

    fn outputs(self) -> usize {
        self.products - self.taps + 1
    }

    /// The finite points, and what the filter's row of each is multiplied with.
    fn points(self) -> &'static [(f64, f64)] {
        match self.products {
            1 => &[],
            4 => &[(0.0, 1.0), (1.0, 0.5), (-1.0, 0.5)],
            // One over the product of the differences to the other points.
            _ => &[(0.0, 1.0), (A, -1.0 / 1.5), (-A, -1.0 / 1.5), (B, 1.0 / 6.0), (-B, 1.0 / 6.0)],
        }
    }

    /// `B^T`: inputs to products.
    fn input_matrix(self) -> &'static [&'static [f64]] {
        match self.products {
            1 => &[&[1.0]],
            4 => &[&[1.0, 0.0, -1.0, 0.0], &[0.0, 1.0, 1.0, 0.0], &[0.0, -1.0, 1.0, 0.0], &[0.0, -1.0, 0.0, 1.0]],
            _ => &[
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
    fn output_matrix(self) -> Vec<Vec<f64>> {
        let last = self.outputs() - 1;
        let infinity = |i: usize| f64::from(u8::from(i == last));
        let row = |i: usize| self.points().iter().map(|p| p.0.powi(i as i32)).chain([infinity(i)]).collect();
        (0..=last).map(row).collect()
    }

    /// `G`: filter to products.
    fn filter_matrix(self) -> Vec<Vec<f64>> {
        let finite = self.points().iter().map(|(p, s)| (0..self.taps).map(|k| s * p.powi(k as i32)).collect());
        let infinity = (0..self.taps).map(|k| f64::from(u8::from(k + 1 == self.taps))).collect();
        finite.chain([infinity]).collect()
    }

    /// How much larger the variance of an output's rounding error is than by the definition, if inputs and filter are independent noise:
    /// products of size `|B_i| |G_i|` round in proportion to it, and `A` adds them up; the definition adds as many products as taps.
    fn variance(self) -> f64 {
        let square = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
        let products: Vec<f64> =
            self.input_matrix().iter().zip(self.filter_matrix()).map(|(b, g)| square(b) * square(&g)).collect();
        let variance = |row: &Vec<f64>| row.iter().zip(&products).map(|(a, p)| a * a * p).sum::<f64>();
        self.output_matrix().iter().map(variance).fold(0.0, f64::max) / self.taps as f64
    }

    /// `B^T d`.
    pub fn input(self, b: &mut KernelBuilder, d: &[Vector]) -> Vec<Vector> {
        match self.products {
            1 => d.to_vec(),
            4 => vec![b.sub(d[0], d[2]), b.add(d[1], d[2]), b.sub(d[2], d[1]), b.sub(d[3], d[1])],
            _ => {
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

    /// `A^T m`. Points come in pairs of both signs: even powers take the sum of their products, odd ones the difference.
    pub fn output(self, b: &mut KernelBuilder, m: &[Vector]) -> Vec<Vector> {
        if self.products == 1 {
            return m.to_vec();
        }
        let pairs: Vec<[Vector; 2]> =
            (1..self.products - 2).step_by(2).map(|i| [b.add(m[i], m[i + 1]), b.sub(m[i], m[i + 1])]).collect();
        let last = self.outputs() - 1;
        (0..=last)
            .map(|i| {
                // Zero and infinity add to the first and to the last output alone.
                let alone = (i == 0).then_some(m[0]).or((i == last).then_some(m[self.products - 1]));
                let sum = pairs.iter().enumerate().fold(alone, |sum, (pair, both)| {
                    let (v, power) = (both[i % 2], self.points()[1 + 2 * pair].0.powi(i as i32) as f32);
                    Some(match sum {
                        None if power == 1.0 => v,
                        None => b.mul(v, power),
                        Some(sum) if power == 1.0 => b.add(sum, v),
                        Some(sum) => b.fma(sum, v, power),
                    })
                });
                sum.unwrap_or(m[0])
            })
            .collect()
    }
}

/// Tiles of an image: the transforms along its rows' and its columns' dimension.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Size([Line; 2]);

impl Size {
    /// F(2x2) of 3x3 filters: 2.25 times fewer products.
    pub const F2: Size = Size([Line { products: 4, taps: 3 }; 2]);
    /// F(4x4) of 3x3 filters: 4 times fewer products, at about four times the rounding error of F(2x2).
    pub const F4: Size = Size([Line { products: 6, taps: 3 }; 2]);

    /// Those for a filter, largest tiles first.
    pub fn all(kernel: [usize; 2]) -> Vec<Size> {
        let of = |products: usize| Size::new(kernel.map(|k| if k == 1 { 1 } else { products }), kernel);
        [6, 4].into_iter().filter_map(of).filter(|s| s.products() > 1).collect()
    }

    /// With so many products along each dimension.
    pub fn new(products: [usize; 2], taps: [usize; 2]) -> Option<Size> {
        Some(Size([Line::new(products[0], taps[0])?, Line::new(products[1], taps[1])?]))
    }

    /// The transform along a dimension.
    pub fn line(self, d: usize) -> Line {
        self.0[d]
    }

    /// Outputs along a dimension.
    pub fn outputs(self, d: usize) -> usize {
        self.0[d].outputs()
    }

    /// Inputs, and products, along a dimension.
    pub fn inputs(self, d: usize) -> usize {
        self.0[d].products
    }

    /// Taps of the filter along both dimensions.
    pub fn taps(self) -> [usize; 2] {
        self.0.map(|l| l.taps)
    }

    /// Products of a tile.
    pub fn products(self) -> usize {
        self.inputs(0) * self.inputs(1)
    }

    /// How much larger the rounding error of an output is than by the definition: 1.7 for F(2x2), 7.1 for F(4x4) of 3x3 filters.
    pub fn amplification(self) -> f64 {
        self.0.map(Line::variance).iter().product::<f64>().sqrt()
    }

    /// Estimated error of a convolution of so many input channels, in units of its largest result.
    pub fn error(self, inputs: usize) -> f64 {
        ROUNDING * self.amplification() * (inputs as f64).sqrt()
    }

    /// Transforms filters `G g G^T`, each row-major, one behind the other; in `f64`, rounded once.
    pub fn filters(self, filters: &[f32]) -> Vec<f32> {
        let [rows, cols] = self.0.map(Line::filter_matrix);
        let [kh, kw] = self.taps();
        let mut out = vec![0f32; filters.len() / (kh * kw) * self.products()];
        out.par_chunks_mut(self.products()).zip(filters.par_chunks(kh * kw)).for_each(|(out, g)| {
            for (row, out) in rows.iter().zip(out.chunks_mut(cols.len())) {
                let half: Vec<f64> =
                    (0..kw).map(|c| (0..kh).map(|r| row[r] * f64::from(g[kw * r + c])).sum()).collect();
                for (col, out) in cols.iter().zip(out) {
                    *out = half.iter().zip(col).map(|(h, c)| h * c).sum::<f64>() as f32;
                }
            }
        });
        out
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F({}x{})", self.outputs(0), self.outputs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A^T ((G g) * (B^T d))` is the correlation of `d` and `g`.
    #[test]
    fn the_matrices_belong_together() {
        for (products, taps) in [(1, 1), (4, 2), (4, 3), (6, 2), (6, 3), (6, 4), (6, 5)] {
            let line = Line::new(products, taps).unwrap();
            let d: Vec<f64> = (0..products).map(|i| (i * i) as f64 - 3.0).collect();
            let g = &[0.5, -2.0, 3.0, 0.25, 1.5][..taps];
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let inputs = line.input_matrix().iter().map(|row| dot(row, &d));
            let products: Vec<f64> = inputs.zip(line.filter_matrix()).map(|(x, row)| x * dot(&row, g)).collect();
            for (i, row) in line.output_matrix().iter().enumerate() {
                let (got, want) = (dot(row, &products), dot(&d[i..i + taps], g));
                assert!((got - want).abs() < 1e-12, "{line:?} output {i}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn a_filter_has_its_tiles() {
        assert_eq!(Size::all([3, 3]), [Size::F4, Size::F2]);
        let shape = |s: &Size| ([s.outputs(0), s.outputs(1)], s.products());
        assert_eq!(Size::all([1, 5]).iter().map(shape).collect::<Vec<_>>(), [([1, 2], 6)]);
        assert_eq!(Size::all([5, 3]).iter().map(shape).collect::<Vec<_>>(), [([2, 4], 36)]);
        assert!(Size::all([1, 1]).is_empty() && Size::all([7, 3]).is_empty());
    }

    #[test]
    fn larger_tiles_round_worse() {
        let [small, large] = [Size::F2, Size::F4].map(Size::amplification);
        assert!((1.5..2.0).contains(&small) && (6.0..8.0).contains(&large), "{small} {large}");
        assert!(Size::F4.error(256) < 2.5e-6 && Size::F4.error(1 << 14) > 1e-5);
    }
}
