//! Whether a dense 3x3 convolution is faster by transformed tiles.

use super::points::Size;
use crate::families::tile::split_evenly;
use mnnc_vector::Target;

/// A 3x3 convolution of stride 1.
#[derive(Copy, Clone, Debug)]
pub struct Problem {
    /// Images.
    pub images: usize,
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Output rows and columns.
    pub out: [usize; 2],
}

/// Tiles that are transformed at once: their products should stay in L2 between the steps.
const BAND: usize = 28;

/// Rows of tiles in a band, for `tiles` rows and columns of them.
pub fn band_rows(tiles: [usize; 2]) -> usize {
    let rows = (BAND / tiles[1]).max(1);
    // Small images are one band, so that the weights are read once.
    if tiles[0] * tiles[1] <= 50 { tiles[0] } else { split_evenly(tiles[0], rows)[0].0 }
}

/// The cheapest way, or `None` for the direct one.
pub fn choose(p: &Problem, target: &Target) -> Option<Size> {
    let direct = direct_cycles(p, target);
    [Size::F4, Size::F2]
        .into_iter()
        .map(|s| (s, cycles(p, s, target)))
        .filter(|(_, c)| *c < 0.9 * direct)
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(s, _)| s)
}

/// Two fused multiply-adds of full width a cycle.
fn flops_per_cycle(target: &Target) -> f64 {
    4.0 * target.lanes() as f64
}

fn direct_cycles(p: &Problem, target: &Target) -> f64 {
    let flops = 18.0 * (p.images * p.channels[0] * p.channels[1] * p.out[0] * p.out[1]) as f64;
    flops / (0.95 * flops_per_cycle(target))
}

fn cycles(p: &Problem, size: Size, target: &Target) -> f64 {
    let tiles: [usize; 2] = std::array::from_fn(|d| p.out[d].div_ceil(size.outputs()));
    let bands = p.images * tiles[0].div_ceil(band_rows(tiles));
    let count = (p.images * tiles[0] * tiles[1]) as f64;
    let products = size.products() as f64;
    let [inputs, outputs] = p.channels.map(|c| c as f64);
    let multiply = 2.0 * count * products * inputs * outputs / (0.9 * flops_per_cycle(target));
    // Transformed weights are read once a band: from L2, L3 or memory at about these bytes a cycle (measured).
    let weights = 4.0 * products * inputs * outputs;
    let rate = if weights < 512e3 {
        45.0
    } else if weights < 6e6 {
        26.0
    } else {
        9.5
    };
    let stream = weights * bands as f64 / rate;
    // Loads, stores and additions of the transforms, about 3.5 cycles a vector of products there and 2.5 back.
    let vectors = count * products / target.lanes() as f64;
    let transforms = vectors * (3.5 * inputs + 2.5 * outputs);
    multiply.max(stream) + transforms
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The choices that measured best on the reference core.
    #[test]
    fn the_measured_choices_come_out() {
        let size = |c: usize, n: usize| choose(&Problem { images: 1, channels: [c, c], out: [n, n] }, &Target::AVX512);
        assert_eq!(size(64, 56), Some(Size::F4));
        assert_eq!(size(128, 28), Some(Size::F4));
        assert_eq!(size(256, 14), Some(Size::F4));
        assert_eq!(size(512, 7), Some(Size::F2));
    }
}
