//! Matrix product: the engine below convolution, matmul, gemm, einsum and the recurrent ops.
//!
//! Blocked as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): both operands are
//! packed so that a small tile of the result stays in registers over a block of the inner dimension. Rows run in
//! parallel. Each block of [`KC`] terms is summed by itself before it is added to the result, which bounds the
//! rounding error of long sums.

use crate::real::Real;
use rayon::prelude::*;

/// Rows of a register tile.
const MR: usize = 4;
/// Columns of a register tile.
const NR: usize = 8;
/// Inner-dimension block.
const KC: usize = 256;
/// Columns packed by one task.
const PANELS: usize = 8;
/// Packed elements of the right operand alive at a time.
const PACKED: usize = 1 << 20;

/// A strided matrix over a slice: element `(i, j)` is `data[i * row + j * col]`.
#[derive(Copy, Clone)]
pub struct Matrix<'a, T> {
    /// Elements.
    pub data: &'a [T],
    /// Distance of rows.
    pub row: usize,
    /// Distance of columns.
    pub col: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// A dense row-major matrix with `cols` columns.
    pub fn dense(data: &'a [T], cols: usize) -> Self {
        Matrix { data, row: cols, col: 1 }
    }
    /// The transpose.
    pub fn t(self) -> Self {
        Matrix { row: self.col, col: self.row, ..self }
    }
    #[inline]
    fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.row + j * self.col]
    }
    /// Copies `out.len()` elements of row `i` from column `j` on.
    pub fn read_row(&self, i: usize, j: usize, out: &mut [T]) {
        let start = i * self.row + j * self.col;
        if self.col == 1 {
            out.copy_from_slice(&self.data[start..start + out.len()]);
        } else {
            for (x, o) in out.iter_mut().enumerate() {
                *o = self.data[start + x * self.col];
            }
        }
    }
}

/// `c += a · b` for `a` of `m × k` and row-major `c` of `m × n`. The right operand, of `k × n`, is given by a function
/// that copies a part of its row `p` from column `j` on: `b(p, j, part)`, which is where convolution gathers its windows.
pub fn product<T: Real>(
    (m, n, k): (usize, usize, usize),
    a: Matrix<T>,
    b: impl Fn(usize, usize, &mut [T]) + Sync,
    c: &mut [T],
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let width = (PACKED / k).clamp(64, 2048) / NR * NR;
    let tasks = 4 * rayon::current_num_threads();
    let rows = m.div_ceil(tasks).next_multiple_of(MR).min(m);
    for j0 in (0..n).step_by(width) {
        let cols = width.min(n - j0);
        let packed = pack_columns(k, j0, cols, &b);
        c.par_chunks_mut(rows * n).enumerate().for_each(|(t, c)| {
            let i0 = t * rows;
            let count = c.len() / n;
            let a = pack_rows(i0, count, k, &a);
            rows_times_columns(&a, &packed, k, (count, cols), c, (n, j0));
        });
    }
}

/// The right operand's columns in panels of [`NR`], each `k × NR` and zero beyond the last column.
fn pack_columns<T: Real>(k: usize, j0: usize, cols: usize, b: &(impl Fn(usize, usize, &mut [T]) + Sync)) -> Vec<T> {
    let panels = cols.div_ceil(NR);
    let mut packed = vec![T::ZERO; panels * NR * k];
    packed.par_chunks_mut(PANELS * NR * k).enumerate().for_each(|(t, out)| {
        let first = t * PANELS * NR;
        let mut row = [T::ZERO; PANELS * NR];
        let row = &mut row[..(PANELS * NR).min(cols - first)];
        for p in 0..k {
            b(p, j0 + first, row);
            for (panel, part) in row.chunks(NR).enumerate() {
                let at = (panel * k + p) * NR;
                out[at..at + part.len()].copy_from_slice(part);
            }
        }
    });
    packed
}

/// The left operand's rows in panels of [`MR`], each `k × MR` and zero beyond the last row.
fn pack_rows<T: Real>(i0: usize, count: usize, k: usize, a: &Matrix<T>) -> Vec<T> {
    let mut packed = vec![T::ZERO; count.next_multiple_of(MR) * k];
    for (panel, out) in packed.chunks_mut(MR * k).enumerate() {
        for r in 0..MR.min(count - panel * MR) {
            let i = i0 + panel * MR + r;
            for (p, o) in out[r..].iter_mut().step_by(MR).enumerate() {
                *o = a.at(i, p);
            }
        }
    }
    packed
}

fn rows_times_columns<T: Real>(
    a: &[T],
    b: &[T],
    k: usize,
    (rows, cols): (usize, usize),
    c: &mut [T],
    (stride, j0): (usize, usize),
) {
    for k0 in (0..k).step_by(KC) {
        let k1 = (k0 + KC).min(k);
        for (pb, b) in b.chunks_exact(NR * k).enumerate() {
            let width = NR.min(cols - pb * NR);
            for (pa, a) in a.chunks_exact(MR * k).enumerate() {
                let sums = tile(&a[k0 * MR..k1 * MR], &b[k0 * NR..k1 * NR]);
                for (r, sums) in sums.iter().enumerate().take(rows - (pa * MR).min(rows)) {
                    let at = (pa * MR + r) * stride + j0 + pb * NR;
                    for (c, &s) in c[at..at + width].iter_mut().zip(sums) {
                        *c += s;
                    }
                }
            }
        }
    }
}

/// One register tile: the sum of outer products.
#[inline]
fn tile<T: Real>(a: &[T], b: &[T]) -> [[T; NR]; MR] {
    let mut acc = [[T::ZERO; NR]; MR];
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
        for i in 0..MR {
            for j in 0..NR {
                acc[i][j] += a[i] * b[j];
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_triple_loop_at_every_edge() {
        for (m, n, k) in [(1, 1, 1), (4, 8, 256), (5, 9, 257), (13, 70, 300), (3, 2050, 3), (1, 17, 513)] {
            let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
            let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64 - 6.0).collect();
            let mut c = vec![1.0; m * n];
            let right = Matrix::dense(&b, n);
            product((m, n, k), Matrix::dense(&a, k), |p, j, out| right.read_row(p, j, out), &mut c);
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = 1.0 + (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f64>();
                    assert_eq!(c[i * n + j], want, "{m}x{n}x{k} at {i},{j}");
                }
            }
        }
    }
}
