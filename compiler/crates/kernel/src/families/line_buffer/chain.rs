//! Which nodes form a chain.

use super::ring::Ring;
use super::window_layer::WindowLayer;
use super::{emit, scaled};
use crate::families::conv::{Geometry, Kind};
use crate::families::igemm::spec::Window;
use crate::families::sides::fits_image;
use crate::families::tile::split_evenly;
use crate::family::View;
use crate::lowering::Lowering;
use mnnc_ir::OpError;
use mnnc_vector::Target;

/// A node as the search sees it.
pub(crate) struct Candidate<'a, 'g> {
    /// The node.
    pub view: &'a View<'g>,
    /// Name of the family that took it.
    pub family: &'static str,
}

/// Nodes that are lowered together, by their positions in the list of candidates.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Chain {
    /// A dense convolution, and the window layer that reads it.
    Windows {
        dense: usize,
        window: usize,
        /// The 1x1 convolution behind, where strips pay.
        point: Option<usize>,
        /// The global pooling that reads the window layer, too.
        pool: Option<usize>,
    },
    /// An element-wise pass, and the 1x1 convolution behind it.
    Scaled { map: usize, point: usize },
}

impl Chain {
    /// The nodes.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        let all = match self {
            Chain::Windows { dense, window, point, pool } => [Some(dense), Some(window), point, pool],
            Chain::Scaled { map, point } => [Some(map), Some(point), None, None],
        };
        all.into_iter().flatten()
    }

    /// The node at whose place all are lowered: every other reads what was there before, and is read by what comes after.
    pub fn last(self) -> usize {
        match self {
            Chain::Windows { window, point, .. } => point.unwrap_or(window),
            Chain::Scaled { point, .. } => point,
        }
    }

    /// Adds the steps.
    ///
    /// # Errors
    /// If a kernel does not compile, or a size overflows.
    pub fn lower<'a, 'g: 'a>(self, view: &dyn Fn(usize) -> &'a View<'g>, lo: &mut Lowering) -> Result<(), OpError> {
        match self {
            Chain::Windows { dense, window, point, pool } => {
                emit::lower(view(dense), view(window), point.map(view), pool.map(view), lo)
            }
            Chain::Scaled { map, point } => scaled::lower(view(map), view(point), lo),
        }
    }
}

/// Bytes of an image that L2 holds beside everything else: beyond, the 1x1 convolution that reads it joins the chain.
pub(super) const STRIP_BYTES: usize = 384 << 10;

/// All chains among the nodes, none of which is in two.
pub(crate) fn find(nodes: &[Candidate], target: &Target) -> Vec<Chain> {
    let mut taken = vec![false; nodes.len()];
    let mut chains = Vec::new();
    for i in 0..nodes.len() {
        let chain = windows(nodes, i, target).or_else(|| scaled_point(nodes, i, target));
        if let Some(chain) = chain.filter(|c| c.nodes().all(|n| !taken[n])) {
            chain.nodes().for_each(|n| taken[n] = true);
            chains.push(chain);
        }
    }
    chains
}

/// The chain whose window layer is node `i`.
fn windows(nodes: &[Candidate], i: usize, target: &Target) -> Option<Chain> {
    let window = nodes.get(i).filter(|n| matches!(n.family, "conv" | "pool"))?.view;
    let x = window.inputs.first().copied().flatten()?;
    let dense = nodes.iter().position(|n| n.view.outputs.contains(&x))?;
    if nodes[dense].family != "conv" || !is_private(nodes[dense].view, window) {
        return None;
    }
    let head = Head::read(nodes[dense].view, window, target)?;
    let strips = !head.chunks.iter().any(|c| c.ring.whole) && is_large(window) && head.strips_pay(window, target);
    let point = point_behind(nodes, window, target).filter(|_| strips);
    // A pooling of the panel that a unit has just made finds it in L2.
    let pooled = |n: &Candidate| {
        n.family == "global_pool" && n.view.inputs.first() == window.outputs.first().map(|&y| Some(y)).as_ref()
    };
    let pool = nodes.iter().position(pooled).filter(|_| point.is_none() && head.chunks.len() == 1);
    Some(Chain::Windows { dense, window: i, point, pool })
}

/// The chain whose element-wise pass is node `i`.
fn scaled_point(nodes: &[Candidate], i: usize, target: &Target) -> Option<Chain> {
    let map = nodes.get(i).filter(|n| n.family == "elementwise" && n.view.outputs.len() == 1)?.view;
    let dims = map.graph.ty(map.outputs[0]).static_dims()?;
    let fits = dims.len() == 4 && fits_image(map, &dims) && is_large(map);
    let point = point_behind(nodes, map, target).filter(|_| fits)?;
    Some(Chain::Scaled { map: i, point })
}

/// The 1x1 convolution that alone reads the result of a node.
fn point_behind(nodes: &[Candidate], view: &View, target: &Target) -> Option<usize> {
    let y = *view.outputs.first()?;
    let point = nodes.iter().position(|n| n.family == "conv" && n.view.inputs.first() == Some(&Some(y)))?;
    (is_private(view, nodes[point].view) && is_point(nodes[point].view, target)).then_some(point)
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
    Geometry::read(view, target)
        .is_some_and(|g| g.kind == Kind::Dense && g.window == Window::POINT && g.shape.groups == 1 && g.halo.is_empty())
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
        let g = Geometry::read(dense, target).filter(|g| g.kind == Kind::Dense && g.shape.groups == 1)?;
        // A side operand of the first layer would have to move row by row, too.
        dense.epilogue.as_ref().is_none_or(|e| e.sides.is_empty()).then_some(())?;
        let window = WindowLayer::read(window, target)?;
        // A single row is cut into chunks only, whose tiles are uneven (measured: a tenth slower than layer by layer).
        (window.rows.input > 1).then_some(())?;
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

    /// Whether strips cost less than they save. Each makes rows of the intermediate image again that the one before had made, as many as windows
    /// of neighbouring rows share; without them, the second layer's result is written to and read from beyond L2.
    fn strips_pay(&self, window: &View, target: &Target) -> bool {
        const BYTES: f64 = 8.0; // A cycle, beyond L2.
        let flops = 4.0 * target.lanes() as f64; // A cycle: two units.
        let (shape, layer) = (&self.dense.shape, &self.window);
        let bytes = window.graph.ty(window.outputs[0]).num_bytes().unwrap_or(0);
        let row = bytes / (shape.batch * layer.rows.output).max(1);
        let rows = (STRIP_BYTES / row.max(1)).max(1) * layer.rows.stride;
        let again = layer.reach().saturating_sub(layer.rows.stride) as f64 / rows as f64;
        let [kh, kw] = self.dense.window.kernel;
        let sums: usize = shape.dims().iter().product();
        let made = 2.0 * (sums * shape.inputs * kh * kw) as f64;
        again * made / flops < 2.0 * bytes as f64 / BYTES
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
