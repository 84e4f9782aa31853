//! The second layer of a chain: a window that slides over each channel.

use super::axis;
use crate::families::conv;
use crate::families::depthwise;
use crate::families::igemm::spec::Number;
use crate::families::pool;
use crate::families::sides::fits_image;
use crate::families::window::{self, dot};
use crate::family::View;
use crate::storage::Halo;
use mnnc_ops::family::conv::Axis;
use mnnc_vector::Target;

/// What it does with a window.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A weighted sum; rows and columns outside the image count as zero.
    Depthwise,
    /// The maximum; rows and columns outside the image do not count.
    Max,
}

/// Its extents.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(super) struct WindowLayer {
    pub rows: Axis,
    pub cols: Axis,
    pub kind: Kind,
    /// What it reads.
    pub number: Number,
    /// The byte that stands for zero.
    pub zero: u8,
}

/// Rows as narrow as this are worked on in pairs, so that a tile has enough accumulators and a call enough work.
const NARROW: usize = 28;

impl WindowLayer {
    /// `None` if the node is no such layer.
    pub fn read(view: &View, target: &Target) -> Option<WindowLayer> {
        if let Some(g) = conv::Geometry::read(view, target) {
            let fits = g.kind == conv::Kind::Depthwise;
            return fits.then(|| WindowLayer::depthwise(&g, Number::F32, 0));
        }
        if let Some(node) = depthwise::Node::read(view, target) {
            return Some(WindowLayer::depthwise(&node.g, Number::U8, node.zero));
        }
        let dims = view.graph.ty(view.outputs[0]).static_dims()?;
        let g = pool::Geometry::read(view, target).filter(|g| g.kind == pool::Kind::Max)?;
        fits_image(view, &dims).then_some(())?;
        Some(WindowLayer { rows: g.rows, cols: g.cols, kind: Kind::Max, number: g.number(), zero: 0 })
    }

    fn depthwise(g: &conv::Geometry, number: Number, zero: u8) -> WindowLayer {
        WindowLayer { rows: g.shape.axes[0], cols: g.shape.axes[1], kind: Kind::Depthwise, number, zero }
    }

    /// The layer on a range of its output columns, and the first column of the image that it then reads. `None` if it
    /// reads no column at all.
    pub fn columns(&self, out: std::ops::Range<usize>) -> Option<(WindowLayer, usize)> {
        let (cols, first) = axis::part(&self.cols, out.clone())?;
        // All columns: what no window reads belongs to the layer all the same.
        let whole = out.len() == self.cols.output;
        Some(if whole { (*self, 0) } else { (WindowLayer { cols, ..*self }, first) })
    }

    /// The border that it reads.
    pub fn halo(&self) -> Halo {
        match self.kind {
            Kind::Depthwise => window::halo(&self.rows, &self.cols).filled(self.zero),
            Kind::Max => Halo::default(),
        }
    }

    /// Rows under one window.
    pub fn reach(&self) -> usize {
        axis::reach(&self.rows)
    }

    /// Numbers of rows that one call can make, the best first.
    pub fn calls(&self, target: &Target) -> impl Iterator<Item = usize> + use<> {
        let most = match (self.kind, self.number) {
            (Kind::Max, _) => 1,
            (Kind::Depthwise, Number::U8) if target.has_dot_u8s8() => dot::tile_rows(target, self.rows.output),
            _ if self.cols.output <= NARROW => 2,
            _ => 1,
        };
        // More than one only where their windows overlap.
        let most = if self.rows.stride < self.reach() { most.min(self.rows.output) } else { 1 };
        (1..=most).rev()
    }

    /// The first row of the image under the windows of output row `out`.
    pub fn first_input(&self, out: usize) -> usize {
        (out * self.rows.stride).saturating_sub(self.rows.begin).min(self.rows.input - 1)
    }

    /// One past the last row of the image under the windows of output row `out`; at least one row.
    pub fn end_of_input(&self, out: usize) -> usize {
        (out * self.rows.stride + self.reach()).saturating_sub(self.rows.begin).clamp(1, self.rows.input)
    }

    /// The rows under the windows of output rows `out`, top to bottom. `None` stands for zeros.
    pub fn taps(&self, out: std::ops::Range<usize>) -> Vec<Option<usize>> {
        let start = out.start * self.rows.stride;
        let count = (out.len() - 1) * self.rows.stride + self.reach();
        (start..start + count)
            .map(|row| match (row.checked_sub(self.rows.begin).filter(|&r| r < self.rows.input), self.kind) {
                (Some(r), _) => Some(r),
                (None, Kind::Depthwise) => None,
                (None, Kind::Max) => Some(row.saturating_sub(self.rows.begin).min(self.rows.input - 1)),
            })
            .collect()
    }
}
