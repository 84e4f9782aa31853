//! Transposed convolution. Outputs at equal distances of the stride use the same taps: each of these phases is an
//! ordinary convolution of stride 1 over the input, whose results are written a stride apart. No tap is multiplied with a zero
//! between inputs, and nothing is added up in memory.
//!
//! [`float`] multiplies floats, [`integer`] bytes.

pub mod float;
pub mod integer;

use crate::families::igemm::spec::{Strides, Window};
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, from_offset, image_strides};
use crate::lowering::Placed;
use crate::storage::Halo;
use mnnc_ir::OpError;
use mnnc_ops::family::conv::{Axis, ConvShape};
use mnnc_vector::Target;

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

/// The sizes of a node, and the border that its phases read.
struct Geometry {
    shape: ConvShape,
    halo: Halo,
}

/// One phase of rows and one of columns.
struct Part {
    rows: Phase,
    cols: Phase,
}

/// Where a part reads and writes.
struct At {
    input: Region,
    output: Region,
    epilogue: PlacedEpilogue,
}

impl Geometry {
    /// `None` if the node is none over images, its outputs are no regular phases, or an image is too large to be addressed.
    fn sized(shape: ConvShape, target: &Target) -> Option<Geometry> {
        let [rows, cols] = shape.axes[..] else { return None };
        // A stride beyond the filter leaves outputs without a tap.
        let regular =
            |a: &Axis| a.dilation == 1 && a.kernel >= a.stride && a.begin < a.output + a.kernel && a.input > 0;
        if !(regular(&rows) && regular(&cols) && shape.inputs > 0 && !shape.dims().contains(&0)) {
            return None;
        }
        let ((top, bottom), (left, right)) = (border(&rows), border(&cols));
        let halo = Halo { top, left, bottom, right, fill: 0 };
        let extent = |a: &Axis, halo: usize| a.input.checked_add(halo).map(|n| n.max(a.output));
        let pixels = extent(&rows, top + bottom)?.checked_mul(extent(&cols, left + right)?)?;
        let channels = shape.groups.checked_mul(shape.inputs.max(shape.outputs))?.next_multiple_of(target.lanes());
        let bytes = channels.checked_mul(pixels)?.checked_mul(4 * shape.batch)?;
        (bytes < 1 << 31).then_some(Geometry { shape, halo })
    }

    fn axes(&self) -> [&Axis; 2] {
        [&self.shape.axes[0], &self.shape.axes[1]]
    }

    /// All parts; each output belongs to one.
    fn parts(&self) -> Vec<Part> {
        let [rows, cols] = self.axes().map(phases);
        rows.iter().flat_map(|&rows| cols.iter().map(move |&cols| Part { rows, cols })).collect()
    }

    /// The position of the weight of an output channel, and input channel, row and column of a part's filter, among those of the node.
    fn weight(&self, part: &Part) -> impl Fn(usize, [usize; 3]) -> usize + Sync + Copy + use<> {
        let [rows, cols] = self.axes().map(|a| *a);
        let (inputs, outputs) = (self.shape.inputs, self.shape.outputs);
        let (last_y, last_x) = (part.rows.last, part.cols.last);
        move |o: usize, [c, y, x]: [usize; 3]| {
            let (group, m) = (o / outputs, o % outputs);
            let (ky, kx) = (last_y - y * rows.stride, last_x - x * cols.stride);
            (((group * inputs + c) * outputs + m) * rows.kernel + ky) * cols.kernel + kx
        }
    }

    /// # Errors
    /// If the input's border is too small.
    fn place(&self, part: &Part, input: &Placed, output: &Placed, epilogue: &PlacedEpilogue) -> Result<At, OpError> {
        let [rows, cols] = self.axes();
        let from = image_strides(&input.storage, &input.storage.dims);
        let to = image_strides(&output.storage, &self.shape.dims());
        // Every stride-th pixel, from the first of the phase on.
        let apart = |s: Strides| Strides { row: s.row * rows.stride, pixel: s.pixel * cols.stride, ..s };
        let start = |s: &Strides| part.rows.output * s.row + part.cols.output * s.pixel;
        let mut epilogue = epilogue.from(start);
        epilogue.sides.iter_mut().for_each(|side| side.strides = apart(side.strides));
        let [y, x] = [part.rows.input * from.row as isize, part.cols.input * from.pixel as isize];
        let first = usize::try_from(input.storage.offset as isize + y + x);
        let first = first.map_err(|_| OpError::unsupported("the border is too small"))?;
        Ok(At {
            input: Region { operand: from_offset(&input.read(), first), strides: from },
            output: Region {
                operand: from_offset(&output.write(), output.storage.offset + start(&to)),
                strides: apart(to),
            },
            epilogue,
        })
    }
}

impl Part {
    fn window(&self) -> Window {
        Window { kernel: [self.rows.taps, self.cols.taps], ..Window::POINT }
    }

    /// Output rows and columns.
    fn out(&self) -> [usize; 2] {
        [self.rows.count, self.cols.count]
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
