//! Samples for models that come without any: noise with the statistics of pictures.
//!
//! Rounding needs to know how the inputs of a layer go together, not what the pictures show. Natural pictures have as much variance in one octave
//! of detail as in the next (the power spectrum falls with the square of the frequency; Field 1987), and their colours go together. Noise of that kind gives
//! the layers of a trained network nearly the moments that pictures give them.

use mnnc_ir::{DType, Graph, Tensor, ValueId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Samples;
use crate::error::Result;
use crate::inputs;

/// Share of the deviation that all channels of a picture have in common.
const COMMON: f32 = 0.93;
/// Extents below this are no picture's.
const SMALLEST: usize = 16;

/// So many samples for the inputs of a graph, always the same ones.
pub struct Synthetic<'a> {
    graph: &'a Graph,
    count: usize,
}

impl<'a> Synthetic<'a> {
    /// How many samples settle the moments of layers.
    pub const COUNT: usize = 32;

    /// Samples for `graph`.
    pub fn new(graph: &'a Graph) -> Synthetic<'a> {
        Synthetic { graph, count: Self::COUNT }
    }
}

impl Samples for Synthetic<'_> {
    fn len(&self) -> usize {
        self.count
    }
    fn get(&self, i: usize) -> Result<Vec<Tensor>> {
        self.graph.inputs().iter().map(|&v| one(self.graph, v, i as u64)).collect()
    }
}

fn one(graph: &Graph, v: ValueId, seed: u64) -> Result<Tensor> {
    match picture(graph, v) {
        Some(form) => Ok(form.noise(&mut stream(seed, &graph.value(v).name))),
        None => inputs::one(graph, v, seed),
    }
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = blake3::Hasher::new();
    hash.update(b"picture");
    hash.update(&seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(*hash.finalize().as_bytes())
}

/// The shape of pictures.
struct Form {
    dims: Vec<usize>,
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    channels_last: bool,
}

/// How an input holds pictures, if it looks like it: four dimensions, up to four channels.
fn picture(graph: &Graph, v: ValueId) -> Option<Form> {
    let ty = graph.ty(v);
    let dims = ty.static_dims().filter(|_| ty.dtype == DType::F32)?;
    let &[batch, a, b, c] = dims.as_slice() else { return None };
    let (channels, height, width, channels_last) = match (a, c) {
        (1..=4, _) => (a, b, c, false),
        (_, 1..=4) => (c, a, b, true),
        _ => return None,
    };
    (height >= SMALLEST && width >= SMALLEST).then(|| Form {
        batch,
        channels,
        height,
        width,
        channels_last,
        dims: dims.clone(),
    })
}

impl Form {
    fn noise(&self, random: &mut ChaCha8Rng) -> Tensor {
        let pixels = self.height * self.width;
        let mut out = vec![0.0f32; self.batch * self.channels * pixels];
        for image in out.chunks_mut(self.channels * pixels) {
            let common = self.plane(random);
            let own = (1.0 - COMMON * COMMON).sqrt();
            for c in 0..self.channels {
                let plane = self.plane(random);
                for (p, (a, b)) in common.iter().zip(plane).enumerate() {
                    let at = if self.channels_last { p * self.channels + c } else { c * pixels + p };
                    image[at] = COMMON * a + own * b;
                }
            }
        }
        Tensor::new(self.dims.clone(), out)
    }

    /// A plane with mean 0 and deviation 1 over many planes: random grids from coarse to fine, each half as wide as the one before.
    fn plane(&self, random: &mut ChaCha8Rng) -> Vec<f32> {
        let (h, w) = (self.height, self.width);
        let mut out = vec![0.0f32; h * w];
        let mut step = h.max(w);
        let mut variance = 0.0f32;
        loop {
            // Interpolation between knots leaves two thirds of the variance in each direction.
            variance += if step > 1 { 4.0 / 9.0 } else { 1.0 };
            let (rows, columns) = (h.div_ceil(step) + 2, w.div_ceil(step) + 2);
            let grid: Vec<f32> = (0..rows * columns).map(|_| normal(random)).collect();
            // Where the grid lies is random, too, lest its knots show in every sample.
            let shift = [0; 2].map(|_| (random.next_u32() as usize) % step);
            for y in 0..h {
                let (gy, fy) = ((y + shift[0]) / step, ((y + shift[0]) % step) as f32 / step as f32);
                for x in 0..w {
                    let (gx, fx) = ((x + shift[1]) / step, ((x + shift[1]) % step) as f32 / step as f32);
                    let at = |r: usize, c: usize| grid[(gy + r) * columns + gx + c];
                    let (top, bottom) = (at(0, 0) + fx * (at(0, 1) - at(0, 0)), at(1, 0) + fx * (at(1, 1) - at(1, 0)));
                    out[y * w + x] += top + fy * (bottom - top);
                }
            }
            if step == 1 {
                break;
            }
            step /= 2;
        }
        let scale = variance.sqrt().recip();
        out.iter_mut().for_each(|x| *x *= scale);
        out
    }
}

/// The sum of four uniforms, near-normal with mean 0 and variance 1.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let bits = random.next_u64();
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
    (sum as f32 - 131_070.0) / 37_837.227
}

#[cfg(test)]
mod tests {
    use mnnc_ir::{DType, Graph, TensorType};

    use super::Synthetic;
    use crate::weights::Samples;

    #[test]
    fn noise_looks_like_pictures() {
        let mut graph = Graph::new("g");
        graph.add_input("nchw", TensorType::new(DType::F32, [2usize, 3, 64, 48]));
        graph.add_input("nhwc", TensorType::new(DType::F32, [1usize, 64, 48, 3]));
        graph.add_input("ids", TensorType::new(DType::I64, [1usize, 10]));
        let samples = Synthetic::new(&graph);
        let first = samples.get(0).unwrap();
        assert_eq!(first[0].bytes()[..], samples.get(0).unwrap()[0].bytes()[..]);
        assert_ne!(first[0].bytes()[..], samples.get(1).unwrap()[0].bytes()[..]);
        assert_eq!(first[2].dtype(), DType::I64);
        let correlation = |a: &[f32], b: &[f32]| {
            let sum = |f: &dyn Fn(f32, f32) -> f32| a.iter().zip(b).map(|(&x, &y)| f(x, y)).sum::<f32>();
            sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
        };
        let plane = 64 * 48;
        let x = first[0].to_vec::<f32>();
        // Neighbours and colours go together, distant places less.
        // About two thirds on the whole; a single sample has more or less of the coarse octaves.
        assert!(correlation(&x[..plane - 1], &x[1..plane]) > 0.5);
        assert!(correlation(&x[..plane], &x[plane..2 * plane]) > 0.7);
        let y = first[1].to_vec::<f32>();
        assert!(correlation(&y[..3 * plane - 3], &y[3..]) > 0.5);
    }
}
