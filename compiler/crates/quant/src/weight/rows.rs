//! Weights in rows: what shares one scale lies together.

use mnnc_ir::Tensor;

use super::site::Site;

/// Weights of a site as `[outputs][blocks of inputs][inputs of the block][taps]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    /// All rows, one behind the other.
    pub values: Vec<f32>,
    /// Weights in a row.
    pub length: usize,
}

/// Integers in rows, with `weight = (code - zero) * scale`.
#[derive(Clone, PartialEq, Debug)]
pub struct Quantised {
    /// Codes in the order of [`Rows::values`].
    pub codes: Vec<i8>,
    /// Scale of each row.
    pub scales: Vec<f32>,
    /// Zero point of each row; `None` when all are 0.
    pub zeros: Option<Vec<i8>>,
    /// What to add to the bias of each output channel, if anything; only where [`Site::takes_bias`].
    pub shift: Option<Vec<f32>>,
}

impl Rows {
    /// The constant's elements in rows of blocks of `block` inputs, 0 for all of them. The block divides the inputs.
    pub fn of(site: &Site, weights: &Tensor, block: usize) -> Rows {
        let block = if block == 0 { site.inputs } else { block };
        let w = weights.view::<f32>();
        Rows { values: positions(site).map(|p| w[p]).collect(), length: block * site.taps() }
    }
    /// Each row.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.length)
    }
    /// Number of rows.
    pub fn count(&self) -> usize {
        self.values.len() / self.length
    }
}

impl Quantised {
    /// The weights that the codes stand for, in the order of the codes; computed as `dequantize_linear` does.
    pub fn values(&self) -> Vec<f32> {
        let length = self.codes.len() / self.scales.len().max(1);
        let zero = |row: usize| self.zeros.as_ref().map_or(0, |z| i32::from(z[row]));
        let value = |(i, &code): (usize, &i8)| {
            let row = i / length;
            (f64::from(i32::from(code) - zero(row)) * f64::from(self.scales[row])) as f32
        };
        self.codes.iter().enumerate().map(value).collect()
    }
}

/// For each weight in order of rows, its position in the constant. Blocks need no mention: they are consecutive inputs.
pub fn positions(site: &Site) -> impl Iterator<Item = usize> + use<> {
    let (outputs, inputs, taps) = (site.outputs, site.inputs, site.taps());
    let (output_step, input_step) =
        if site.output_axis < site.input_axis { (inputs * taps, taps) } else { (taps, outputs * taps) };
    (0..outputs)
        .flat_map(move |o| (0..inputs).flat_map(move |i| (0..taps).map(move |t| o * output_step + i * input_step + t)))
}

/// Puts elements in order of rows back into the order of the constant.
pub fn scatter<T: Copy + Default>(site: &Site, rows: &[T]) -> Vec<T> {
    let mut out = vec![T::default(); rows.len()];
    for (&x, p) in rows.iter().zip(positions(site)) {
        out[p] = x;
    }
    out
}
