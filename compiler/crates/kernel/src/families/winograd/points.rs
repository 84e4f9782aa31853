//! The one-dimensional transforms of F(2, 3) and F(4, 3), after Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (2015): `y = A^T ((G g) * (B^T d))` gives `m` outputs of a filter of 3 from `m + 2` inputs with `m + 2` products. Both
//! dimensions of an image are transformed one after the other.

use mnnc_vector::{KernelBuilder, Vector};

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

    /// `G`: filter to products.
    fn filter_matrix(self) -> &'static [[f64; 3]] {
        match self {
            Size::F2 => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            Size::F4 => &[
                [1.0 / 4.0, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
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
                let four = b.splat(4.0f32);
                let five = b.splat(5.0f32);
                let first = b.fma(d[4], d[0], four);
                let first = b.fnma(first, d[2], five);
                let p = b.fnma(d[4], d[2], four);
                let q = b.fnma(d[3], d[1], four);
                let r = b.sub(d[4], d[2]);
                let s = b.sub(d[3], d[1]);
                let s = b.add(s, s);
                let last = b.fma(d[5], d[1], four);
                let last = b.fnma(last, d[3], five);
                vec![first, b.add(p, q), b.sub(p, q), b.add(r, s), b.sub(r, s), last]
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
                let s2 = b.add(s, s);
                let y1 = b.add(q, s2);
                let four = b.splat(4.0f32);
                let y2 = b.fma(p, r, four);
                let y3 = b.add(q, m[5]);
                let y3 = b.fma(y3, s2, four);
                vec![y0, y1, y2, y3]
            }
        }
    }
}
