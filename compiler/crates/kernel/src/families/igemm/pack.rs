//! Packing of constant weights: `[panel][reduction step][blocks * lanes]`, zero in lanes beyond the last channel.

use super::order::steps;
use super::spec::{Number, Spec};
use rayon::prelude::*;

/// Packs the channels `first ..` of weights given by `at(output channel, [input channel, filter row, filter column])`. `channels` is the
/// number of output channels there are.
pub fn pack(
    spec: &Spec,
    lanes: usize,
    first: usize,
    channels: usize,
    at: &(dyn Fn(usize, [usize; 3]) -> f32 + Sync),
) -> Vec<u8> {
    let width = spec.blocks * lanes;
    let order = steps(spec);
    if spec.number == Number::Bf16 {
        return pack_pairs(spec, width, &order, first, channels, at);
    }
    let mut out = vec![0f32; spec.panels * order.len() * width];
    out.par_chunks_mut(order.len() * width).enumerate().for_each(|(panel, out)| {
        let base = first + panel * width;
        let live = width.min(channels.saturating_sub(base));
        for (cell, &k) in out.chunks_exact_mut(width).zip(&order) {
            for (j, x) in cell[..live].iter_mut().enumerate() {
                *x = at(base + j, k);
            }
        }
    });
    bytes(out)
}

/// As [`pack`], with the two channels of a pair beside each other.
fn pack_pairs(
    spec: &Spec,
    width: usize,
    order: &[[usize; 3]],
    first: usize,
    channels: usize,
    at: &(dyn Fn(usize, [usize; 3]) -> f32 + Sync),
) -> Vec<u8> {
    let mut out = vec![[half::bf16::ZERO; 2]; spec.panels * order.len() * width];
    out.par_chunks_mut(order.len() * width).enumerate().for_each(|(panel, out)| {
        let base = first + panel * width;
        let live = width.min(channels.saturating_sub(base));
        for (cell, &[pair, y, x]) in out.chunks_exact_mut(width).zip(order) {
            for (j, pairs) in cell[..live].iter_mut().enumerate() {
                *pairs = [0, 1].map(|i| half::bf16::from_f32(at(base + j, [2 * pair + i, y, x])));
            }
        }
    });
    out.iter().flatten().flat_map(|x| x.to_le_bytes()).collect()
}

/// The values of channels `first .. first + n`, zero beyond the last.
pub fn pack_channels(values: &[f32], first: usize, n: usize) -> Vec<u8> {
    bytes((first..first + n).map(|c| values.get(c).copied().unwrap_or(0.0)).collect())
}

fn bytes(v: Vec<f32>) -> Vec<u8> {
    bytemuck::cast_slice(&v).to_vec()
}
