//! How integers are chosen for rows of weights.

mod hqq;
mod min_max;
mod mse;
mod row;

use half::f16;
use mnnc_ir::{Diagnostic, Graph};
use rayon::prelude::*;

use super::compress::Quantiser;
use super::policy::{Method, ScaleType, Scheme};
use super::rows::{Quantised, Rows};
use super::site::Site;
pub use row::{Grid, Row};

/// Chooses by the weights alone, with the method that the scheme names.
#[derive(Copy, Clone, Debug, Default)]
pub struct DataFree;

impl Quantiser for DataFree {
    fn quantise(&mut self, _: &Graph, _: &Site, rows: &Rows, scheme: &Scheme) -> Result<Quantised, Diagnostic> {
        Ok(by_rows(rows, scheme))
    }
}

/// Every row on its own, by the scheme's method.
pub fn by_rows(rows: &Rows, scheme: &Scheme) -> Quantised {
    let grid = Grid::of(scheme);
    let choose = match scheme.method {
        Method::MinMax => min_max::row,
        Method::Mse | Method::Output => mse::row,
        Method::Hqq => hqq::row,
    };
    let chosen: Vec<Row> = rows.values.par_chunks_exact(rows.length).map(|w| choose(w, &grid)).collect();
    let codes: Vec<i8> = chosen
        .par_iter()
        .zip(rows.values.par_chunks_exact(rows.length))
        .flat_map_iter(|(row, w)| w.iter().map(|&w| row.code(w, &grid)))
        .collect();
    let zeros = (!scheme.symmetric).then(|| chosen.iter().map(|r| r.zero).collect());
    Quantised { codes, scales: chosen.iter().map(|r| r.scale).collect(), zeros, shift: None }
}

/// The scheme as it can be: a weight whose scales half precision would hold with too few bits, or not at all, gets single
/// precision; and why. `outputs` is the number of output channels.
pub(super) fn feasible(rows: &Rows, outputs: usize, scheme: &Scheme) -> (Scheme, Option<String>) {
    if scheme.scales == ScaleType::Fp32 {
        return (scheme.clone(), None);
    }
    let most = scheme.code_range().1.max(1) as f32;
    let scale = |w: &[f32]| w.iter().fold(0.0f32, |m, x| m.max(x.abs())) / most;
    let scales: Vec<f32> = rows.iter().map(scale).collect();
    // A search ends within a factor of two of the range's own scale.
    let largest = 0.5 * f16::MAX.to_f32();
    // Smaller scales become the least: that costs a row a bit at most, or makes its steps as coarse as another of its channel has them.
    let least = 0.5 * row::LEAST_HALF;
    let holds = |channel: &[f32]| {
        let coarsest = channel.iter().fold(0.0f32, |m, &x| m.max(x));
        coarsest == 0.0 || (least..=largest).contains(&coarsest)
    };
    if scales.chunks((scales.len() / outputs.max(1)).max(1)).all(holds) {
        return (scheme.clone(), None);
    }
    let note = "scales in f32: half precision does not hold them".to_string();
    (Scheme { scales: ScaleType::Fp32, ..scheme.clone() }, Some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_for_channels_whose_coarsest_scale_it_holds() {
        let scheme = Scheme { scales: ScaleType::Fp16, ..Scheme::symmetric(8) };
        // Two channels of two rows of one weight.
        let chosen = |values: [f32; 4]| {
            let rows = Rows { values: values.to_vec(), length: 1 };
            feasible(&rows, 2, &scheme).0.scales
        };
        assert_eq!(chosen([1.0, 1e-9, 0.0, 1.0]), ScaleType::Fp16);
        assert_eq!(chosen([1.0, 1e-9, 0.0, 0.0]), ScaleType::Fp16);
        // A channel of which nothing would be left.
        assert_eq!(chosen([1.0, 1.0, 1e-9, 1e-9]), ScaleType::Fp32);
        assert_eq!(chosen([1.0, 1e8, 1.0, 1.0]), ScaleType::Fp32);
    }
}
