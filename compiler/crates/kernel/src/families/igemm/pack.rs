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
    match spec.number {
        Number::Bf16 => {
            return pack_elements::<half::bf16, 2>(spec, width, &order, first, channels, at, &half::bf16::from_f32);
        }
        Number::U8 => return pack_elements::<i8, 4>(spec, width, &order, first, channels, at, &|x| x as i8),
        _ => {}
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

/// As [`pack`], with the `N` channels of an element beside each other, as numbers that `narrow` makes of the weights.
fn pack_elements<T: bytemuck::Pod + Default + Send, const N: usize>(
    spec: &Spec,
    width: usize,
    order: &[[usize; 3]],
    first: usize,
    channels: usize,
    at: &(dyn Fn(usize, [usize; 3]) -> f32 + Sync),
    narrow: &(dyn Fn(f32) -> T + Sync),
) -> Vec<u8> {
    let mut out = vec![[T::default(); N]; spec.panels * order.len() * width];
    out.par_chunks_mut(order.len() * width).enumerate().for_each(|(panel, out)| {
        let base = first + panel * width;
        let live = width.min(channels.saturating_sub(base));
        for (cell, &[element, y, x]) in out.chunks_exact_mut(width).zip(order) {
            for (j, element_of) in cell[..live].iter_mut().enumerate() {
                *element_of = std::array::from_fn(|i| narrow(at(base + j, [N * element + i, y, x])));
            }
        }
    });
    out.iter().flatten().flat_map(|x| bytemuck::bytes_of(x).to_vec()).collect()
}

/// The values of channels `first .. first + n`, zero beyond the last.
pub fn pack_channels(values: &[f32], first: usize, n: usize) -> Vec<u8> {
    bytes((first..first + n).map(|c| values.get(c).copied().unwrap_or(0.0)).collect())
}

/// As [`pack_channels`], for sums of products of bytes.
pub fn pack_integers(values: &[i32], first: usize, n: usize) -> Vec<u8> {
    (first..first + n).flat_map(|c| values.get(c).copied().unwrap_or(0).to_le_bytes()).collect()
}

/// For each panel of `width` channels the prefix sums, along the rows and columns of the filter, of what its taps add.
pub fn pack_prefix_sums(parts: &[i32], kernel: [usize; 2], first: usize, panels: usize, width: usize) -> Vec<u8> {
    let [rows, cols] = kernel;
    let part = |o: usize, y: usize, x: usize| parts.get((o * rows + y) * cols + x).copied().unwrap_or(0);
    // Sums wrap, as the definition's do.
    let sum = |o: usize, y: usize, x: usize| {
        (0..y).flat_map(|y| (0..x).map(move |x| (y, x))).fold(0i32, |a, (y, x)| a.wrapping_add(part(o, y, x)))
    };
    let mut out = Vec::with_capacity(4 * panels * width * (rows + 1) * (cols + 1));
    for panel in 0..panels {
        for y in 0..=rows {
            for x in 0..=cols {
                let channels = first + panel * width..first + (panel + 1) * width;
                out.extend(channels.flat_map(|o| sum(o, y, x).to_le_bytes()));
            }
        }
    }
    out
}

fn bytes(v: Vec<f32>) -> Vec<u8> {
    bytemuck::cast_slice(&v).to_vec()
}
