//! Quantised results: what is allowed of them.
//!
//! Where activations are rounded to integers, two right implementations differ: a sum that is formed in another order, or a product of
//! scales that is folded, lands on the other side of a rounding once in some ten thousand elements, a whole step off, and what
//! follows carries it on. So layers are judged one by one, each on the operands that the code itself computed, and outputs by the
//! share of them that is more than a step off, or by what the network makes of such flips.

use mnnc_ir::{DType, Graph, Tensor, ValueId};

use crate::compare::{Deviation, Tolerance, compare};

/// Share of elements that may be off: by a step in a layer, by more than a step in an output.
const SHARE: f64 = 0.01;
/// What is allowed beyond a step: of its size, for rounding.
const ROUNDING: f64 = 1e-3;
/// An input is moved by this share of itself to see what flipped roundings make of the outputs: 1/32 of the step of a largest element.
pub(crate) const NUDGE: f64 = 1.0 / (1 << 12) as f64;
/// Roundings flip in every layer, the nudge flips those of the first.
const NOISE_FACTOR: f64 = 4.0;
/// What an output may always be off, as a share of it (40 dB): far above the noise of quantisation to 8 bits.
const OUTPUT: f64 = 0.01;

/// Whether the graph rounds activations to integers.
pub(crate) fn is_quantised(graph: &Graph) -> bool {
    const ROUNDING: [&str; 5] =
        ["quantize_linear", "q_linear_conv", "q_linear_matmul", "dynamic_quantize_linear", "dynamic_quantize_rows"];
    graph.nodes().any(|(_, node)| {
        ROUNDING.contains(&node.op.name)
            && node.inputs().first().copied().flatten().is_some_and(|x| graph.constant(x).is_none())
    })
}

/// The step between neighbouring values of a result: 1 of an integer, the scale of what was just dequantised; `None` where it has none.
pub(crate) fn step(graph: &Graph, v: ValueId) -> Option<f64> {
    if matches!(graph.ty(v).dtype, DType::I8 | DType::U8) {
        return Some(1.0);
    }
    let node = graph.node(graph.producer(v)?);
    let operand = |i: usize| node.input(i);
    match node.op.name {
        "dequantize_linear" => match graph.constant(operand(1)?)?.to_f64s()[..] {
            [scale] => Some(scale.abs()),
            _ => None,
        },
        // What moves elements only.
        "reshape" | "flatten" | "squeeze" | "unsqueeze" | "transpose" | "slice" | "identity" => {
            step(graph, operand(0)?)
        }
        _ => None,
    }
}

/// A layer's deviation judged by the steps that it is off: `want` is computed from the operands that `got` was.
pub(crate) fn judge_layer(deviation: Deviation, want: &Tensor, got: &Tensor) -> Deviation {
    if want.dtype().is_float() || want.dims() != got.dims() {
        return deviation;
    }
    let share = share_beyond(want, got, 0.0);
    Deviation { excess: deviation.absolute.max(share / SHARE), ..deviation }
}

/// An output's deviation, judged by the share of it that is more than a step off or, where `moved` is what the reference becomes
/// when roundings flip, by mean squares.
pub(crate) fn judge_output(
    deviation: Deviation,
    want: &Tensor,
    got: &Tensor,
    moved: &Tensor,
    step: Option<f64>,
) -> Deviation {
    if want.dims() != got.dims() || !deviation.rms.is_finite() {
        return deviation;
    }
    let by_steps = step.map_or(f64::INFINITY, |s| share_beyond(want, got, s * (1.0 + ROUNDING)) / SHARE);
    let movement = compare(want, moved, Tolerance::F32).map_or(0.0, |d| d.rms);
    let movement = if movement.is_finite() { movement } else { 0.0 };
    let by_noise = deviation.rms / OUTPUT.max(NOISE_FACTOR * movement);
    Deviation { excess: deviation.excess.min(by_steps).min(by_noise), ..deviation }
}

/// Share of elements that differ by more than `bound`.
fn share_beyond(want: &Tensor, got: &Tensor, bound: f64) -> f64 {
    let pairs = want.to_f64s().into_iter().zip(got.to_f64s());
    let beyond = pairs.filter(|(a, b)| !((a - b).abs() <= bound)).count();
    beyond as f64 / want.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{judge_layer, judge_output};
    use crate::compare::{Tolerance, compare};
    use mnnc_ir::Tensor;

    fn floats(v: Vec<f32>) -> Tensor {
        Tensor::new([v.len()], v)
    }

    #[test]
    fn a_layer_may_flip_few_roundings_and_none_by_two_steps() {
        let want = Tensor::new([200], vec![7u8; 200]);
        let off = |n: usize, by: u8| {
            let got = Tensor::new([200], (0..200).map(|i| if i < n { 7 + by } else { 7 }).collect::<Vec<u8>>());
            judge_layer(compare(&want, &got, Tolerance::F32).unwrap(), &want, &got).is_within()
        };
        assert!(off(0, 0) && off(2, 1));
        assert!(!off(3, 1) && !off(1, 2));
    }

    #[test]
    fn an_output_is_within_a_step_or_within_its_own_noise() {
        let want = floats((0..100).map(|i| i as f32 * 0.5).collect());
        let shifted = |by: f32| floats((0..100).map(|i| i as f32 * 0.5 + by).collect());
        let judged = |got: &Tensor, moved: &Tensor, step: Option<f64>| {
            judge_output(compare(&want, got, Tolerance::F32).unwrap(), &want, got, moved, step).is_within()
        };
        assert!(judged(&shifted(0.5), &want, Some(0.5)));
        assert!(!judged(&shifted(1.0), &want, Some(0.5)));
        assert!(!judged(&shifted(1.0), &want, None));
        assert!(judged(&shifted(1.0), &shifted(-0.9), None));
        assert!(!judged(&shifted(f32::NAN), &shifted(9.0), Some(0.5)));
    }
}
