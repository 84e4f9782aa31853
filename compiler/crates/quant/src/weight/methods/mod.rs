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

/// The scheme as it can be: a weight whose scales half precision would hold with fewer than its 11 bits, or not at all, gets single
/// precision; and why.
pub(super) fn feasible(rows: &Rows, scheme: &Scheme) -> (Scheme, Option<String>) {
    if scheme.scales == ScaleType::Fp32 {
        return (scheme.clone(), None);
    }
    let (_, most) = scheme.code_range();
    // A search ends within a factor of two of the range's own scale.
    let (least, largest) = (2.0 * f16::MIN_POSITIVE.to_f32(), 0.5 * f16::MAX.to_f32());
    let fits = rows.iter().all(|w| {
        let range = w.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        range == 0.0 || (least..=largest).contains(&(range / most.max(1) as f32))
    });
    if fits {
        return (scheme.clone(), None);
    }
    let note = "scales in f32: half precision does not hold them".to_string();
    (Scheme { scales: ScaleType::Fp32, ..scheme.clone() }, Some(note))
}
