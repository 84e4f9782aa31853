//! Evaluation of convolutions: as a matrix product over gathered windows, or tap by tap where a group has too few output
//! channels for that to pay (depthwise).

use super::ConvShape;
use crate::product::{Matrix, product};
use crate::real::{Real, zeros};
use crate::window::{Axis, lifted};
use mnnc_ir::OpError;
use rayon::prelude::*;

/// Convolves `x: [N, C, …]` with `w: [M, C/group, …]`.
pub fn convolve<T: Real>(x: &[T], w: &[T], bias: Option<&[T]>, s: &ConvShape) -> Result<Vec<T>, OpError> {
    let mut y = zeros::<T>(&s.dims())?;
    let axes = lifted(&s.axes);
    let pixels: usize = axes.iter().map(|a| a.output).product();
    let input: usize = axes.iter().map(|a| a.input).product();
    let taps: usize = axes.iter().map(|a| a.kernel).product();
    let channels = s.groups * s.outputs;
    if y.is_empty() {
        return Ok(y);
    }
    if let Some(bias) = bias {
        for (c, plane) in y.chunks_mut(pixels).enumerate() {
            plane.fill(bias[c % channels]);
        }
    }
    let terms = s.inputs * taps;
    if s.inputs == 0 || input == 0 {
        return Ok(y);
    }
    if s.outputs < 4 && terms <= 256 {
        y.par_chunks_mut(pixels).enumerate().for_each(|(i, y)| {
            let (n, m) = (i / channels, i % channels);
            let group = m / s.outputs;
            let x = &x[(n * s.groups + group) * s.inputs * input..][..s.inputs * input];
            for (x, w) in x.chunks(input).zip(w[m * terms..(m + 1) * terms].chunks(taps)) {
                add_plane(x, w, &axes, y);
            }
        });
        return Ok(y);
    }
    for (i, y) in y.chunks_mut(s.outputs * pixels).enumerate() {
        let group = i % s.groups;
        let x = &x[i * s.inputs * input..(i + 1) * s.inputs * input];
        let w = &w[group * s.outputs * terms..(group + 1) * s.outputs * terms];
        let gather = |p: usize, j: usize, out: &mut [T]| {
            let (c, tap) = (p / taps, p % taps);
            gather_row(&x[c * input..(c + 1) * input], &axes, tap, j, out);
        };
        product((s.outputs, pixels, terms), Matrix::dense(w, terms), gather, y);
    }
    Ok(y)
}

/// Position of a window element along each dimension.
fn tap_position(axes: &[Axis; 3], tap: usize) -> [usize; 3] {
    let (ky, kx) = (axes[1].kernel, axes[2].kernel);
    [tap / (ky * kx), tap / kx % ky, tap % kx]
}

/// The elements under window element `tap` for outputs `j..j + out.len()`, zero for padding.
fn gather_row<T: Real>(x: &[T], axes: &[Axis; 3], tap: usize, j: usize, out: &mut [T]) {
    let [az, ay, ax] = axes;
    let [kz, ky, kx] = tap_position(axes, tap);
    let (lo, hi) = ax.outputs_of(kx);
    let mut done = 0;
    while done < out.len() {
        let (row, ox) = ((j + done) / ax.output, (j + done) % ax.output);
        let (oz, oy) = (row / ay.output, row % ay.output);
        let run = (ax.output - ox).min(out.len() - done);
        let part = &mut out[done..done + run];
        done += run;
        let (Some(iz), Some(iy)) = (az.at(oz, kz), ay.at(oy, ky)) else {
            part.fill(T::ZERO);
            continue;
        };
        let line = &x[(iz * ay.input + iy) * ax.input..][..ax.input];
        let (lo, hi) = (lo.clamp(ox, ox + run) - ox, hi.clamp(ox, ox + run) - ox);
        part[..lo].fill(T::ZERO);
        part[hi.max(lo)..].fill(T::ZERO);
        if lo < hi {
            let first = (ox + lo) * ax.stride + kx * ax.dilation - ax.begin;
            copy_strided(&line[first..], ax.stride, &mut part[lo..hi]);
        }
    }
}

fn copy_strided<T: Copy>(from: &[T], stride: usize, to: &mut [T]) {
    if stride == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        for (t, &f) in to.iter_mut().zip(from.iter().step_by(stride)) {
            *t = f;
        }
    }
}

/// Adds one input plane, convolved with one window, to an output plane.
fn add_plane<T: Real>(x: &[T], w: &[T], axes: &[Axis; 3], y: &mut [T]) {
    let [az, ay, ax] = axes;
    for (tap, &w) in w.iter().enumerate() {
        let [kz, ky, kx] = tap_position(axes, tap);
        let (lo, hi) = ax.outputs_of(kx);
        if lo >= hi {
            continue;
        }
        let first = lo * ax.stride + kx * ax.dilation - ax.begin;
        for oz in 0..az.output {
            let Some(iz) = az.at(oz, kz) else { continue };
            for oy in 0..ay.output {
                let Some(iy) = ay.at(oy, ky) else { continue };
                let line = &x[(iz * ay.input + iy) * ax.input + first..];
                let out = &mut y[(oz * ay.output + oy) * ax.output..][lo..hi];
                if ax.stride == 1 {
                    out.iter_mut().zip(line).for_each(|(o, &x)| *o += w * x);
                } else {
                    out.iter_mut().zip(line.iter().step_by(ax.stride)).for_each(|(o, &x)| *o += w * x);
                }
            }
        }
    }
}
