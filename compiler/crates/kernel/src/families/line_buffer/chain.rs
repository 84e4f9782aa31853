//! Which nodes form a chain.

use super::ring::Ring;
use super::window_layer::WindowLayer;
use crate::families::conv::{Geometry, Kind};
use crate::families::igemm::spec::Window;
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
        let point = point.filter(|&p| !head.ring.whole && is_point(nodes[p].view, target) && is_large(n.view));
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

/// The first two layers of a chain, with the ring between them.
pub(super) struct Head {
    pub dense: Geometry,
    pub window: WindowLayer,
    pub ring: Ring,
}

impl Head {
    /// `None` if the two nodes cannot run through a ring.
    pub fn read(dense: &View, window: &View, target: &Target) -> Option<Head> {
        let g = Geometry::read(dense, target).filter(|g| g.kind == Kind::Dense && !g.one_row && g.shape.groups == 1)?;
        // A side operand of the first layer would have to move row by row, too.
        dense.epilogue.as_ref().is_none_or(|e| e.sides.is_empty()).then_some(())?;
        let layer = WindowLayer::read(window, target)?;
        let lanes = target.lanes();
        let blocks = g.shape.outputs.div_ceil(lanes);
        let fitting = |b: &usize| blocks.is_multiple_of(*b).then(|| Ring::new(&layer, *b, lanes)).flatten();
        let rings: Vec<Ring> = [2, 3, 1].iter().filter_map(fitting).collect();
        // Panels that two threads share evenly, or nearly.
        let shared = |r: &&Ring| {
            let units = g.shape.batch * blocks / r.blocks;
            units.is_multiple_of(2) || units >= 9
        };
        let ring = rings.iter().find(shared).or(rings.first())?.clone();
        Some(Head { dense: g, window: layer, ring })
    }
}
