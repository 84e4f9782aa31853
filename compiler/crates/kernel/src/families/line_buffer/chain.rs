//! Which nodes form a chain.

use super::bottleneck::{self, Bottleneck};
use super::dense_layer::DenseLayer;
use super::ring::{Ring, limits};
use super::window_layer::WindowLayer;
use super::{emit, scaled};
use crate::families::igemm::spec::Number;
use crate::families::sides::fits_image;
use crate::families::tile::split_evenly;
use crate::family::View;
use crate::lowering::Lowering;
use mnnc_ir::{OpError, Tensor};
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
    /// A 1x1 convolution, and the larger dense one behind it.
    Bottleneck { point: usize, dense: usize },
}

impl Chain {
    /// The nodes.
    pub fn nodes(self) -> impl Iterator<Item = usize> {
        let all = match self {
            Chain::Windows { dense, window, point, pool } => [Some(dense), Some(window), point, pool],
            Chain::Scaled { map, point } => [Some(map), Some(point), None, None],
            Chain::Bottleneck { point, dense } => [Some(point), Some(dense), None, None],
        };
        all.into_iter().flatten()
    }

    /// The node at whose place all are lowered: every other reads what was there before, and is read by what comes after.
    pub fn last(self) -> usize {
        match self {
            Chain::Windows { window, point, .. } => point.unwrap_or(window),
            Chain::Scaled { point, .. } => point,
            Chain::Bottleneck { dense, .. } => dense,
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
            Chain::Bottleneck { point, dense } => bottleneck::lower(view(point), view(dense), lo),
        }
    }
}

/// The families of dense convolutions.
const DENSE: [&str; 2] = ["conv", "conv_integer"];

/// Bytes of an image that L2 holds beside everything else: beyond, the 1x1 convolution that reads it joins the chain.
pub(super) const STRIP_BYTES: usize = 384 << 10;

/// Bytes of an image that L2 holds as long as nothing else is needed: beyond, chains of bytes pay, and bottlenecks.
pub(super) const IMAGE_BYTES: usize = 1 << 20;

/// All chains among the nodes, none of which is in two.
pub(crate) fn find(nodes: &[Candidate], target: &Target) -> Vec<Chain> {
    let mut taken = vec![false; nodes.len()];
    let mut chains = Vec::new();
    let fine = |i: usize| windows(nodes, i, target).or_else(|| scaled_point(nodes, i, target));
    let coarse = |i: usize| bottleneck(nodes, i, target);
    // Bottlenecks save least: they get what the other chains leave.
    let all = (0..nodes.len()).map(fine).chain((0..nodes.len()).map(coarse));
    for chain in all.flatten() {
        if chain.nodes().all(|n| !taken[n]) {
            chain.nodes().for_each(|n| taken[n] = true);
            chains.push(chain);
        }
    }
    chains
}

/// The chain whose window layer is node `i`.
fn windows(nodes: &[Candidate], i: usize, target: &Target) -> Option<Chain> {
    let window = nodes.get(i).filter(|n| matches!(n.family, "conv" | "depthwise_integer" | "pool"))?.view;
    let x = window.inputs.first().copied().flatten()?;
    let dense = nodes.iter().position(|n| n.view.outputs.contains(&x))?;
    if !DENSE.contains(&nodes[dense].family) || !is_private(nodes[dense].view, window) {
        return None;
    }
    let head = Head::read(nodes[dense].view, window, target)?;
    let strips = !head.chunks.iter().any(|c| c.ring.whole) && is_large(window) && head.strips_pay(window, target);
    let point = point_behind(nodes, window, target).filter(|_| strips);
    // A pooling of the panel that a unit has just made finds it in L2.
    let pooled = |n: &Candidate| {
        n.family == "global_pool" && n.view.inputs.first() == window.outputs.first().map(|&y| Some(y)).as_ref()
    };
    let floats = head.dense.number() == Number::F32;
    let pool = nodes.iter().position(pooled).filter(|_| floats && point.is_none() && head.chunks.len() == 1);
    Some(Chain::Windows { dense, window: i, point, pool })
}

/// The chain whose element-wise pass is node `i`.
fn scaled_point(nodes: &[Candidate], i: usize, target: &Target) -> Option<Chain> {
    let map = nodes.get(i).filter(|n| n.family == "elementwise" && n.view.outputs.len() == 1)?.view;
    let dims = map.graph.ty(map.outputs[0]).static_dims()?;
    let fits = passes_floats(target) && dims.len() == 4 && fits_image(map, &dims) && is_large(map);
    let point = point_behind(nodes, map, target).filter(|_| fits)?;
    Some(Chain::Scaled { map: i, point })
}

/// The chain whose second convolution is node `i`, if it is computed as defined.
fn bottleneck(nodes: &[Candidate], i: usize, target: &Target) -> Option<Chain> {
    let dense = nodes.get(i).filter(|n| n.family == "conv")?.view;
    let x = dense.inputs.first().copied().flatten()?;
    let point = nodes.iter().position(|n| n.family == "conv" && n.view.outputs.contains(&x))?;
    is_private(nodes[point].view, dense).then_some(())?;
    Bottleneck::read(nodes[point].view, dense, target)?;
    Some(Chain::Bottleneck { point, dense: i })
}

/// Whether chains of floats pay: the layers of a network in bf16 are faster one by one.
pub(super) fn passes_floats(target: &Target) -> bool {
    !target.has_bf16()
}

/// The 1x1 convolution that alone reads the result of a node.
fn point_behind(nodes: &[Candidate], view: &View, target: &Target) -> Option<usize> {
    let y = *view.outputs.first()?;
    let reads = |n: &Candidate| DENSE.contains(&n.family) && n.view.inputs.first() == Some(&Some(y));
    let point = nodes.iter().position(reads)?;
    let layer = DenseLayer::read(nodes[point].view, target).filter(DenseLayer::is_point)?;
    (layer.reads(view) && is_private(view, nodes[point].view)).then_some(point)
}

/// Whether `reader` is the only one that ever sees the result of `view`, and only as its data.
fn is_private(view: &View, reader: &View) -> bool {
    let g = view.graph;
    let &[y] = &view.outputs[..] else { return false };
    let as_side = reader.epilogue.as_ref().is_some_and(|e| e.sides.contains(&y));
    g.value(y).users() == [reader.node] && !g.outputs().contains(&y) && !as_side
}

/// Whether what the epilogue reads beside the sums is one number a channel, or one for all: anything else would have to move row by row.
pub(super) fn has_only_channel_sides(view: &View) -> bool {
    let g = view.graph;
    view.epilogue.as_ref().is_none_or(|e| {
        e.sides.iter().all(|&v| {
            let over_channels = |t: &Tensor| t.dims().iter().rev().enumerate().all(|(i, &d)| i == 2 || d == 1);
            g.constant(v).is_some_and(over_channels)
        })
    })
}

fn is_large(view: &View) -> bool {
    view.graph.ty(view.outputs[0]).num_bytes().is_some_and(|b| b > STRIP_BYTES)
}

/// The first two layers of a chain, with the rings between them.
pub(super) struct Head {
    pub dense: DenseLayer,
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
        has_only_channel_sides(dense).then_some(())?;
        let layer = DenseLayer::read(dense, target)?;
        let window = WindowLayer::read(window, target).filter(|w| w.number == layer.number())?;
        (layer.number() == Number::U8 || passes_floats(target)).then_some(())?;
        // A single row is cut into chunks only, whose tiles are uneven (measured: a tenth slower than layer by layer).
        (window.rows.input > 1).then_some(())?;
        let lanes = target.lanes();
        let shape = &layer.geometry().shape;
        let blocks = shape.outputs.div_ceil(lanes);
        // Panels that two threads share evenly, or nearly.
        let shared = |b: &usize| {
            let units = shape.batch * blocks / b;
            units.is_multiple_of(2) || units >= 9
        };
        // Tiles make two vectors at once.
        let sizes: &[usize] =
            if layer.number() == Number::U8 && target.has_int8_tiles() { &[2, 1] } else { &[2, 3, 1] };
        let panels: Vec<usize> = sizes.iter().copied().filter(|b| blocks.is_multiple_of(*b)).collect();
        let counts = std::iter::once(1).chain(2..=MOST_CHUNKS.min(window.cols.output / COLUMNS));
        let chunks = counts.flat_map(|n| {
            let even = panels.iter().filter(|b| shared(b)).chain(panels.iter().filter(|b| !shared(b)));
            even.flat_map(move |&b| limits(window.number).iter().map(move |&most| (n, b, most)))
        });
        let chunks = chunks.into_iter().find_map(|(n, b, most)| Chunk::cut(&window, n, b, target, most))?;
        Some(Head { dense: layer, window, chunks }).filter(Head::pays)
    }

    /// Whether the ring gains more than its many small calls cost. An image of bytes in L2 is read as fast as it is worked on (measured on
    /// AMX: 0.85 to 1.0 times as fast below the limit, 1.0 to 1.4 times beyond it).
    fn pays(&self) -> bool {
        let (shape, rows, cols) = (&self.dense.geometry().shape, &self.window.rows, &self.window.cols);
        let bytes = shape.batch * shape.outputs * rows.input * cols.input;
        self.dense.number() == Number::F32 || bytes > IMAGE_BYTES
    }

    /// Whether strips cost less than they save. Each makes rows of the intermediate image again that the one before had made, as many as windows
    /// of neighbouring rows share; without them, the second layer's result is written to and read from beyond L2.
    fn strips_pay(&self, window: &View, target: &Target) -> bool {
        const BYTES: f64 = 8.0; // A cycle, beyond L2.
        // A cycle: two units; of bytes, four products a lane.
        let flops = (4 * self.dense.number().element() * target.lanes()) as f64;
        let (g, layer) = (self.dense.geometry(), &self.window);
        let shape = &g.shape;
        let bytes = window.graph.ty(window.outputs[0]).num_bytes().unwrap_or(0);
        let row = bytes / (shape.batch * layer.rows.output).max(1);
        let rows = (STRIP_BYTES / row.max(1)).max(1) * layer.rows.stride;
        let again = layer.reach().saturating_sub(layer.rows.stride) as f64 / rows as f64;
        let [kh, kw] = g.window.kernel;
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
    /// The rows cut into `count` chunks, if a ring of at most `most` bytes for panels of `blocks` blocks will do for all of them.
    fn cut(window: &WindowLayer, count: usize, blocks: usize, target: &Target, most: usize) -> Option<Vec<Chunk>> {
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
            let ring = Ring::new(&layer, blocks, target, most)?;
            out.push(Chunk { layer, ring, first: [first, start] });
            start = end;
        }
        Some(out)
    }
}
