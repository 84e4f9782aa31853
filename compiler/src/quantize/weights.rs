//! MNN's ways to quantise weights, a scale for each output channel and a symmetric range with a clamp.

use mnnc_ir::{Diagnostic, Graph};
use mnnc_quant::weight::{Quantised, Quantiser, Rows, Scheme, Site};

use crate::calibrate::WeightMethod;

/// Rounds of alternating least squares, MNN's number.
const ROUNDS: usize = 1000;

/// Quantises with integers from `-clamp` to `clamp`.
pub(super) struct Clamped {
    pub method: WeightMethod,
    pub clamp: i32,
}

impl Quantiser for Clamped {
    fn quantise(&mut self, _: &Graph, _: &Site, rows: &Rows, _: &Scheme) -> Result<Quantised, Diagnostic> {
        let limit = f64::from(self.clamp);
        let mut out = Quantised { codes: Vec::new(), scales: Vec::new(), zeros: None, shift: None };
        for row in rows.iter() {
            let most = row.iter().fold(0f32, |a, w| a.max(w.abs()));
            let scale = match self.method {
                _ if most == 0.0 => 1.0,
                WeightMethod::Admm => least_squares(row, f64::from(most) / (limit * 1.25), limit),
                _ => f64::from(most) / limit,
            };
            // A row of subnormals has no scale that single precision could invert.
            let scale = if scale < f64::from(f32::MIN_POSITIVE) { 1.0 } else { scale };
            out.codes.extend(row.iter().map(|&w| (f64::from(w) / scale).round().clamp(-limit, limit) as i8));
            out.scales.push(scale as f32);
        }
        Ok(out)
    }
}

/// Scale and integers in turn, each least squares for the other.
fn least_squares(row: &[f32], start: f64, limit: f64) -> f64 {
    let mut scale = start;
    for _ in 0..ROUNDS {
        let (mut qw, mut qq) = (0.0, 0.0);
        for &w in row {
            let q = (f64::from(w) / scale).round().clamp(-limit, limit);
            (qw, qq) = (qw + q * f64::from(w), qq + q * q);
        }
        if qq == 0.0 || (qw / qq - scale).abs() <= 1e-12 * scale {
            break;
        }
        scale = qw / qq;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::least_squares;

    #[test]
    fn alternating_least_squares_finds_the_scale_of_a_grid() {
        let row: Vec<f32> = (-7..=7).map(|q| q as f32 * 0.3).collect();
        assert!((least_squares(&row, 2.1 / (7.0 * 1.25), 7.0) - 0.3).abs() < 1e-6);
    }
}
