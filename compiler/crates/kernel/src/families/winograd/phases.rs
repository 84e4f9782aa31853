//! The tiles of an image, and of a dilated convolution's polyphase components: the pixels of every `d`-th row and column, beginning at each of
//! the first `d`, are images of their own that a filter without dilation passes over. So tiles save products there, too, and only a
//! phase's own border is computed in vain.
//!
//! Phases of rows are treated as images of a batch; the tiles of all phases of columns lie in one row of tiles, phase after phase. All phases
//! have the tiles of the first, which no other exceeds.

use super::Size;
use crate::cost::Problem;

/// How an image of outputs is cut.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Phases {
    /// Rows and columns of the outputs.
    out: [usize; 2],
    /// Pixels from one of a phase to the next: the dilation.
    pub step: [usize; 2],
    /// Outputs of a tile along each dimension.
    outputs: [usize; 2],
    /// Taps of the filter.
    taps: [usize; 2],
}

impl Phases {
    /// Of a problem, in tiles of this size.
    pub fn new(p: &Problem, size: Size) -> Phases {
        let taps = size.taps();
        // A single tap has no other that it could be apart from.
        let step = [0, 1].map(|d| if taps[d] > 1 { p.window.dilation[d] } else { 1 });
        Phases { out: p.out, step, outputs: [0, 1].map(|d| size.outputs(d)), taps }
    }

    /// Phases along a dimension, each with an output at least.
    pub fn count(&self, d: usize) -> usize {
        self.step[d].min(self.out[d])
    }

    /// Outputs of a phase along a dimension.
    pub fn extent(&self, d: usize, phase: usize) -> usize {
        (self.out[d] - phase).div_ceil(self.step[d])
    }

    /// Runs of phases along a dimension with equally many outputs, the longer ones first: `(outputs, how many)`.
    pub fn runs(&self, d: usize) -> Vec<(usize, usize)> {
        let (count, most) = (self.count(d), self.extent(d, 0));
        let long = (0..count).take_while(|&p| self.extent(d, p) == most).count();
        let runs = [(most, long), (most - 1, count - long)];
        runs.into_iter().filter(|r| r.1 > 0).collect()
    }

    /// Tiles along a dimension of one phase.
    pub fn tiles(&self, d: usize) -> usize {
        self.extent(d, 0).div_ceil(self.outputs[d])
    }

    /// Rows of tiles of one phase of rows, and tiles of such a row.
    pub fn grid(&self) -> [usize; 2] {
        [self.tiles(0), self.count(1) * self.tiles(1)]
    }

    /// Inputs that the tiles read along a dimension, from the first tap on.
    pub fn reach(&self, d: usize) -> usize {
        self.count(d) + (self.tiles(d) * self.outputs[d] + self.taps[d] - 2) * self.step[d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_belongs_to_one_phase() {
        for (out, step) in [(1, 1), (33, 1), (33, 2), (33, 18), (30, 4), (7, 12), (12, 12), (13, 6)] {
            for outputs in [2, 4] {
                let p = Phases { out: [out, 1], step: [step, 1], outputs: [outputs; 2], taps: [3; 2] };
                let runs = p.runs(0);
                assert_eq!(runs.iter().map(|(n, count)| n * count).sum::<usize>(), out, "{out} by {step}");
                assert_eq!(runs.iter().map(|r| r.1).sum::<usize>(), p.count(0));
                assert!(p.tiles(0) * outputs >= p.extent(0, 0));
                // The last output of the last phase has its taps.
                assert!(p.reach(0) > out - 1 + 2 * step);
            }
        }
    }
}
