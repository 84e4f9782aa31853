//! Prefetching of the input that the same tap of the next plane of channels reads.
//!
//! A deep reduction reads more input for each tile than L1 keeps until the next tile comes. Each tap of each plane then begins with a row
//! of lines that wait in L2 or beyond, farther than the instructions in flight reach (measured on Zen 5: dilated 3x3 convolutions of 320 and 512 channels
//! 1.1 to 1.2 times faster, 1x1 ones of 1280 channels 1.04).

use super::order::Nest;
use super::spec::Spec;
use crate::families::tile::Tile;
use mnnc_vector::{Gpr, Hint, KernelBuilder};

/// A cache line.
const LINE: usize = 64;
/// Bytes of input of one tile that L1 keeps beside the weights that pass through it.
const KEPT: usize = 16 << 10;

/// The lines of the next plane under a tile at a tap, as displacements from the tap's input in this plane; empty where
/// fetching them does not pay. `level` is that of the loop about to be written.
pub(super) fn lines(spec: &Spec, nest: &Nest, level: usize, tile: Tile) -> Vec<i32> {
    let innermost = level + 1 == nest.loops.len() && nest.loops[level].window().is_none();
    let planes: usize = nest.loops[..level].iter().filter(|l| l.window().is_none()).map(|l| l.count).product();
    if !innermost || planes == 1 || tile_bytes(spec, tile) <= KEPT {
        return Vec::new();
    }
    let [down, right] = [spec.window.stride[0] * spec.input.row, spec.window.stride[1] * spec.input.pixel];
    let pixels = (0..tile.pixels()).map(|p| p / tile.cols * down + p % tile.cols * right);
    let mut lines: Vec<usize> = pixels.map(|at| at / LINE * LINE + spec.input.plane).collect();
    lines.dedup();
    lines.into_iter().filter_map(|at| i32::try_from(at).ok()).collect()
}

/// Emits the fetches.
pub(super) fn prefetch(b: &mut KernelBuilder, input: Gpr, lines: &[i32]) {
    for &at in lines {
        b.prefetch(Hint::L1, input.at(at));
    }
}

/// Bytes of input under all taps of a tile, what taps share counted once.
fn tile_bytes(spec: &Spec, tile: Tile) -> usize {
    let w = &spec.window;
    let under =
        |d: usize, n: usize| (n * w.kernel[d]).min((n - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] + 1);
    let planes = spec.channels_in.div_ceil(spec.block_in);
    planes * under(0, tile.rows) * under(1, tile.cols) * (4 * spec.block_in)
}
