//! Convolution in small groups, several of them to a vector of channels: what a vector of inputs holds of its groups' first channels is copied
//! to all lanes of these groups and multiplied, then their second channels, and so on. Nothing is multiplied by zero, as it would be if the groups
//! of a vector were one dense filter.

use super::Spec;
use super::input::Input;
use super::sum::users;
use crate::families::igemm::spec::Window;
use crate::families::tile::Tile;
use crate::families::walk::{bump, load};
use mnnc_vector::{Gpr, KernelBuilder, Target, Var, Vector};

/// Most accumulators of a tile.
const PIXELS: usize = 20;

/// Whether groups of so many inputs and outputs fill vectors, several of them to each.
pub fn fits(inputs: usize, outputs: usize, target: &Target) -> bool {
    let lanes = target.lanes();
    target.is_x64() && inputs == outputs && (2..lanes).contains(&inputs) && lanes.is_multiple_of(inputs)
}

/// Accumulators of a tile: beside them a row of the filter, an input and the order of its lanes are in registers.
pub(super) fn pixels(window: &Window, target: &Target) -> usize {
    target.vec_regs().saturating_sub(window.kernel[1].min(3) + 3).clamp(4, PIXELS)
}

/// Vectors of weights for a channel of the groups: where its inputs are, and the taps.
pub(super) fn vectors(window: &Window) -> usize {
    1 + window.kernel[0] * window.kernel[1]
}

/// Packs weights `[output][channel of its group][tap]` as `[block][channel][lanes that hold it, taps][lane]`, so many blocks, zero beyond the last
/// output.
pub(super) fn pack(values: &[f32], depth: usize, taps: usize, blocks: usize, lanes: usize) -> Vec<u8> {
    let mut packed = vec![0u32; blocks * depth * (1 + taps) * lanes];
    for (i, vector) in packed.chunks_exact_mut(lanes).enumerate() {
        let (at, tap) = (i / (1 + taps), i % (1 + taps));
        let (block, channel) = (at / depth, at % depth);
        for (lane, word) in vector.iter_mut().enumerate() {
            let weights = ((block * lanes + lane) * depth + channel) * taps;
            *word = match tap {
                0 => (lane / depth * depth + channel) as u32,
                _ => values.get(weights + tap - 1).map_or(0, |x| x.to_bits()),
            };
        }
    }
    bytemuck::cast_slice(&packed).to_vec()
}

/// Emits the sums of a tile, which begin at `start`.
pub(super) fn sums(
    b: &mut KernelBuilder,
    spec: &Spec,
    depth: usize,
    input: &Input,
    weights: Gpr,
    start: Vector,
    tile: Tile,
) -> Vec<Vector> {
    let vector = b.lanes() * 4;
    let Window { kernel: [kh, kw], stride: [sh, sw], dilation: [dh, dw] } = spec.window;
    let sums: Vec<Var<Vector>> = (0..tile.pixels()).map(|_| b.var(start)).collect();
    let weights = b.var(weights);
    // Rows of the filter that share a row of the input would not all stay in registers.
    let in_registers = tile.rows == 1 && kw <= 3;
    b.repeat(depth as u64, |b| {
        let base = b.get(weights);
        let order = b.load(base.at(0));
        let mut loaded = vec![None; kh * kw];
        for y in 0..(tile.rows - 1) * sh + (kh - 1) * dh + 1 {
            for x in 0..(tile.cols - 1) * sw + (kw - 1) * dw + 1 {
                let users = users(tile, [kh, kw], [sh, sw], [dh, dw], [y, x]);
                if users.is_empty() {
                    continue;
                }
                let at = input.at(b, &spec.input, y, x);
                let v = load(b, spec.input.number, at);
                let v = b.permute_by(v, order);
                for (pixel, tap) in users {
                    let at = base.at(((1 + tap) * vector) as i32);
                    let sum = b.get(sums[pixel]);
                    let sum = if in_registers {
                        let weight = *loaded[tap].get_or_insert_with(|| b.load(at));
                        b.fma(sum, v, weight)
                    } else {
                        b.fma(sum, v, at)
                    };
                    b.set(sums[pixel], sum);
                }
            }
        }
        bump(b, weights, vectors(&spec.window) * vector, 0);
    });
    sums.into_iter().map(|s| b.get(s)).collect()
}
