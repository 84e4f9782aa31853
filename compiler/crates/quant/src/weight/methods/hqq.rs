//! Half-quadratic quantisation: outliers of a row count less than their square.
//!
//! After Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023): the error is `|w - v|^p` summed with `p < 1`,
//! split into an auxiliary error `e` found by a shrinkage operator and a least-squares step for the parameters. Here both scale and zero point
//! are fitted to `w - e`, and the best step is kept, so that the result is never worse than the search it starts from.

use super::mse;
use super::row::{Grid, Row};

/// The norm's exponent.
const P: f64 = 0.7;
/// Weight of the quadratic coupling at first, in units of the inverse mean error, and its growth in a step.
const BETA: f64 = 1.0;
const GROWTH: f64 = 1.05;
const STEPS: usize = 20;

/// The best row found.
pub fn row(w: &[f32], grid: &Grid) -> Row {
    let start = mse::row(w, grid);
    let mut best = (start, cost(w, start, grid));
    let (mut now, mut beta) = (start, BETA);
    for _ in 0..STEPS {
        let Some(next) = step(w, now, beta, grid).filter(|next| *next != now) else { break };
        now = next;
        beta *= GROWTH;
        let found = cost(w, now, grid);
        if found < best.1 {
            best = (now, found);
        }
    }
    best.0
}

fn cost(w: &[f32], row: Row, grid: &Grid) -> f64 {
    w.iter().map(|&w| f64::from((w - row.value(row.code(w, grid))).abs()).powf(P)).sum()
}

/// Shrinks the errors of `row`, then fits scale and zero point to the weights without them.
fn step(w: &[f32], row: Row, beta: f64, grid: &Grid) -> Option<Row> {
    let unit = f64::from(row.scale.abs());
    let n = w.len() as f64;
    let (mut sq, mut sv, mut sqq, mut sqv) = (0.0, 0.0, 0.0, 0.0);
    for &x in w {
        let code = row.code(x, grid);
        let error = f64::from(x - row.value(code)) / unit;
        let shrunk = error.signum() * (error.abs() - error.abs().max(1e-8).powf(P - 1.0) / beta).max(0.0);
        let (q, v) = (f64::from(code), f64::from(x) - shrunk * unit);
        sq += q;
        sv += v;
        sqq += q * q;
        sqv += q * v;
    }
    let (scale, zero) = if grid.symmetric {
        (if sqq > 0.0 { sqv / sqq } else { return None }, 0.0)
    } else {
        let spread = n * sqq - sq * sq;
        if spread <= 0.0 {
            return None;
        }
        let scale = (n * sqv - sq * sv) / spread;
        (scale, (sq - sv / scale) / n)
    };
    let scale = scale as f32;
    if scale == 0.0 || !scale.is_finite() {
        return None;
    }
    Some(Row { scale: grid.stored(scale), zero: if grid.symmetric { 0 } else { grid.nearest_zero(zero as f32) } })
}
