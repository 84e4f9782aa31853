//! Counting hits and noise.

use serde::Serialize;

/// Sums over pictures; [`finish`](Self::finish) says what they mean.
#[derive(Clone, Debug, Default)]
pub struct Score {
    pictures: usize,
    labelled: usize,
    top1: usize,
    top5: usize,
    compared: usize,
    agree: usize,
    signal: f64,
    noise: f64,
}

/// How good results are. Shares are of 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Accuracy {
    /// Pictures seen.
    pub pictures: usize,
    /// Share of labelled pictures whose class has the largest output.
    pub top1: Option<f64>,
    /// Share of labelled pictures whose class is among the five largest outputs.
    pub top5: Option<f64>,
    /// Share of pictures with the same largest output as the reference.
    pub agreement: Option<f64>,
    /// `10 log10(sum ref^2 / sum (ref - got)^2)` over all outputs of all pictures, in decibels; infinite without any difference.
    pub sqnr: Option<f64>,
}

impl Score {
    /// Counts one picture: its class if known, what it should have given if known, and what came out. Results that are not numbers are wrong.
    pub fn add(&mut self, class: Option<usize>, reference: Option<&[f32]>, got: &[f32]) {
        self.pictures += 1;
        if let Some(class) = class {
            let rank = rank(got, class);
            self.labelled += 1;
            self.top1 += usize::from(rank == Some(0));
            self.top5 += usize::from(rank.is_some_and(|r| r < 5));
        }
        if let Some(reference) = reference {
            self.compared += 1;
            self.agree += usize::from(largest(reference).is_some() && largest(reference) == largest(got));
            for (&r, &x) in reference.iter().zip(got) {
                let (r, d) = (f64::from(r), f64::from(r) - f64::from(x));
                self.signal += r * r;
                self.noise += d * d;
            }
        }
    }

    /// The shares so far.
    pub fn finish(&self) -> Accuracy {
        let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
        let sqnr = (self.compared > 0).then(|| 10.0 * (self.signal / self.noise).log10());
        Accuracy {
            pictures: self.pictures,
            top1: share(self.top1, self.labelled),
            top5: share(self.top5, self.labelled),
            agreement: share(self.agree, self.compared),
            sqnr,
        }
    }
}

/// How many outputs are larger than that of `class`, the first of equal ones counting as larger.
fn rank(outputs: &[f32], class: usize) -> Option<usize> {
    let own = *outputs.get(class).filter(|x| !x.is_nan())?;
    Some(outputs.iter().enumerate().filter(|&(i, &x)| x > own || (x == own && i < class) || x.is_nan()).count())
}

/// Position of the largest output, the first of equal ones.
fn largest(outputs: &[f32]) -> Option<usize> {
    (0..outputs.len())
        .reduce(|best, i| if outputs[i] > outputs[best] { i } else { best })
        .filter(|&i| !outputs[i].is_nan())
}

#[cfg(test)]
mod tests {
    use super::Score;

    #[test]
    fn hits_and_noise_are_counted() {
        let mut score = Score::default();
        let out = [0.0f32, 3.0, 1.0, 2.0, -1.0, -2.0, 0.5];
        score.add(Some(1), Some(&out), &out);
        score.add(Some(4), Some(&out), &out);
        score.add(Some(0), None, &out);
        score.add(Some(99), None, &out);
        let a = score.finish();
        assert_eq!((a.pictures, a.top1, a.top5), (4, Some(0.25), Some(0.5)));
        assert_eq!((a.agreement, a.sqnr), (Some(1.0), Some(f64::INFINITY)));
        let mut score = Score::default();
        score.add(None, Some(&[3.0, 4.0]), &[3.0, 4.5]);
        assert!((score.finish().sqnr.unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(score.finish().top1, None);
    }

    #[test]
    fn what_is_no_number_is_wrong() {
        let mut score = Score::default();
        score.add(Some(0), Some(&[1.0, 0.0]), &[f32::NAN, f32::NAN]);
        score.add(Some(1), Some(&[0.0, 1.0]), &[f32::NAN, 1.0]);
        let a = score.finish();
        assert_eq!((a.top1, a.agreement), (Some(0.0), Some(0.0)));
    }
}
