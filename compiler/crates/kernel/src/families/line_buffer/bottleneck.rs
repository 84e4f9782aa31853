//! A 1x1 convolution whose result exceeds L2, and the larger dense convolution that reads it, strip by strip.
//!
//! Both layers work on all channels at once, so there are no panels that could run through a ring: the first makes the rows under the
//! windows of a strip of the second's output, into an image of its own with the frame that the windows read, and the second reads that. Rows under
//! the windows of two strips are made twice.
//!
//! Measured (resnet50, Zen 5, 1x1 of 256 to 128 channels at 56x56 and 3x3 of stride 2): 1.64 ms layer by layer; 1.67, 1.67, 1.68 and 1.74 ms
//! in 2, 3, 4 and 7 strips.

use super::axis;
use super::chain::{IMAGE_BYTES, STRIP_BYTES, has_only_channel_sides, passes_floats};
use crate::families::conv::{self, Geometry, Kind};
use crate::families::dense::Parts;
use crate::families::igemm::spec::Window;
use crate::families::region::Region;
use crate::families::sides::place_in_vectors;
use crate::families::tile::split_evenly;
use crate::families::window;
use crate::family::{View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Storage;
use mnnc_ir::{DType, OpError};
use mnnc_ops::family::conv::Axis;
use mnnc_vector::Target;
use std::ops::Range;

/// Most rows that may be made twice, as a part of all that the first layer makes. They are what strips cost (measured: products of so many channels
/// read the image from L2 and beyond as fast as they are worked on), and the workspace is what they save.
const AGAIN: f64 = 0.02;

/// The two layers.
pub(super) struct Bottleneck {
    point: Geometry,
    dense: Geometry,
    strips: Vec<Strip>,
}

/// Some rows of the second layer's output, as a convolution of its own.
struct Strip {
    /// The rows.
    out: Range<usize>,
    /// The first row of the intermediate image that they read.
    first: usize,
    /// Rows of the strip, and its padding: what lies beyond the image.
    rows: Axis,
}

impl Bottleneck {
    /// `None` if the two nodes are no such layers, or strips do not pay.
    pub fn read(point: &View, dense: &View, target: &Target) -> Option<Bottleneck> {
        let fits = passes_floats(target) && has_only_channel_sides(point);
        let first = Geometry::read(point, target).filter(|_| fits)?;
        let second = Geometry::read(dense, target)?;
        let is_point = first.window == Window::POINT && first.halo.is_empty() && first.shape.groups == 1;
        let blocked = matches!(second.wish(target), Wish::Blocked(_));
        if ![&first, &second].iter().all(|g| g.kind == Kind::Dense)
            || !is_point
            || second.window.kernel == [1, 1]
            || !blocked
        {
            return None;
        }
        let whole = image(&second, target.lanes())?.bytes;
        let strips = strips(&second.shape.axes[0], whole).filter(|_| whole > IMAGE_BYTES)?;
        Some(Bottleneck { point: first, dense: second, strips })
    }
}

/// The intermediate image of a second layer.
fn image(g: &Geometry, lanes: usize) -> Option<Storage> {
    let (s, [rows, cols]) = (&g.shape, [0, 1].map(|d| g.shape.axes[d].input));
    Storage::blocked(DType::F32, &[s.batch, s.groups * s.inputs, rows, cols], lanes, g.halo)
}

/// The rows of a window's output in strips, for an intermediate image of so many bytes: no more than it takes for L2 to hold one, and no more than
/// may be made twice allow. Of even heights, which share their kernels, if about as many strips have such. `None` if that allows only one.
fn strips(rows: &Axis, whole: usize) -> Option<Vec<Strip>> {
    let again = axis::reach(rows).saturating_sub(rows.stride) as f64 / rows.input as f64;
    let most = if again > 0.0 { 1 + (AGAIN / again) as usize } else { usize::MAX }.min(rows.output);
    let enough = whole.div_ceil(STRIP_BYTES).max(2).min(most);
    if enough < 2 {
        return None;
    }
    let more = enough..=most.min(2 * enough - 1);
    let fewer = (enough.div_ceil(2).max(2)..enough).rev();
    let count = more.chain(fewer).find(|n| rows.output.is_multiple_of(*n)).unwrap_or(enough);
    let heights = split_evenly(rows.output, rows.output.div_ceil(count));
    let mut start = 0;
    let strip = |height: usize| {
        let out = start..start + height;
        start = out.end;
        let (rows, first) = axis::part(rows, out.clone())?;
        Some(Strip { out, first, rows })
    };
    heights.into_iter().flat_map(|(n, count)| std::iter::repeat_n(n, count)).map(strip).collect()
}

impl Geometry {
    /// The same convolution of other rows.
    fn of_rows(&self, rows: Axis) -> Geometry {
        let mut shape = self.shape.clone();
        shape.axes[0] = rows;
        Geometry { halo: window::halo(&rows, &shape.axes[1]), window: self.window, kind: self.kind, shape }
    }
}

/// Adds the steps.
///
/// # Errors
/// If a kernel does not compile, or a size overflows.
pub(super) fn lower<'g>(point: &View<'g>, dense: &View<'g>, lo: &mut Lowering) -> Result<(), OpError> {
    let target = *lo.target();
    let missing = || OpError::unsupported("not a chain of this family");
    let layers = Bottleneck::read(point, dense, &target).ok_or_else(missing)?;
    let x = point.inputs.first().copied().flatten().ok_or_else(missing)?;
    let input = lo.input(x, layers.point.wish(&target))?;
    let others = [&point.inputs[..], &dense.inputs[..]].concat();
    let to = Region::write(&lo.output_in_place(dense, Forms::BLOCKED, &others)?);
    let first = place_in_vectors(point.epilogue.as_ref(), lo, &layers.point.shape.dims())?;
    let second = place_in_vectors(dense.epilogue.as_ref(), lo, &layers.dense.shape.dims())?;
    let [point_name, dense_name] = [point, dense].map(|v| lo.graph().node(v.node).name.clone());
    let mut parts: [Parts; 2] = Default::default();
    for strip in &layers.strips {
        let count = strip.rows.input;
        let g = layers.dense.of_rows(strip.rows);
        let storage = image(&g, target.lanes()).ok_or_else(missing)?;
        let between = lo.temp_in_storage(point.outputs[0], storage);

        let made = layers.point.of_rows(Axis { input: count, output: count, ..layers.point.shape.axes[0] });
        let mut product = conv::dense(point, &made, &input, first.clone(), lo)?;
        product.input = product.input.from([strip.first, 0]);
        product.lower_part(&Region::write(&between), lo, &point_name, &mut parts[0])?;

        let epilogue = second.from(|s| strip.out.start * s.row);
        let product = conv::dense(dense, &g, &between, epilogue, lo)?;
        product.lower_part(&to.from([strip.out.start, 0]), lo, &dense_name, &mut parts[1])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_cover_the_output_and_read_all_of_their_windows() {
        let axis = |output: usize, kernel: usize, stride: usize, begin: usize| {
            let input = (output - 1) * stride + kernel - begin;
            Axis { input, output, kernel, stride, dilation: 1, begin, end: 0 }
        };
        for (output, kernel, stride, begin) in
            [(28, 3, 2, 1), (150, 3, 1, 1), (101, 2, 2, 0), (60, 2, 3, 1), (400, 7, 2, 3)]
        {
            let all = axis(output, kernel, stride, begin);
            let strips = strips(&all, 3 << 20).expect("pays");
            assert!((2..16).contains(&strips.len()), "{output}: {} strips", strips.len());
            let mut next = 0;
            for s in &strips {
                assert_eq!(s.out.start, next);
                next = s.out.end;
                assert_eq!(s.rows.begin + s.rows.input, (s.out.len() - 1) * stride + kernel);
                assert_eq!(s.first + begin, s.out.start * stride + s.rows.begin);
            }
            assert_eq!(next, output);
        }
        assert!(strips(&axis(14, 3, 1, 1), 3 << 20).is_none());
        assert!(strips(&axis(1, 3, 1, 1), 3 << 20).is_none());
    }
}
