//! Second moments of what a layer reads: how errors of weights become errors of results.
//!
//! A row of weights with errors `e` adds `e·x` to its result where the layer reads the patch `x`, in the mean square `e' E[x x'] e`. So the matrix
//! `E[x x']` of a layer is all that rounding needs to know of the data.

use mnnc_ir::Tensor;
use rayon::prelude::*;

use super::patches::Patches;
use super::simd::dot;

/// Most columns of a matrix. Beyond, errors of different parts of a row are taken for independent, which bounds memory and time.
pub const MOST_COLUMNS: usize = 1536;

/// Moments of the patches that a layer reads, for each group of channels, in parts of at most [`MOST_COLUMNS`].
#[derive(Clone, Debug)]
pub struct Moments {
    /// Groups of input channels, each read by an equal share of the output channels.
    pub groups: usize,
    /// Elements of a patch: weights of an output channel.
    pub size: usize,
    /// Patches seen.
    pub count: usize,
    /// `[groups][parts]`, each a full matrix of sums, of which the upper triangle counts.
    second: Vec<Vec<f32>>,
    /// `[groups][size]`, sums.
    first: Vec<f64>,
}

impl Moments {
    /// Of nothing yet.
    pub fn new(groups: usize, size: usize) -> Moments {
        let parts = |_| parts(size).map(|(_, n)| vec![0.0f32; n * n]).collect::<Vec<_>>();
        Moments {
            groups,
            size,
            count: 0,
            second: (0..groups).flat_map(parts).collect(),
            first: vec![0.0; groups * size],
        }
    }
    /// Bytes of memory that moments of this shape take.
    pub fn bytes(groups: usize, size: usize) -> usize {
        let matrices: usize = parts(size).map(|(_, n)| 4 * n * n).sum();
        groups.saturating_mul(matrices.saturating_add(8 * size))
    }
    /// Adds what a layer read from `x`: at most `most` patches of it, spread evenly. `turn` varies which.
    pub fn add(&mut self, patches: &Patches, x: &Tensor, most: usize, turn: usize) {
        let chosen = patches.choose(most, turn);
        if chosen.is_empty() {
            return;
        }
        let data = x.view::<f32>();
        let number = parts(self.size).count();
        let (size, n) = (self.size, chosen.len());
        let sums: Vec<&mut [f64]> = self.first.chunks_mut(size).collect();
        let matrices = self.second.par_chunks_mut(number).zip(sums).enumerate();
        matrices.for_each(|(group, (matrices, sum))| {
            // One row for each element of a patch, so that products run along patches.
            let mut elements = vec![0.0f32; size * n];
            patches.gather(&data, group, &chosen, &mut elements);
            for (s, e) in sum.iter_mut().zip(elements.chunks(n)) {
                *s += e.iter().map(|&x| f64::from(x)).sum::<f64>();
            }
            for ((start, columns), matrix) in parts(size).zip(matrices) {
                let rows = &elements[start * n..(start + columns) * n];
                matrix.par_chunks_mut(columns).enumerate().for_each(|(i, out)| {
                    let a = &rows[i * n..(i + 1) * n];
                    for j in i..columns {
                        out[j] += dot(a, &rows[j * n..(j + 1) * n]);
                    }
                });
            }
        });
        self.count += n;
    }
    /// The mean patch of a group.
    pub fn mean(&self, group: usize) -> Vec<f64> {
        let n = self.count.max(1) as f64;
        self.first[group * self.size..][..self.size].iter().map(|s| s / n).collect()
    }
    /// The matrix of part `part` of a group, complete: `E[x x']`, or the covariance if `centred`.
    pub fn matrix(&self, group: usize, part: usize, centred: bool) -> Vec<f64> {
        let (start, columns) = parts(self.size).nth(part).unwrap_or((0, 0));
        let sums = &self.second[group * parts(self.size).count() + part];
        let mean = &self.mean(group)[start..start + columns];
        let n = self.count.max(1) as f64;
        let mut out = vec![0.0; columns * columns];
        for i in 0..columns {
            for j in i..columns {
                let shift = if centred { mean[i] * mean[j] } else { 0.0 };
                let v = f64::from(sums[i * columns + j]) / n - shift;
                (out[i * columns + j], out[j * columns + i]) = (v, v);
            }
        }
        out
    }
}

/// Start and length of each part of a row.
pub fn parts(size: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let number = size.div_ceil(MOST_COLUMNS).max(1);
    (0..number).map(move |i| {
        let at = |i: usize| i * size / number;
        (at(i), at(i + 1) - at(i))
    })
}
