//! `.mnn`: the tables of `schema/mnn.fbs`.
//!
//! For each table there is a view of a verified buffer ([`Net`]) and an owned
//! form ([`NetT`]) whose `pack` writes it. [`root`] is the only way to a view:
//! it runs the FlatBuffers verifier, so that a view never reads out of bounds.
//! Meaning is not checked here: an index may point nowhere, a constant may
//! hold fewer elements than its dims say.

// Generated; type names are the format's own.
#![allow(clippy::all, dead_code, non_camel_case_types)]

use flatbuffers::VerifierOptions;

include!(concat!(env!("OUT_DIR"), "/mnn.rs"));

/// The most tables that a file may hold; MNN's own loader has the same bound.
const MAX_TABLES: usize = 1_000_000;

/// The model in `bytes`.
///
/// # Errors
/// What the FlatBuffers verifier found: an offset out of bounds or out of
/// alignment, text that is not UTF-8, tables nested deeper than 64.
pub fn root(bytes: &[u8]) -> Result<Net<'_>, InvalidFlatbuffer> {
    let options = VerifierOptions {
        max_depth: 64,
        max_tables: MAX_TABLES,
        // Strings and tables may be shared: what they seem to take may exceed the file.
        max_apparent_size: 1 << 31,
        ignore_missing_null_terminator: false,
    };
    flatbuffers::root_with_opts::<Net>(&options, bytes)
}

/// `net` as the bytes of a file. `capacity` is a guess at their number.
pub fn finish(net: NetT, capacity: usize) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::with_capacity(capacity);
    let root = net.pack(&mut builder);
    builder.finish(root, None);
    let (mut buffer, head) = builder.collapse();
    buffer.drain(..head);
    buffer
}

/// The bias of a channel of a depthwise convolution between int8 tensors. The engine adds it to the sums of integers: it cuts it to a whole number of
/// units, input scale times weight scale, and the zero point of the result likewise.
#[derive(Copy, Clone, Debug)]
pub struct DepthwiseBias {
    unit: f32,
    /// The result's zero point in units, cut and exact.
    zero: (i32, f64),
}

impl DepthwiseBias {
    /// For a weight's scale, the input's, and the result's with its zero point in `i8`.
    pub fn new(weight: f32, input: f32, (output, zero): (f32, i32)) -> DepthwiseBias {
        let weight = if weight.abs() < 1e-6 { 1e-6 } else { weight };
        // In the engine's order of operations.
        let zero_units = (zero as f32 / (weight * (input / output))) as i32;
        let unit = input * weight;
        DepthwiseBias { unit, zero: (zero_units, f64::from(zero) * f64::from(output) / f64::from(unit)) }
    }
    fn units(&self, bias: f32) -> i32 {
        (bias / self.unit) as i32
    }
    fn value(&self, units: i32) -> f32 {
        ((f64::from(units) + (f64::from(self.zero.0) - self.zero.1)) * f64::from(self.unit)) as f32
    }
    /// What a bias in the file means.
    pub fn meaning(&self, stored: f32) -> f32 {
        self.value(self.units(stored))
    }
    /// The bias to store for the nearest meaning.
    pub fn stored(&self, bias: f32) -> f32 {
        let units = (f64::from(bias) / f64::from(self.unit) - (f64::from(self.zero.0) - self.zero.1)).round();
        // Half a unit away from 0, so that no rounding of the quotient changes what it is cut to.
        let half = if units == 0.0 { 0.0 } else { 0.5f64.copysign(units) };
        ((units + half) * f64::from(self.unit)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::DepthwiseBias;

    #[test]
    fn a_stored_bias_means_the_nearest_that_there_is() {
        for (weight, zero) in [(0.01, 0), (0.3, -128), (-0.02, 17)] {
            let rule = DepthwiseBias::new(weight, 0.02, (0.05, zero));
            for i in -50..50 {
                let bias = 0.0137 * i as f32;
                let meaning = rule.meaning(rule.stored(bias));
                assert!((meaning - bias).abs() <= 0.501 * (0.02 * weight).abs(), "{bias} became {meaning}");
                assert_eq!(rule.meaning(rule.stored(meaning)), meaning);
            }
        }
        // Cut towards 0, not rounded.
        assert_eq!(DepthwiseBias::new(1.0, 1.0, (1.0, 0)).meaning(-2.9), -2.0);
    }
}
