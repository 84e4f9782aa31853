//! From what is known of an activation to its parameters.

use super::histogram::{Extent, HALF, Histogram};
use super::kl;
use super::params::QParams;

/// Weight of the present batch in the moving average of EMA: that of MNN's training tool.
const MOMENTUM: f64 = 0.99;
/// Rounds of alternating least squares, MNN's number.
const ADMM_ROUNDS: usize = 300;
/// Candidate ends of a range that MSE tries: from all of it down to this share of it.
const SMALLEST_SHARE: f64 = 0.2;
const CANDIDATES: usize = 81;
/// Below this magnitude MNN calls a tensor empty.
const NOTHING: f32 = 1e-5;
/// Width times height below which MNN's KL takes the whole range: too few values for a distribution.
const FEW_PIXELS: usize = 100;

/// How the range of an activation is found.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Method {
    /// [`kl::threshold`], symmetric.
    Kl,
    /// Alternating least squares from a start, symmetric; on the histogram instead of on all values at once, which changes it by less than a
    /// hundredth of a step.
    Admm,
    /// Moving averages of the ends over batches of so many samples.
    Ema {
        /// Samples a batch.
        batch: usize,
    },
    /// The least and the largest value.
    MinMax,
    /// All but the outermost values: this share (of 1) on each side.
    Percentile(f64),
    /// Least sum of |error|^power. 2 is the mean square; more minds what is cut off more.
    Power(f64),
}

impl Method {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Kl => "KL",
            Method::Admm => "ADMM",
            Method::Ema { .. } => "EMA",
            Method::MinMax => "MINMAX",
            Method::Percentile(_) => "PERCENTILE",
            Method::Power(_) => "MSE",
        }
    }
}

/// What all activations have in common.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Spec {
    /// How ranges are found.
    pub method: Method,
    /// Whether zero points are free. KL and ADMM are symmetric by nature.
    pub asymmetric: bool,
    /// The integer that the end of a symmetric range gets, at most 127.
    pub clamp: i32,
}

/// What was seen of one activation, or of several that share parameters.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Extents of the samples, in order.
    pub extents: Vec<Extent>,
    /// All values.
    pub histogram: Histogram,
    /// Width times height; `None` if it is no image.
    pub pixels: Option<usize>,
}

/// Parameters and how they came about.
#[derive(Clone, PartialEq, Debug)]
pub struct Chosen {
    /// The parameters.
    pub params: QParams,
    /// Where the asked-for method could not be used: what was done instead and why.
    pub note: Option<String>,
}

impl Observed {
    /// The extent of all samples.
    pub fn extent(&self) -> Extent {
        self.extents.iter().fold(Extent::EMPTY, |a, &b| a.join(b))
    }

    /// Parameters by `spec`.
    pub fn choose(&self, spec: &Spec) -> Chosen {
        let all = self.extent();
        let magnitude = all.magnitude();
        let mut notes = Vec::new();
        if all.not_finite > 0 {
            notes.push(format!("{} values that are NaN or infinite were left out", all.not_finite));
        }
        let params = if all.min > all.max {
            notes.push("it has no finite value; scale 1".into());
            self.unit(spec)
        } else if magnitude <= NOTHING {
            notes.push(format!("it is zero in every sample (largest magnitude {magnitude:.0e}); scale 1"));
            self.unit(spec)
        } else {
            if all.min == all.max {
                notes.push(format!("it is {} in every sample", all.min));
            }
            self.of_method(spec, all)
        };
        Chosen { params, note: (!notes.is_empty()).then(|| notes.join("; ")) }
    }

    fn unit(&self, spec: &Spec) -> QParams {
        if spec.asymmetric {
            QParams::asymmetric(0.0, 255.0)
        } else {
            QParams::symmetric(f64::from(spec.clamp), spec.clamp)
        }
    }

    fn of_method(&self, spec: &Spec, all: Extent) -> QParams {
        let h = &self.histogram;
        let ends = |low: f64, high: f64| {
            if !spec.asymmetric {
                return QParams::symmetric(low.abs().max(high.abs()), spec.clamp);
            }
            let margin = 127 - spec.clamp;
            QParams::over(low, high, margin, 255 - margin)
        };
        match spec.method {
            Method::Kl => {
                let cut = match self.pixels {
                    Some(n) if n >= FEW_PIXELS => kl::threshold(&h.magnitudes()),
                    _ => HALF - 1,
                };
                QParams::symmetric((cut as f64 + 0.5) * h.width(), spec.clamp)
            }
            Method::Admm => least_squares(h, spec.clamp),
            Method::Ema { batch } => {
                let (low, high) = self.moving_average(batch);
                if spec.asymmetric {
                    // MNN's integers are -clamp..clamp; here they are 1..255 for a clamp of 127.
                    QParams::over(low, high, 128 - spec.clamp, 128 + spec.clamp)
                } else {
                    ends(low, high)
                }
            }
            Method::MinMax => ends(f64::from(all.min), f64::from(all.max)),
            Method::Percentile(share) => {
                let (low, high) = (h.quantile(1.0 - share), h.quantile(share));
                // So few values that all but a bin are zero: then the outermost are all there is.
                if low == 0.0 && high == 0.0 { ends(f64::from(all.min), f64::from(all.max)) } else { ends(low, high) }
            }
            Method::Power(power) => {
                let points = h.points();
                search(f64::from(all.min), f64::from(all.max), spec.asymmetric, |low, high| {
                    let params = ends(low, high);
                    (error(&points, &params, power), params)
                })
            }
        }
    }

    /// Moving averages of the least and largest value of each batch.
    fn moving_average(&self, batch: usize) -> (f64, f64) {
        let batches = self.extents.chunks(batch.max(1)).map(|b| b.iter().fold(Extent::EMPTY, |a, &b| a.join(b)));
        let mut average: Option<(f64, f64)> = None;
        for e in batches.filter(|e| e.min <= e.max) {
            let (min, max) = (f64::from(e.min), f64::from(e.max));
            average = Some(match average {
                None => (min, max),
                Some((a, b)) => (a * MOMENTUM + min * (1.0 - MOMENTUM), b * MOMENTUM + max * (1.0 - MOMENTUM)),
            });
        }
        average.unwrap_or_default()
    }
}

/// Sum of |error|^power over the points of a histogram.
fn error(points: &[(f64, f64)], params: &QParams, power: f64) -> f64 {
    let one = |&(x, n): &(f64, f64)| {
        let e = (params.rounded(x) - x).abs();
        n * if power == 2.0 { e * e } else { e.powf(power) }
    };
    points.iter().map(one).sum()
}

/// The best of ranges within `min..max`: the larger end first, then each end in turn with the other as it is.
fn search(min: f64, max: f64, two_ends: bool, evaluate: impl Fn(f64, f64) -> (f64, QParams)) -> QParams {
    let (min, max) = (min.min(0.0), max.max(0.0));
    let share = |i: usize| 1.0 - (1.0 - SMALLEST_SHARE) * i as f64 / (CANDIDATES - 1) as f64;
    let (mut low, mut high) = (1.0, 1.0);
    let mut best = evaluate(min, max);
    for round in 0..if two_ends && min < 0.0 && max > 0.0 { 3 } else { 1 } {
        for upper in [true, false] {
            if round > 0 || two_ends {
                // A side that does not exist needs no search.
                if (upper && max == 0.0) || (!upper && min == 0.0) {
                    continue;
                }
            } else if !upper {
                continue;
            }
            let (mut l, mut h) = (low, high);
            for i in 0..CANDIDATES {
                match (two_ends, upper) {
                    (false, _) => (l, h) = (share(i), share(i)),
                    (true, true) => h = share(i),
                    (true, false) => l = share(i),
                }
                let found = evaluate(min * l, max * h);
                if found.0 < best.0 {
                    (best, low, high) = (found, l, h);
                }
            }
        }
    }
    best.1
}

/// Scales and integers in turn, each least squares for the other.
fn least_squares(h: &Histogram, clamp: i32) -> QParams {
    let points = h.points();
    let limit = f64::from(clamp);
    let mut scale = f64::from(h.limit()) / (limit * 2.5);
    for _ in 0..ADMM_ROUNDS {
        let (mut qx, mut qq) = (0.0, 0.0);
        for &(x, n) in &points {
            let q = (x / scale).round().clamp(-limit, limit);
            (qx, qq) = (qx + n * q * x, qq + n * q * q);
        }
        if qq == 0.0 {
            break;
        }
        let next = qx / qq;
        if (next - scale).abs() <= 1e-12 * scale {
            break;
        }
        scale = next;
    }
    QParams::symmetric(scale * limit, clamp)
}

#[cfg(test)]
mod tests {
    use super::{Method, Observed, Spec, error};
    use crate::calibrate::{Extent, Histogram};

    fn observed(samples: &[Vec<f32>]) -> Observed {
        let extents: Vec<Extent> = samples.iter().map(|s| Extent::of(s)).collect();
        let all = extents.iter().fold(Extent::EMPTY, |a, &b| a.join(b));
        let mut histogram = Histogram::new(all.magnitude());
        samples.iter().for_each(|s| histogram.add(s));
        Observed { extents, histogram, pixels: Some(1000) }
    }

    /// Quantiles of the normal distribution, by inversion of its logistic approximation: good enough to know where its mass is.
    fn normal(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| {
                let p = (i as f64 + 0.5) / n as f64;
                ((p / (1.0 - p)).ln() / 1.702) as f32
            })
            .collect()
    }

    fn spec(method: Method, asymmetric: bool) -> Spec {
        Spec { method, asymmetric, clamp: 127 }
    }

    #[test]
    fn min_max_and_percentiles_end_where_they_say() {
        let o = observed(&[(0..=1000).map(|i| i as f32 / 1000.0).collect()]);
        let p = o.choose(&spec(Method::MinMax, true)).params;
        assert_eq!(p.zero, 0);
        assert!((p.range().1 - 1.0).abs() < 1e-5);
        let p = o.choose(&spec(Method::Percentile(0.9), true)).params;
        assert!((p.range().1 - 0.9).abs() < 2e-3, "{p:?}");
        let p = o.choose(&Spec { clamp: 120, ..spec(Method::MinMax, false) }).params;
        assert!((p.scale - 1.0 / 120.0).abs() < 1e-7, "{p:?}");
    }

    #[test]
    fn search_finds_less_noise_than_least_squares_and_the_whole_range() {
        let o = observed(&[normal(100_000)]);
        let noise = |method| error(&o.histogram.points(), &o.choose(&spec(method, false)).params, 2.0);
        // Alternating steps end in the first minimum that they come to, which here, with long tails, is none of the best.
        let (admm, mse, minmax) = (noise(Method::Admm), noise(Method::Power(2.0)), noise(Method::MinMax));
        assert!(mse <= admm && mse < 0.9 * minmax, "{mse} {admm} {minmax}");
        // A search cuts, and with a higher power it cuts less.
        let mse = o.choose(&spec(Method::Power(2.0), false)).params.scale;
        let whole = o.choose(&spec(Method::MinMax, false)).params.scale;
        let fourth = o.choose(&spec(Method::Power(4.0), false)).params.scale;
        assert!(mse < fourth && fourth <= whole, "{mse} {fourth} {whole}");
    }

    #[test]
    fn the_moving_average_hardly_minds_one_wild_sample() {
        let mut samples = vec![vec![-1.0, 1.0]; 9];
        samples.push(vec![-1.0, 101.0]);
        let o = observed(&samples);
        let p = o.choose(&spec(Method::Ema { batch: 1 }, true)).params;
        // 1 + 0.01 * 100 at the upper end, over 254 integers.
        assert!((f64::from(p.scale) - 3.0 / 254.0).abs() < 1e-6, "{p:?}");
    }

    #[test]
    fn what_has_no_range_gets_a_safe_one_and_a_note() {
        let note = |values: Vec<f32>, method| {
            let chosen = observed(&[values]).choose(&spec(method, true));
            assert!(chosen.params.scale.is_finite() && chosen.params.scale > 0.0);
            (chosen.params, chosen.note.unwrap_or_default())
        };
        for method in [Method::MinMax, Method::Power(2.0), Method::Percentile(0.999), Method::Ema { batch: 4 }] {
            assert!(note(vec![0.0; 50], method).1.contains("zero in every sample"));
            assert!(note(vec![f32::NAN; 50], method).1.contains("no finite value"));
            assert!(note(vec![1.0, f32::INFINITY, 0.5], method).1.contains("1 values that are NaN"));
            let (p, text) = note(vec![3.0; 50], method);
            assert!(text.contains("3 in every sample"));
            assert!((p.rounded(3.0) - 3.0).abs() < 0.02, "{method:?} {p:?}");
        }
    }
}
