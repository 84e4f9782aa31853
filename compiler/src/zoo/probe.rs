//! A small batch of synthetic pictures that flows through a network while it is
//! being built. What arrives at a layer fixes its weights' scale and its batch
//! norm's running statistics, as training would: without that, a deep network
//! of random weights vanishes, explodes or forgets its input.

use rayon::prelude::*;

use super::layers::Window;
use super::normal::Stream;

/// Pictures in the batch.
const PICTURES: usize = 32;
/// Their height and width.
const SIZE: usize = 32;

/// One position of one channel, in every picture.
type Pixel = [f32; PICTURES];

/// What a value of the graph holds for the synthetic pictures: pixels by
/// channel, row, column.
#[derive(Clone)]
pub(super) struct Probe {
    channels: usize,
    height: usize,
    width: usize,
    pixels: Vec<Pixel>,
}

impl Probe {
    /// Pictures of mean 0 and variance 1 a channel, in which, as in
    /// photographs, coarse structure outweighs fine and colours go together.
    pub fn pictures(seed: u64) -> Self {
        let mut stream = Stream::new(seed, "synthetic pictures");
        let mut pixels = vec![[0.0; PICTURES]; 3 * SIZE * SIZE];
        let mut cell = SIZE;
        while cell >= 1 {
            let cells = SIZE / cell;
            let mut field = || -> Vec<Pixel> {
                (0..cells * cells).map(|_| [0; PICTURES].map(|_| stream.normal() as f32)).collect()
            };
            let grey = field();
            let colours = [field(), field(), field()];
            for (position, pixel) in pixels.iter_mut().enumerate() {
                let (y, x) = (position / SIZE % SIZE / cell, position % SIZE / cell);
                let (grey, colour) = (grey[y * cells + x], colours[position / SIZE / SIZE][y * cells + x]);
                for ((value, grey), colour) in pixel.iter_mut().zip(grey).zip(colour) {
                    // Six scales of equal share; four parts of grey to one of colour.
                    *value += (0.8 * grey * grey.abs().sqrt().min(1.5) + 0.4 * colour) / 6f32.sqrt();
                }
            }
            cell /= 2;
        }
        for pixel in &mut pixels {
            for value in &mut pixel[..PICTURES / 4] {
                *value = stream.normal() as f32;
            }
        }
        let mut probe = Probe { channels: 3, height: SIZE, width: SIZE, pixels };
        let (mean, var) = probe.moments();
        let scale: Vec<f32> = var.iter().map(|v| v.sqrt().recip() as f32).collect();
        let shift: Vec<f32> = mean.iter().zip(&scale).map(|(&m, &s)| -(m as f32) * s).collect();
        probe.affine(&scale, &shift);
        probe
    }

    /// Independent normal values, as 1x1 maps.
    pub fn noise(seed: u64, channels: usize) -> Self {
        let mut stream = Stream::new(seed, "noise");
        let pixel = |_| [0; PICTURES].map(|_| stream.normal() as f32);
        Probe { channels, height: 1, width: 1, pixels: (0..channels).map(pixel).collect() }
    }

    fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Mean and variance of each channel.
    pub fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let count = (self.positions() * PICTURES) as f64;
        self.pixels
            .chunks_exact(self.positions())
            .map(|channel| {
                let values = || channel.iter().flatten().map(|&v| f64::from(v));
                let mean = values().sum::<f64>() / count;
                (mean, values().map(|v| (v - mean).powi(2)).sum::<f64>() / count)
            })
            .unzip()
    }

    /// Multiplies each channel by `scale` and adds `shift`.
    pub fn affine(&mut self, scale: &[f32], shift: &[f32]) {
        let positions = self.positions();
        for (c, channel) in self.pixels.chunks_exact_mut(positions).enumerate() {
            channel.iter_mut().flatten().for_each(|v| *v = *v * scale[c] + shift[c]);
        }
    }

    /// Each value through `f`.
    pub fn map(&self, f: impl Fn(f32) -> f32 + Sync) -> Self {
        Probe { pixels: self.pixels.par_iter().map(|p| p.map(&f)).collect(), ..*self }
    }

    /// Convolution by `weight` \[out, in / groups, k, k\], without bias. The
    /// picture continues on its other side instead of in zeros: at this size
    /// zeros would weigh more than they do in the networks' real inputs.
    pub fn conv(&self, weight: &[f32], out: usize, window: Window) -> Self {
        let (height, width, taps) = self.taps(window, false);
        let (in_group, out_group) = (self.channels / window.groups, out / window.groups);
        let positions = height * width;
        let mut pixels = vec![[0.0; PICTURES]; out * positions];
        pixels.par_chunks_exact_mut(positions).enumerate().for_each(|(o, result)| {
            let filter = &weight[o * in_group * taps.len()..][..in_group * taps.len()];
            for (i, kernel) in filter.chunks_exact(taps.len()).enumerate() {
                let channel = o / out_group * in_group + i;
                let input = &self.pixels[channel * self.positions()..][..self.positions()];
                for (&w, sources) in kernel.iter().zip(&taps) {
                    for (sum, &source) in result.iter_mut().zip(sources) {
                        for (sum, x) in sum.iter_mut().zip(&input[source]) {
                            *sum += w * x;
                        }
                    }
                }
            }
        });
        Probe { channels: out, height, width, pixels }
    }

    /// Max pooling, continued as for [`Probe::conv`].
    pub fn max_pool(&self, window: Window, ceil: bool) -> Self {
        let (height, width, taps) = self.taps(window, ceil);
        let mut pixels = Vec::with_capacity(self.channels * height * width);
        for input in self.pixels.chunks_exact(self.positions()) {
            pixels.extend((0..height * width).map(|position| {
                taps.iter().fold([f32::NEG_INFINITY; PICTURES], |mut best, sources| {
                    for (best, x) in best.iter_mut().zip(&input[sources[position]]) {
                        *best = best.max(*x);
                    }
                    best
                })
            }));
        }
        Probe { channels: self.channels, height, width, pixels }
    }

    /// Size of the output and, for each tap of the window, the input position
    /// of each output position.
    fn taps(&self, window: Window, ceil: bool) -> (usize, usize, Vec<Vec<usize>>) {
        let height = window.output(self.height, ceil);
        let width = window.output(self.width, ceil);
        let source = |at: usize, tap: usize, extent: usize| {
            // One extent for each of the padded window's possible laps before zero.
            (at * window.stride + tap + extent * window.kernel - window.pad) % extent
        };
        let taps = (0..window.kernel * window.kernel).map(|tap| {
            let (ky, kx) = (tap / window.kernel, tap % window.kernel);
            let row = |y| source(y, ky, self.height) * self.width;
            (0..height * width).map(|p| row(p / width) + source(p % width, kx, self.width)).collect()
        });
        (height, width, taps.collect())
    }

    /// Average of each channel of each picture, as 1x1 maps.
    pub fn averaged(&self) -> Self {
        let positions = self.positions();
        let average = |channel: &[Pixel]| {
            let mut sum = [0.0; PICTURES];
            for pixel in channel {
                sum.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
            sum.map(|sum| sum / positions as f32)
        };
        let pixels = self.pixels.chunks_exact(positions).map(average).collect();
        Probe { height: 1, width: 1, pixels, ..*self }
    }

    /// Position by position sum.
    pub fn plus(&self, other: &Probe) -> Self {
        let mut result = self.clone();
        for (a, b) in result.pixels.iter_mut().flatten().zip(other.pixels.iter().flatten()) {
            *a += b;
        }
        result
    }

    /// Each channel multiplied by its 1x1 gate.
    pub fn gated(&self, gate: &Probe) -> Self {
        let mut result = self.clone();
        let positions = self.positions();
        for (channel, gate) in result.pixels.chunks_exact_mut(positions).zip(&gate.pixels) {
            for pixel in channel {
                pixel.iter_mut().zip(gate).for_each(|(v, g)| *v *= g);
            }
        }
        result
    }

    /// The channels `range`.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let (start, end) = (range.start * self.positions(), range.end * self.positions());
        Probe { channels: range.len(), pixels: self.pixels[start..end].to_vec(), ..*self }
    }

    /// The channels of both, one after the other.
    pub fn concat(&self, other: &Probe) -> Self {
        let pixels = [&self.pixels[..], &other.pixels].concat();
        Probe { channels: self.channels + other.channels, pixels, ..*self }
    }

    /// The channels of both halves, taken in turn.
    pub fn interleaved(&self) -> Self {
        let half = self.channels / 2;
        let [left, right] = [0, half].map(|first| self.slice(first..first + half));
        let pairs = left.pixels.chunks_exact(self.positions()).zip(right.pixels.chunks_exact(self.positions()));
        let pixels = pairs.flat_map(|(a, b)| [a, b].concat()).collect();
        Probe { pixels, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::{PICTURES, Probe, Window};

    fn map(channels: usize, values: &[f32]) -> Probe {
        let width = values.len() / channels;
        let pixels = values.iter().map(|&v| [v; PICTURES]).collect();
        Probe { channels, height: 1, width, pixels }
    }

    #[test]
    fn pictures_are_normalised_and_smooth() {
        let pictures = Probe::pictures(0);
        let (mean, var) = pictures.moments();
        assert!(mean.iter().all(|m| m.abs() < 1e-3), "{mean:?}");
        assert!(var.iter().all(|v| (v - 1.0).abs() < 1e-3), "{var:?}");
        let neighbours = pictures.pixels.chunks_exact(2).map(|p| p[0][PICTURES - 1] * p[1][PICTURES - 1]);
        assert!(neighbours.sum::<f32>() / (pictures.pixels.len() / 2) as f32 > 0.5);
    }

    #[test]
    fn convolution_wraps_round() {
        let x = map(1, &[1.0, 2.0, 3.0, 4.0]);
        let window = Window { kernel: 1, stride: 2, pad: 0, groups: 1 };
        assert_eq!(x.conv(&[2.0], 1, window).pixels, map(1, &[2.0, 6.0]).pixels);
        // A 3x3 window on one row sees it three times.
        let y = x.conv(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1, Window::same(3, 1));
        assert_eq!(y.pixels, map(1, &[4.0, 1.0, 2.0, 3.0]).pixels);
    }

    #[test]
    fn channels_interleave() {
        let x = map(4, &[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(x.interleaved().pixels, map(4, &[0.0, 2.0, 1.0, 3.0]).pixels);
    }
}
