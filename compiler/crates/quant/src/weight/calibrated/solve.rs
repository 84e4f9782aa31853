//! Integers with the least error of results instead of the least error of weights.
//!
//! For rows `w` and the moments `H` of what they meet, codes `q` are sought that make `e' H e` small, `e = w - s q`: a closest-vector problem.
//! First Babai's nearest plane: with `H = L L'`, going backwards through the columns, each code is chosen in view of what the later ones left
//! over (this is GPTQ, Frantar et al. 2022, as Chen et al. 2025 showed). Then coordinate descent: every code in turn takes the value that is best with
//! all others as they are, until none changes.

use super::simd::{LANES, lanes_dot};
use crate::weight::methods::{Grid, Row};

/// Rounds of coordinate descent at most.
const ROUNDS: usize = 4;

/// A symmetric positive definite matrix with its factor, columns in the order in which codes are chosen.
pub struct Problem {
    n: usize,
    /// Column of the row of weights that stands at each place, the most important last.
    order: Vec<usize>,
    /// The matrix, row by row.
    matrix: Vec<f32>,
    /// `L'`, row by row; the lower triangle is 0.
    factor: Vec<f32>,
}

impl Problem {
    /// Prepares `matrix` (`n * n`, symmetric). `damping` times the mean of its diagonal is added to the diagonal: trust in the weights' own values
    /// where the data says little. `None` if the matrix is zero or not a number.
    pub fn new(matrix: &[f64], n: usize, damping: f64) -> Option<Problem> {
        let mean = (0..n).map(|i| matrix[i * n + i].max(0.0)).sum::<f64>() / n as f64;
        if !(mean > 0.0 && mean.is_finite()) {
            return None;
        }
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| matrix[a * n + a].total_cmp(&matrix[b * n + b]));
        let mut sorted = vec![0.0f64; n * n];
        for (i, &a) in order.iter().enumerate() {
            for (j, &b) in order.iter().enumerate() {
                // In units of the mean, so that single precision holds everything.
                sorted[i * n + j] = matrix[a * n + b] / mean + if i == j { damping } else { 0.0 };
            }
        }
        let matrix: Vec<f32> = sorted.iter().map(|&x| x as f32).collect();
        let lower = cholesky(sorted, n)?;
        let mut factor = vec![0.0f32; n * n];
        for i in 0..n {
            for j in 0..=i {
                factor[j * n + i] = lower[i * n + j] as f32;
            }
        }
        Some(Problem { n, order, matrix, factor })
    }
}

/// Up to [`LANES`] rows of weights on their way to codes. Places are columns in the problem's order.
pub struct Lanes<'a> {
    problem: &'a Problem,
    grid: Grid,
    count: usize,
    weights: Vec<[f32; LANES]>,
    codes: Vec<[i8; LANES]>,
    error: Vec<[f32; LANES]>,
    /// Scales and zero points: `[blocks]`.
    rows: Vec<[Row; LANES]>,
    /// For each place the block that its scale is of.
    block: Vec<usize>,
}

impl<'a> Lanes<'a> {
    /// Rows of the problem's columns, and for each lane the scale and zero point of each block. `block_of` says which block a column is in.
    pub fn new(
        problem: &'a Problem,
        grid: Grid,
        weights: &[&[f32]],
        blocks: &[Vec<Row>],
        block_of: impl Fn(usize) -> usize,
    ) -> Lanes<'a> {
        let n = problem.n;
        let mut rows = vec![[Row { scale: 1.0, zero: 0 }; LANES]; blocks.first().map_or(0, Vec::len)];
        let mut w = vec![[0.0f32; LANES]; n];
        for (lane, (weights, blocks)) in weights.iter().zip(blocks).enumerate() {
            for (place, &column) in problem.order.iter().enumerate() {
                w[place][lane] = weights[column];
            }
            for (rows, &row) in rows.iter_mut().zip(blocks) {
                rows[lane] = row;
            }
        }
        let block = problem.order.iter().map(|&c| block_of(c)).collect();
        let count = weights.len();
        Lanes {
            problem,
            grid,
            count,
            weights: w,
            codes: vec![[0; LANES]; n],
            error: vec![[0.0; LANES]; n],
            rows,
            block,
        }
    }

    /// Babai's nearest plane: all codes anew.
    pub fn nearest_plane(&mut self) {
        let (n, factor) = (self.problem.n, &self.problem.factor);
        for j in (0..n).rev() {
            let below = lanes_dot(&factor[j * n + j + 1..(j + 1) * n], &self.error[j + 1..]);
            let unit = factor[j * n + j];
            for lane in 0..LANES {
                let row = self.rows[self.block[j]][lane];
                let code = row.code(self.weights[j][lane] + below[lane] / unit, &self.grid);
                self.codes[j][lane] = code;
                self.error[j][lane] = self.weights[j][lane] - row.value(code);
            }
        }
    }

    /// Coordinate descent: each code the best one with all others as they are.
    pub fn descend(&mut self) {
        let (n, matrix) = (self.problem.n, &self.problem.matrix);
        for _ in 0..ROUNDS {
            let mut changed = false;
            for j in (0..n).rev() {
                let pull = lanes_dot(&matrix[j * n..(j + 1) * n], &self.error);
                let unit = matrix[j * n + j];
                for lane in 0..LANES {
                    let row = self.rows[self.block[j]][lane];
                    let (w, e) = (self.weights[j][lane], self.error[j][lane]);
                    let code = row.code(w - e + pull[lane] / unit, &self.grid);
                    if code != self.codes[j][lane] {
                        changed = true;
                        self.codes[j][lane] = code;
                        self.error[j][lane] = w - row.value(code);
                    }
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// The best scale of each block in turn, codes as they are.
    pub fn fit_scales(&mut self) {
        let (n, matrix) = (self.problem.n, &self.problem.matrix);
        // `H e`, kept up to date.
        let mut pull: Vec<[f32; LANES]> = (0..n).map(|j| lanes_dot(&matrix[j * n..(j + 1) * n], &self.error)).collect();
        for b in 0..self.rows.len() {
            let places: Vec<usize> = (0..n).filter(|&j| self.block[j] == b).collect();
            let steps: Vec<[f32; LANES]> = places
                .iter()
                .map(|&j| {
                    std::array::from_fn(|lane| f32::from(self.codes[j][lane]) - f32::from(self.rows[b][lane].zero))
                })
                .collect();
            // `H q` for this block's codes.
            let reach: Vec<[f32; LANES]> = (0..n)
                .map(|i| {
                    let mut sums = [0.0f32; LANES];
                    for (&j, q) in places.iter().zip(&steps) {
                        let h = matrix[i * n + j];
                        for lane in 0..LANES {
                            sums[lane] += h * q[lane];
                        }
                    }
                    sums
                })
                .collect();
            let mut change = [0.0f32; LANES];
            for lane in 0..self.count {
                let along =
                    |v: &[[f32; LANES]]| -> f32 { places.iter().zip(&steps).map(|(&j, q)| q[lane] * v[j][lane]).sum() };
                let (gain, curve) = (along(&pull), along(&reach));
                let row = &mut self.rows[b][lane];
                let scale = row.scale + gain / curve;
                // A scale keeps its sign and its order of magnitude; anything else is noise of a block that hardly counts.
                if curve > 0.0 && scale / row.scale > 0.5 && scale / row.scale < 2.0 {
                    let scale = self.grid.stored(scale);
                    change[lane] = scale - row.scale;
                    row.scale = scale;
                }
            }
            for (pull, reach) in pull.iter_mut().zip(&reach) {
                for lane in 0..LANES {
                    pull[lane] -= change[lane] * reach[lane];
                }
            }
            for (&j, _) in places.iter().zip(&steps) {
                for lane in 0..self.count {
                    self.error[j][lane] = self.weights[j][lane] - self.rows[b][lane].value(self.codes[j][lane]);
                }
            }
        }
    }

    /// `e' H e` of each row.
    #[cfg(test)]
    pub fn costs(&self) -> Vec<f64> {
        let (n, matrix) = (self.problem.n, &self.problem.matrix);
        let mut costs = vec![0.0; self.count];
        for j in 0..n {
            let pull = lanes_dot(&matrix[j * n..(j + 1) * n], &self.error);
            for (lane, cost) in costs.iter_mut().enumerate() {
                *cost += f64::from(pull[lane]) * f64::from(self.error[j][lane]);
            }
        }
        costs
    }

    /// Codes of a lane in order of columns, and its scales.
    pub fn lane(&self, lane: usize) -> (Vec<i8>, Vec<Row>) {
        let mut codes = vec![0; self.problem.n];
        for (place, &column) in self.problem.order.iter().enumerate() {
            codes[column] = self.codes[place][lane];
        }
        (codes, self.rows.iter().map(|r| r[lane]).collect())
    }
}

/// The lower factor `L` of `L L'`; the upper triangle is left over. `None` if the matrix is not positive definite.
fn cholesky(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for i in 0..n {
        let (above, row) = a.split_at_mut(i * n);
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot64(&row[..j], &other[..j])) / other[j];
        }
        let rest = row[i] - dot64(&row[..i], &row[..i]);
        if !(rest > 0.0) {
            return None;
        }
        row[i] = rest.sqrt();
    }
    Some(a)
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0f64; LANES];
    let (a8, b8) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::{Lanes, Problem};
    use crate::weight::methods::{Grid, Row};
    use crate::weight::{ScaleType, Scheme};

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Correlated columns: `A A'` with a common direction.
    fn moments(n: usize, seed: u64) -> Vec<f64> {
        let a = numbers(n * n, seed);
        let at = |i: usize, k: usize| a[i * n + k] + if k == 0 { 2.0 } else { 0.0 };
        (0..n * n).map(|x| (0..n).map(|k| at(x / n, k) * at(x % n, k)).sum::<f64>()).collect()
    }

    fn cost(h: &[f64], e: &[f64]) -> f64 {
        let n = e.len();
        (0..n * n).map(|x| e[x / n] * h[x] * e[x % n]).sum()
    }

    /// Against all codes there are.
    #[test]
    fn codes_are_near_the_best_ones() {
        const N: usize = 6;
        let grid = Grid::of(&Scheme { scales: ScaleType::Fp32, ..Scheme::symmetric(2) });
        let (mut found, mut best, mut rounded) = (0.0, 0.0, 0.0);
        for seed in 0..40 {
            let h = moments(N, seed);
            let w: Vec<f32> = numbers(N, seed + 100).iter().map(|&x| x as f32).collect();
            let row = Row { scale: 0.6, zero: 0 };
            let problem = Problem::new(&h, N, 0.0).unwrap();
            let mut lanes = Lanes::new(&problem, grid, &[&w], &[vec![row]], |_| 0);
            let of = |codes: &[i8]| {
                let e: Vec<f64> = w.iter().zip(codes).map(|(&w, &c)| f64::from(w - row.value(c))).collect();
                cost(&h, &e)
            };
            lanes.nearest_plane();
            lanes.descend();
            found += of(&lanes.lane(0).0);
            rounded += of(&w.iter().map(|&w| row.code(w, &grid)).collect::<Vec<_>>());
            best += (0..4usize.pow(N as u32))
                .map(|x| of(&(0..N).map(|i| (x / 4usize.pow(i as u32) % 4) as i8 - 2).collect::<Vec<_>>()))
                .fold(f64::INFINITY, f64::min);
        }
        assert!(found - best < 0.3 * (rounded - best), "best {best}, found {found}, rounded {rounded}");
    }

    #[test]
    fn every_step_lowers_the_cost() {
        const N: usize = 48;
        let grid = Grid::of(&Scheme::symmetric(4));
        let h = moments(N, 5);
        let w: Vec<Vec<f32>> = (0..5).map(|i| numbers(N, i + 50).iter().map(|&x| x as f32).collect()).collect();
        let refs: Vec<&[f32]> = w.iter().map(Vec::as_slice).collect();
        let blocks = vec![vec![Row { scale: 0.13, zero: 0 }; 3]; 5];
        let problem = Problem::new(&h, N, 0.01).unwrap();
        let mut lanes = Lanes::new(&problem, grid, &refs, &blocks, |c| c / 16);
        lanes.nearest_plane();
        let mut last = lanes.costs();
        for step in 0..6 {
            if step % 2 == 0 {
                lanes.descend()
            } else {
                lanes.fit_scales()
            }
            let now = lanes.costs();
            assert!(now.iter().zip(&last).all(|(a, b)| *a <= b * 1.0001), "step {step}: {now:?} after {last:?}");
            last = now;
        }
        // The errors are those of the codes and scales that come out.
        for lane in 0..5 {
            let (codes, rows) = lanes.lane(lane);
            let e: Vec<f64> = (0..N).map(|i| f64::from(w[lane][i] - rows[i / 16].value(codes[i]))).collect();
            let mean = (0..N).map(|i| h[i * N + i]).sum::<f64>() / N as f64;
            let damped = cost(&h, &e) / mean + 0.01 * e.iter().map(|x| x * x).sum::<f64>();
            assert!((damped - last[lane]).abs() < 1e-3 * damped.abs().max(1e-3), "{damped} {}", last[lane]);
        }
    }

    #[test]
    fn nothing_and_no_numbers_are_no_problem() {
        assert!(Problem::new(&[0.0; 4], 2, 0.01).is_none());
        assert!(Problem::new(&[f64::NAN; 4], 2, 0.01).is_none());
        // A dead input beside a live one.
        assert!(Problem::new(&[1.0, 0.0, 0.0, 0.0], 2, 0.01).is_some());
    }
}
