//! Transposed convolution. Outputs at equal distances of the stride use the same taps: each of these phases is an
//! ordinary convolution of stride 1 over the input, whose results are written a stride apart. No tap is multiplied with a zero
//! between inputs, and nothing is added up in memory.

use crate::compressed;
use crate::families::dense::Dense;
use crate::families::igemm::operand::Bias;
use crate::families::igemm::operand::Weights;
use crate::families::igemm::spec::{Number, Strides, Window};
use crate::families::sides::{fits_image, from_offset, image_strides, image_wishes, place_image};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Halo;
use mnnc_ir::{DType, OpError, Tensor};
use mnnc_ops::family::conv::{Axis, ConvShape};
use mnnc_ops::family::conv_transpose::{self, CONV_TRANSPOSE};
use mnnc_vector::Target;

/// The family.
pub struct ConvTranspose;

/// Outputs `output, output + stride, …` along one dimension: `count` of them, the first of which reads inputs
/// `input .. input + taps` (before the first, or behind the last, they are zeros) with the filter's elements `last, last - stride, …`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Phase {
    output: usize,
    count: usize,
    input: isize,
    taps: usize,
    last: usize,
}

/// The phases of a dimension. Output `o` and filter element `k` read input `(o + begin - k) / stride`.
fn phases(a: &Axis) -> Vec<Phase> {
    let phase = |r: usize| {
        let taps = (a.kernel - r).div_ceil(a.stride);
        let first = a.begin.saturating_sub(r).div_ceil(a.stride);
        let end = (a.output + a.begin).checked_sub(r)?.div_ceil(a.stride);
        let count = end.checked_sub(first).filter(|&n| n > 0)?;
        Some(Phase {
            output: first * a.stride + r - a.begin,
            count,
            input: first as isize - (taps as isize - 1),
            taps,
            last: r + (taps - 1) * a.stride,
        })
    };
    (0..a.stride).filter_map(phase).collect()
}

/// Zeros that the phases read before the first and behind the last input.
fn border(a: &Axis) -> (usize, usize) {
    let before = phases(a).iter().map(|p| (-p.input).max(0) as usize).max();
    let behind = phases(a).iter().map(|p| p.input + (p.count + p.taps) as isize - 1 - a.input as isize).max();
    (before.unwrap_or(0), behind.unwrap_or(0).max(0) as usize)
}

struct Node {
    shape: ConvShape,
    halo: Halo,
}

impl Node {
    fn read(view: &View, target: &Target) -> Option<Node> {
        let anchor = view.anchor.filter(|a| a.is(&CONV_TRANSPOSE))?;
        let facts = view.graph.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let shape = conv_transpose::shape(&ctx).ok()?;
        let [rows, cols] = shape.axes[..] else { return None };
        let constant = |i: usize| match view.inputs.get(i).copied().flatten() {
            Some(v) => view.graph.constant(v).is_some_and(|t| t.dtype() == DType::F32),
            None => i == 2,
        };
        let dims = shape.dims();
        // A stride beyond the filter leaves outputs without a tap.
        let regular =
            |a: &Axis| a.dilation == 1 && a.kernel >= a.stride && a.begin < a.output + a.kernel && a.input > 0;
        let fits = ctx.input(0).ok()?.dtype == DType::F32
            && view.inputs.get(1).copied().flatten().is_some_and(|w| compressed::is_constant(view.graph, w))
            && constant(2)
            && regular(&rows)
            && regular(&cols)
            && shape.inputs > 0
            && !dims.contains(&0)
            && fits_image(view, &dims);
        if !fits {
            return None;
        }
        let ((top, bottom), (left, right)) = (border(&rows), border(&cols));
        let halo = Halo { top, left, bottom, right, fill: 0 };
        let extent = |a: &Axis, halo: usize| a.input.checked_add(halo).map(|n| n.max(a.output));
        let pixels = extent(&rows, top + bottom)?.checked_mul(extent(&cols, left + right)?)?;
        let channels = shape.groups.checked_mul(shape.inputs.max(shape.outputs))?.next_multiple_of(target.lanes());
        let bytes = channels.checked_mul(pixels)?.checked_mul(4 * shape.batch)?;
        (bytes < 1 << 31).then_some(Node { shape, halo })
    }
}

impl Family for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(mnnc_ir::ValueId, Wish)>> {
        let node = Node::read(view, target)?;
        let mut wishes = vec![(view.inputs.first().copied().flatten()?, Wish::Blocked(node.halo))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a transposed convolution of this family");
        let Node { shape, halo } = Node::read(view, lo.target()).ok_or_else(missing)?;
        let [x, w] = [0, 1].map(|i| view.inputs.get(i).copied().flatten());
        let (x, w) = (x.ok_or_else(missing)?, w.ok_or_else(missing)?);
        let bias = view.inputs.get(2).copied().flatten().and_then(|b| lo.constant(b));
        let bias = bias.map_or_else(|| vec![0.0; shape.groups * shape.outputs], Tensor::to_vec);
        let input = lo.input(x, Wish::Blocked(halo))?;
        let output = lo.output(view.outputs[0], Forms::BLOCKED)?;
        let dims = shape.dims();
        let (from, to) = (image_strides(&input.storage, &input.storage.dims), image_strides(&output.storage, &dims));
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        let [rows, cols] = &shape.axes[..] else { return Err(missing()) };
        for py in phases(rows) {
            for px in phases(cols) {
                // Every stride-th pixel, from the first of the phase on.
                let apart = |s: Strides| Strides { row: s.row * rows.stride, pixel: s.pixel * cols.stride, ..s };
                let start = |s: Strides| py.output * s.row + px.output * s.pixel;
                let mut placed = epilogue.clone();
                for (side, operand) in placed.sides.iter_mut().zip(&mut placed.operands) {
                    *operand = from_offset(operand, start(side.strides));
                    side.strides = apart(side.strides);
                }
                let first =
                    input.storage.offset as isize + py.input * from.row as isize + px.input * from.pixel as isize;
                let first = usize::try_from(first).map_err(|_| OpError::unsupported("the border is too small"))?;
                let [inputs, outputs] = [shape.inputs, shape.outputs];
                let ([last_y, last_x], [down, across]) = ([py.last, px.last], [rows.stride, cols.stride]);
                let [height, width] = [rows.kernel, cols.kernel];
                let at = move |o: usize, [c, y, x]: [usize; 3]| {
                    let (group, m) = (o / outputs, o % outputs);
                    let (ky, kx) = (last_y - y * down, last_x - x * across);
                    Some((((group * inputs + c) * outputs + m) * height + ky) * width + kx)
                };
                let weights = Weights::new(lo.graph(), w, [1, 0], Box::new(at)).ok_or_else(missing)?;
                let dense = Dense {
                    family: "conv_transpose",
                    images: shape.batch,
                    groups: shape.groups,
                    inputs: shape.inputs,
                    outputs: shape.outputs,
                    window: Window { kernel: [py.taps, px.taps], ..Window::POINT },
                    out: [py.count, px.count],
                    number: Number::F32,
                    block_in: input.storage.block.unwrap_or(1),
                    input: from_offset(&input.read(), first),
                    input_strides: from,
                    output: from_offset(&output.write(), output.storage.offset + start(to)),
                    output_strides: apart(to),
                    weights: &weights,
                    bias: Bias::F32(&bias),
                    terms: inputs * py.taps * px.taps,
                    epilogue: &placed,
                };
                dense.lower(lo, &name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of output and filter element of the definition appears in exactly one phase.
    #[test]
    fn phases_cover_the_definition() {
        for kernel in 1..6 {
            for stride in 1..=kernel {
                for begin in 0..4 {
                    for output in 1..20 {
                        let a = Axis { input: 7, output, kernel, stride, dilation: 1, begin, end: 0 };
                        let mut seen = Vec::new();
                        for p in phases(&a) {
                            for i in 0..p.count {
                                for t in 0..p.taps {
                                    seen.push((p.output + i * stride, p.last - t * stride, p.input + (i + t) as isize));
                                }
                            }
                        }
                        seen.sort_unstable();
                        let mut expected = Vec::new();
                        for o in 0..output {
                            for k in (0..kernel).filter(|k| (o + begin + kernel * stride - k).is_multiple_of(stride)) {
                                expected.push((o, k, (o as isize + begin as isize - k as isize) / stride as isize));
                            }
                        }
                        assert_eq!(seen, expected, "{a:?}");
                    }
                }
            }
        }
    }
}
