//! Seeded weights: convolutions with batch norms (folded or not) and biased
//! convolutions, each scaled to what arrives at it.

use super::layers::Window;
use super::normal::Stream;
use super::probe::Probe;

/// The parameters of a batch norm, one value a channel.
pub(super) struct BatchNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub mean: Vec<f32>,
    pub var: Vec<f32>,
    pub epsilon: f32,
}

impl BatchNorm {
    /// As training leaves them: running statistics of what arrives (`input`),
    /// scales around one, shifts around zero.
    pub fn new(stream: &mut Stream, input: &Probe, epsilon: f32) -> Self {
        let (mean, var) = input.moments();
        let channels = mean.len();
        let layer_var = average(&var);
        BatchNorm {
            gamma: (0..channels).map(|_| stream.uniform(0.7, 1.3) as f32).collect(),
            beta: stream.normals(channels, 0.0, 0.2),
            mean: mean.iter().map(|&m| m as f32).collect(),
            // One channel's variance over so few pictures is uncertain; half
            // the layer's keeps a channel that hardly moved from being blown up.
            var: var.iter().map(|v| (0.5 * (v + layer_var)) as f32).collect(),
            epsilon,
        }
    }

    fn scale(&self) -> Vec<f32> {
        let scale = |(g, v): (&f32, &f32)| g / (v + self.epsilon).sqrt();
        self.gamma.iter().zip(&self.var).map(scale).collect()
    }

    fn shift(&self, scale: &[f32]) -> Vec<f32> {
        (0..scale.len()).map(|c| self.beta[c] - self.mean[c] * scale[c]).collect()
    }

    /// Normalises.
    pub fn apply(&self, x: &mut Probe) {
        let scale = self.scale();
        x.affine(&scale, &self.shift(&scale));
    }

    /// Folds the norm into the filters before it and returns the bias.
    pub fn fold(&self, weight: &mut [f32]) -> Vec<f32> {
        let scale = self.scale();
        let filter = weight.len() / scale.len();
        for (filter, scale) in weight.chunks_exact_mut(filter).zip(&scale) {
            filter.iter_mut().for_each(|w| *w *= scale);
        }
        self.shift(&scale)
    }
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What the result of a biased layer should look like.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Mean of each output.
    pub mean: f64,
    /// Standard deviation of each output over pictures and positions.
    pub deviation: f64,
}

/// Weight \[out, in / groups, k, k\] and bias \[out\] that bring `input` to about
/// `target`, and the result. The bias takes off what the input's mean
/// contributes, without which a deep network's output would hardly depend on
/// its input.
pub(super) fn affine(
    seed: u64,
    name: &str,
    input: &Probe,
    (out, fan_in): (usize, usize),
    window: Window,
    target: Target,
) -> (Vec<f32>, Vec<f32>, Probe) {
    let mut weight = filters(seed, name, out, fan_in);
    let mut result = input.conv(&weight, out, window);
    let (mean, var) = result.moments();
    let scale = target.deviation / average(&var).sqrt();
    weight.iter_mut().for_each(|w| *w *= scale as f32);
    let mut stream = Stream::new(seed, &format!("{name}.bias"));
    let wanted = stream.normals(out, target.mean, 0.2 * target.deviation);
    let bias: Vec<f32> = mean.iter().zip(wanted).map(|(m, wanted)| wanted - (m * scale) as f32).collect();
    result.affine(&vec![scale as f32; out], &bias);
    (weight, bias, result)
}

/// Filters \[out, fan_in\], normal and scaled by He's rule to the number of inputs.
pub(super) fn filters(seed: u64, name: &str, out: usize, fan_in: usize) -> Vec<f32> {
    Stream::new(seed, &format!("{name}.weight")).normals(out * fan_in, 0.0, (2.0 / fan_in as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::layers::Window;
    use super::super::probe::Probe;
    use super::{BatchNorm, Stream, Target, affine};

    #[test]
    fn a_folded_norm_computes_the_same() {
        let input = Probe::pictures(5);
        let norm = BatchNorm::new(&mut Stream::new(3, "bn"), &input, 1e-5);
        let weight = [0.3f32, -1.5, 0.7, 2.0, -0.1, 0.4];
        let mut folded = weight;
        let bias = norm.fold(&mut folded);
        for c in 0..3 {
            let x = weight[2 * c] * 1.25 + weight[2 * c + 1] * -0.5;
            let y = folded[2 * c] * 1.25 + folded[2 * c + 1] * -0.5 + bias[c];
            let sigma = (norm.var[c] + norm.epsilon).sqrt();
            let wanted = (x - norm.mean[c]) / sigma * norm.gamma[c] + norm.beta[c];
            assert!((y - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{y} {wanted}");
        }
    }

    #[test]
    fn affine_reaches_its_target() {
        let input = Probe::pictures(0).map(|x| 0.5 * x + 3.0);
        let target = Target { mean: 1.0, deviation: 2.0 };
        let (.., result) = affine(0, "conv", &input, (100, 27), Window::same(3, 1), target);
        let (mean, var) = result.moments();
        let mean = mean.iter().sum::<f64>() / 100.0;
        let var = var.iter().sum::<f64>() / 100.0;
        assert!((mean - 1.0).abs() < 0.2, "{mean}");
        assert!((var - 4.0).abs() < 0.1, "{var}");
    }
}
