//! Taps that read nothing but the border, which widely dilated filters have many of, and which are left out.
//!
//! A filter row or column is left out for a tile if it lies outside the image for all of the tile's pixels.

use super::spec::Window;
use crate::families::walk::advance;
use mnnc_vector::{Cond, Gpr, KernelBuilder, Var};
use std::ops::Range;

/// Where the image lies in its frame.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Border {
    /// What lies before the image: rows above it, columns left of it.
    pub before: [usize; 2],
    /// Rows and columns of the image.
    pub size: [usize; 2],
    /// Whether a few taps are worth it: a comparison for each is little beside vectors of products, and much beside AMX tiles.
    pub thin: bool,
}

/// Most of the work that may be left for leaving out taps to pay, thin borders not counted and counted.
const WORTH: [f64; 2] = [0.9, 0.98];

/// Least steps of the reduction that leaving out must save a tile: it costs about as many cycles as a few of them.
const STEPS: f64 = 8.0;

/// Longest filter of which taps are left out: each is a comparison in every tile.
pub const LONGEST: usize = 16;

impl Border {
    /// The border, if it is worth leaving out of a convolution of these outputs, whose sums are of `depth` steps: by pixels, of which tiles reach a
    /// part.
    pub fn worth(self, w: &Window, out: [usize; 2], depth: usize) -> Option<Border> {
        let left = |d: usize| if self.pays(w, out, d, 1) { self.share(w, out, d, 1) } else { 1.0 };
        let left = left(0) * left(1);
        (left < self.most_left() && (1.0 - left) * depth as f64 >= STEPS).then_some(self)
    }

    fn most_left(&self) -> f64 {
        WORTH[usize::from(self.thin)]
    }

    /// Taps of dimension `d` that read the image in a tile of `n` outputs from output `at` on.
    fn taps(&self, w: &Window, d: usize, at: usize, n: usize) -> Range<usize> {
        let [first, last] = [at, at + n - 1].map(|o| o * w.stride[d]);
        let [begin, end] = [self.before[d].saturating_sub(last), (self.before[d] + self.size[d]).saturating_sub(first)]
            .map(|inputs| inputs.div_ceil(w.dilation[d]).min(w.kernel[d]));
        begin..end.max(begin)
    }

    /// What is left of the work along dimension `d` of outputs cut into tiles of `tile`.
    pub fn share(&self, w: &Window, out: [usize; 2], d: usize, tile: usize) -> f64 {
        let extent = |at: usize| tile.min(out[d] - at);
        let read: usize = (0..out[d]).step_by(tile).map(|at| extent(at) * self.taps(w, d, at, extent(at)).len()).sum();
        read as f64 / (out[d] * w.kernel[d]) as f64
    }

    /// Whether a kernel with tiles of `tile` outputs along dimension `d` leaves out taps of it.
    pub fn pays(&self, w: &Window, out: [usize; 2], d: usize, tile: usize) -> bool {
        (2..=LONGEST).contains(&w.kernel[d]) && self.share(w, out, d, tile) < self.most_left()
    }

    /// The border along each dimension of the filter of which kernels with such tiles leave out taps; a tile of no extent leaves out none.
    pub fn left_out(border: Option<Border>, w: &Window, out: [usize; 2], tile: [usize; 2]) -> [Option<Border>; 2] {
        [0, 1].map(|d| border.filter(|b| tile[d] > 0 && b.pays(w, out, d, tile[d])))
    }

    /// Emits what [`taps`](Self::taps) says, for outputs from `at` on: the first tap and how many there are.
    pub fn emit(&self, b: &mut KernelBuilder, w: &Window, d: usize, at: Gpr, n: usize) -> Taps {
        let scaled = b.int_mul(at, w.stride[d] as i32);
        let [zero, one] = [0, 1].map(|i| b.int(i));
        // How many taps read before `bound`, counted from the frame's first pixel on.
        let below = |b: &mut KernelBuilder, bound: i64| {
            (0..w.kernel[d]).fold(zero, |count, k| {
                let counts = b.int_select(Cond::Lt, scaled, (bound - (k * w.dilation[d]) as i64) as i32, one, zero);
                b.int_add(count, counts)
            })
        };
        let before = self.before[d] as i64;
        let first = below(b, before - ((n - 1) * w.stride[d]) as i64);
        let end = below(b, before + self.size[d] as i64);
        Taps { first, count: b.int_sub(end, first) }
    }
}

/// Taps of a filter along one dimension.
#[derive(Copy, Clone)]
pub struct Taps {
    /// The first.
    pub first: Gpr,
    /// How many.
    pub count: Gpr,
}

impl Taps {
    /// Emits a loop over these of `all` taps. `once` moves each pointer by its stride, and they end where all taps would have taken them.
    pub fn repeat(
        &self,
        b: &mut KernelBuilder,
        all: usize,
        pointers: [(Var<Gpr>, usize); 2],
        once: impl FnOnce(&mut KernelBuilder),
    ) {
        let move_by = |b: &mut KernelBuilder, taps: Gpr| {
            for (pointer, stride) in pointers {
                let now = b.get(pointer);
                let moved = advance(b, now, taps, stride);
                b.set(pointer, moved);
            }
        };
        move_by(b, self.first);
        b.repeat_dyn(self.count, once);
        let behind = b.int_add(self.first, self.count);
        let all = b.int(all as i64);
        let left = b.int_sub(all, behind);
        move_by(b, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_that_read_the_image_are_kept() {
        for (kernel, stride, dilation, before, size) in [
            (3, 1, 6, 6, 33),
            (3, 1, 18, 18, 33),
            (3, 2, 4, 4, 19),
            (5, 1, 7, 3, 20),
            (2, 1, 9, 0, 30),
            (3, 3, 11, 20, 9),
        ] {
            let w = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [dilation; 2] };
            let border = Border { before: [before; 2], size: [size; 2], thin: false };
            let reads = |o: usize, k: usize| (before..before + size).contains(&(o * stride + k * dilation));
            for at in 0..25 {
                for n in 1..9 {
                    let kept = border.taps(&w, 0, at, n);
                    for k in (0..kernel).filter(|k| !kept.contains(k)) {
                        assert!((at..at + n).all(|o| !reads(o, k)), "{border:?} {w:?}: tap {k} of {n} from {at}");
                    }
                }
                assert!(
                    (0..kernel).all(|k| border.taps(&w, 1, at, 1).contains(&k) == reads(at, k)),
                    "{border:?} {w:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_left_depends_on_the_tile() {
        let w = Window { kernel: [3; 2], stride: [1; 2], dilation: [18; 2] };
        let border = Border { before: [18; 2], size: [33; 2], thin: false };
        assert_eq!(border.share(&w, [33; 2], 0, 1), 63.0 / 99.0);
        assert_eq!(border.share(&w, [33; 2], 0, 33), 1.0);
        assert!(border.worth(&w, [33; 2], 9 * 64).is_some());
        let near = Window { dilation: [1; 2], ..w };
        let plain = |n: usize, thin: bool| Border { before: [1; 2], size: [n; 2], thin }.worth(&near, [n; 2], 9 * 64);
        assert!(plain(28, false).is_none() && plain(28, true).is_some() && plain(112, true).is_none());
        // Tens of millions of taps, as a hostile model may have.
        let long = Window { kernel: [1, 40_000_000], stride: [1; 2], dilation: [1; 2] };
        let border = Border { before: [0, 39_999_999], size: [1, 1], thin: true };
        assert!(border.worth(&long, [1, 40_000_000], 40_000_000).is_none());
    }
}
