//! Whether a result is right: element by element against a reference.

use mnnc_ir::Tensor;

/// How far an element may be from its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// For every element.
    pub absolute: f64,
    /// For each unit of the reference's magnitude.
    pub relative: f64,
}

impl Tolerance {
    /// For single precision: `1e-4 + 1e-3 |ref|`.
    pub const F32: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-3 };

    /// For a layer inside a network: as [`F32`](Self::F32), but in units of the layer's largest value where that exceeds
    /// 1. Inside, small elements carry the rounding of the large ones that they are differences of.
    pub fn of_layer(reference: &Tensor) -> Tolerance {
        let largest = reference.to_f64s().into_iter().filter(|v| v.is_finite()).fold(1.0, |m: f64, v| m.max(v.abs()));
        Tolerance { absolute: Self::F32.absolute * largest, ..Self::F32 }
    }

    /// What an element with this reference may be off.
    pub fn of(self, reference: f64) -> f64 {
        self.absolute + self.relative * reference.abs()
    }
}

/// How far a tensor is from its reference, at its worst element.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deviation {
    /// Largest absolute difference.
    pub absolute: f64,
    /// Largest difference as a multiple of what the tolerance allows: right up to 1.
    pub excess: f64,
    /// Position of the element with the largest excess, in row-major order.
    pub index: usize,
    /// What was computed there.
    pub got: f64,
    /// What the reference is there.
    pub want: f64,
    /// Root of the mean square of all differences, as a share of that of the reference.
    pub rms: f64,
}

impl Deviation {
    /// The same judged as a whole, as reduced precision is: by the share that [`rms`](Self::rms) is of `bound`.
    pub fn judged_by_rms(self, bound: f64) -> Deviation {
        Deviation { excess: self.rms / bound, ..self }
    }

    /// How far the reference is above the differences, in decibels.
    pub fn decibels(&self) -> f64 {
        -20.0 * self.rms.log10()
    }

    /// Whether every element is within the tolerance.
    pub fn is_within(&self) -> bool {
        self.excess <= 1.0
    }
}

/// Compares `got` with `reference`. Equal infinities and NaNs agree; other non-finite values are infinitely far off.
///
/// # Errors
/// Element type or shape differ.
pub fn compare(reference: &Tensor, got: &Tensor, tolerance: Tolerance) -> Result<Deviation, String> {
    if (reference.dtype(), reference.dims()) != (got.dtype(), got.dims()) {
        return Err(format!(
            "{}{:?} was expected, {}{:?} came out",
            reference.dtype(),
            reference.dims(),
            got.dtype(),
            got.dims()
        ));
    }
    let exact = !reference.dtype().is_float();
    let mut worst = Deviation::default();
    let (mut noise, mut signal) = (0.0f64, 0.0f64);
    for (index, (want, got)) in reference.to_f64s().into_iter().zip(got.to_f64s()).enumerate() {
        if want.is_finite() {
            signal += want * want;
        }
        if want == got || (want.is_nan() && got.is_nan()) {
            continue;
        }
        let off = (want - got).abs();
        let off = if off.is_nan() { f64::INFINITY } else { off };
        let allowed = if exact { 0.0 } else { tolerance.of(want) };
        let excess = if off.is_finite() && allowed.is_finite() { off / allowed } else { f64::INFINITY };
        worst.absolute = worst.absolute.max(off);
        noise += off * off;
        if excess > worst.excess {
            worst = Deviation { excess, index, got, want, ..worst };
        }
    }
    if noise > 0.0 {
        worst.rms = (noise / signal.max(f64::MIN_POSITIVE)).sqrt();
    }
    Ok(worst)
}

/// Power of all differences of the outputs of several runs, relative to that of the reference; infinite where an output is no number.
pub fn noise(reference: &[Vec<Tensor>], outputs: &[Vec<Tensor>]) -> f64 {
    let (mut noise, mut signal) = (0.0, 0.0);
    for (want, got) in reference.iter().zip(outputs).flat_map(|(a, b)| a.iter().zip(b)) {
        for (a, b) in want.to_f64s().into_iter().zip(got.to_f64s()) {
            noise += (a - b) * (a - b);
            signal += a * a;
        }
    }
    let relative: f64 = noise / signal.max(f64::MIN_POSITIVE);
    if relative.is_finite() { relative } else { f64::INFINITY }
}

/// A relative power in decibels: `-10 log10(noise)`; infinite for none.
pub fn decibels(noise: f64) -> f64 {
    -10.0 * noise.log10()
}

#[cfg(test)]
mod tests {
    use mnnc_ir::Tensor;

    use super::{Tolerance, compare};

    fn excess(want: &[f32], got: &[f32]) -> f64 {
        let tensor = |v: &[f32]| Tensor::new([v.len()], v.to_vec());
        compare(&tensor(want), &tensor(got), Tolerance::F32).unwrap().excess
    }

    #[test]
    fn the_bound_is_that_of_the_contract() {
        assert!((excess(&[0.0, 10.0], &[0.5e-4, 10.0]) - 0.5).abs() < 1e-3);
        assert!((excess(&[1000.0], &[1002.0]) - 2.0).abs() < 1e-3);
    }

    #[test]
    fn non_finite_values_agree_only_with_their_like() {
        assert_eq!(excess(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]), 0.0);
        assert_eq!(excess(&[1.0], &[f32::NAN]), f64::INFINITY);
        assert_eq!(excess(&[f32::INFINITY], &[1.0]), f64::INFINITY);
        assert_eq!(excess(&[1.0], &[f32::NEG_INFINITY]), f64::INFINITY);
    }

    #[test]
    fn the_whole_is_judged_by_mean_squares() {
        let tensor = |v: &[f32]| Tensor::new([v.len()], v.to_vec());
        let d = compare(&tensor(&[3.0, 4.0]), &tensor(&[3.0, 4.5]), Tolerance::F32).unwrap();
        assert!((d.rms - 0.1).abs() < 1e-9 && (d.decibels() - 20.0).abs() < 1e-6);
        assert!(d.judged_by_rms(0.11).is_within() && !d.judged_by_rms(0.09).is_within());
        assert_eq!(compare(&tensor(&[1.0]), &tensor(&[1.0]), Tolerance::F32).unwrap().rms, 0.0);
        assert_eq!(compare(&tensor(&[1.0]), &tensor(&[f32::NAN]), Tolerance::F32).unwrap().rms, f64::INFINITY);
    }

    #[test]
    fn integers_are_exact_and_types_must_agree() {
        let a = Tensor::new([1], vec![3i64]);
        assert!(!compare(&a, &Tensor::new([1], vec![4i64]), Tolerance::F32).unwrap().is_within());
        assert!(compare(&a, &Tensor::new([1, 1], vec![3i64]), Tolerance::F32).is_err());
        assert!(compare(&a, &Tensor::new([1], vec![3i32]), Tolerance::F32).is_err());
    }
}
