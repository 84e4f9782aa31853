//! Which nodes form a chain.

use super::ring::Ring;
use super::window_layer::WindowLayer;
use crate::families::conv::{Geometry, Kind};
use crate::families::igemm::spec::Window;
use crate::families::tile::split_evenly;
use crate::family::View;
use mnnc_ir::ValueId;
use mnnc_vector::Target;

/// A node as the search sees it.
pub(crate) struct Candidate<'a, 'g> {
    /// The node.
    pub view: &'a View<'g>,
    /// Name of the family that took it.
    pub family: &'static str,
}

/// Positions in the list of candidates: the first two layers, and the third one.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chain {
    /// The dense convolution.
    pub dense: usize,
    /// The window layer that reads it.
    pub window: usize,
    /// The 1x1 convolution that reads that, if it is part of the chain.
    pub point: Option<usize>,
}

/// Bytes of a second layer's result that L2 holds beside everything else: beyond, the third layer joins the chain.
pub(super) const STRIP_BYTES: usize = 384 << 10;

/// All chains among the nodes, none of which is in two.
pub(crate) fn find(nodes: &[Candidate], target: &Target) -> Vec<Chain> {
    let producer = |v: ValueId| nodes.iter().position(|n| n.view.outputs.contains(&v));
    let mut chains = Vec::new();
    for (i, n) in nodes.iter().enumerate() {
        let reader = matches!(n.family, "conv" | "pool");
        let Some(x) = n.view.inputs.first().copied().flatten().filter(|_| reader) else { continue };
        let Some(d) = producer(x).filter(|&d| nodes[d].family == "conv" && is_private(nodes[d].view, n.view)) else {
            continue;
        };
        let Some(head) = Head::read(nodes[d].view, n.view, target) else { continue };
        let point = nodes.iter().position(|p| {
            p.family == "conv" && p.view.inputs.first() == Some(&Some(n.view.outputs[0])) && is_private(n.view, p.view)
        });
        let whole = head.chunks.iter().any(|c| c.ring.whole);
        let point = point.filter(|&p| !whole && is_point(nodes[p].view, target) && is_large(n.view));
        chains.push(Chain { dense: d, window: i, point });
    }
    // What is a second layer of one chain cannot be the first of another, nor a third.
    let heads: Vec<usize> = chains.iter().map(|c| c.dense).collect();
    for c in &mut chains {
        c.point = c.point.filter(|p| !heads.contains(p));
    }
    chains
}

/// Whether `reader` is the only one that ever sees the result of `view`, and only as its data.
fn is_private(view: &View, reader: &View) -> bool {
    let g = view.graph;
    let &[y] = &view.outputs[..] else { return false };
    let as_side = reader.epilogue.as_ref().is_some_and(|e| e.sides.contains(&y));
    g.value(y).users() == [reader.node] && !g.outputs().contains(&y) && !as_side
}

/// Whether the node is a 1x1 convolution of everything.
fn is_point(view: &View, target: &Target) -> bool {
    Geometry::read(view, target).is_some_and(|g| {
        g.kind == Kind::Dense && g.window == Window::POINT && g.shape.groups == 1 && !g.one_row && g.halo.is_empty()
    })
}

fn is_large(view: &View) -> bool {
    view.graph.ty(view.outputs[0]).num_bytes().is_some_and(|b| b > STRIP_BYTES)
}

/// The first two layers of a chain, with the rings between them.
pub(super) struct Head {
    pub dense: Geometry,
    pub window: WindowLayer,
    /// Left to right; all rings have panels of as many blocks.
    pub chunks: Vec<Chunk>,
}

/// Columns of the second layer's output that go through one ring: a layer of its own, that begins in the middle of the image. Rows too
/// long for a ring are cut into chunks, whose neighbouring columns of the intermediate image are made twice.
pub(super) struct Chunk {
    /// The second layer on these columns.
    pub layer: WindowLayer,
    pub ring: Ring,
    /// Its first column of the intermediate image, and of the output.
    pub first: [usize; 2],
}

/// Most chunks of a row.
const MOST_CHUNKS: usize = 32;
/// Chunks are multiples of this many columns, which the tiles of depthwise kernels fill.
const COLUMNS: usize = 14;

impl Head {
    /// `None` if the two nodes cannot run through a ring.
    pub fn read(dense: &View, window: &View, target: &Target) -> Option<Head> {
        let g = Geometry::read(dense, target).filter(|g| g.kind == Kind::Dense && !g.one_row && g.shape.groups == 1)?;
        // A side operand of the first layer would have to move row by row, too.
        dense.epilogue.as_ref().is_none_or(|e| e.sides.is_empty()).then_some(())?;
        let window = WindowLayer::read(window, target)?;
        let lanes = target.lanes();
        let blocks = g.shape.outputs.div_ceil(lanes);
        // Panels that two threads share evenly, or nearly.
        let shared = |b: &usize| {
            let units = g.shape.batch * blocks / b;
            units.is_multiple_of(2) || units >= 9
        };
        let panels: Vec<usize> = [2, 3, 1].into_iter().filter(|b| blocks.is_multiple_of(*b)).collect();
        let counts = std::iter::once(1).chain(2..=MOST_CHUNKS.min(window.cols.output / COLUMNS));
        let chunks = counts.flat_map(|n| {
            let even = panels.iter().filter(|b| shared(b)).chain(panels.iter().filter(|b| !shared(b)));
            even.map(move |&b| (n, b))
        });
        let chunks = chunks.into_iter().find_map(|(n, b)| Chunk::cut(&window, n, b, lanes))?;
        Some(Head { dense: g, window, chunks })
    }

    /// Channel blocks of a panel.
    pub fn blocks(&self) -> usize {
        self.chunks[0].ring.blocks
    }
}

impl Chunk {
    /// The rows cut into `count` chunks, if a ring for panels of `blocks` blocks fits for all of them.
    fn cut(window: &WindowLayer, count: usize, blocks: usize, lanes: usize) -> Option<Vec<Chunk>> {
        let tiles = if count == 1 {
            vec![(1, 1)]
        } else {
            split_evenly(window.cols.output.div_ceil(COLUMNS), window.cols.output.div_ceil(COLUMNS).div_ceil(count))
        };
        let width = |n: usize| if count == 1 { window.cols.output } else { n * COLUMNS };
        let mut out = Vec::new();
        let mut start = 0;
        for n in tiles.into_iter().flat_map(|(n, times)| std::iter::repeat_n(n, times)) {
            let end = (start + width(n)).min(window.cols.output);
            let (layer, first) = window.columns(start..end)?;
            let ring = Ring::new(&layer, blocks, lanes)?;
            out.push(Chunk { layer, ring, first: [first, start] });
            start = end;
        }
        Some(out)
    }
}
