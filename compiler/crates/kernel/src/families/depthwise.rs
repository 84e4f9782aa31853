//! Depthwise convolution of bytes: `conv_integer` with one input and one output channel a group.
//!
//! With products of bytes, four taps of a filter row are one ([`dot`]). Without, the kernel for floats does it ([`window::sum`]), whose sums
//! are exact as long as they stay below 2^24.

use crate::families::conv::{Geometry, Kind};
use crate::families::epilogue::bounds::Range;
use crate::families::igemm::spec::Number;
use crate::families::integer::{Sums, Weights, range, zero_point};
use crate::families::region::Region;
use crate::families::sides::{fits_typed_image, image_wishes, place_image};
use crate::families::window::{self, Filter, dot};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Halo;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::quant::CONV_INTEGER;
use mnnc_vector::Target;

/// The family.
pub struct Depthwise;

/// Sums up to this are exact in `f32`.
const EXACT: f64 = (1u32 << 24) as f64;

pub(super) struct Node {
    pub(super) g: Geometry,
    x: ValueId,
    /// `[channel][tap]`.
    weights: Weights,
    /// Of each channel.
    sums: Vec<Sums>,
    /// The byte that stands for 0: what the border holds.
    pub(super) zero: u8,
}

impl Node {
    /// `None` if the node is not for this family.
    pub(super) fn read(view: &View, target: &Target) -> Option<Node> {
        let anchor = view.anchor.filter(|a| a.is(&CONV_INTEGER))?;
        let graph = view.graph;
        let facts = graph.facts(view.anchor_id?);
        let shape = mnnc_ops::family::conv::shape(&facts.of(anchor), 0, 1).ok()?;
        let input = |i: usize| view.inputs.get(i).copied().flatten();
        let dims = shape.dims();
        let x = input(0).filter(|&x| graph.ty(x).dtype == DType::U8 && fits_typed_image(view, &dims))?;
        let zero = zero_point(view, 2)?;
        let weights = Weights::read(graph, input(1)?, input(3), true, shape.groups)?;
        let g = Geometry::sized(shape, target).filter(|g| g.kind == Kind::Depthwise)?;
        let [kh, kw] = g.window.kernel;
        let taps = kh * kw;
        let of = |c: usize| Sums::of((0..taps).map(|t| weights.at(c * taps + t)), zero);
        let sums: Vec<Sums> = (0..g.shape.groups).map(of).collect();
        // A part of a sum is the sum of an input that is 0 elsewhere, and lies in the range, too.
        let exact = range(&sums).is_some_and(|[lo, hi]| lo >= -EXACT && hi <= EXACT);
        (target.has_dot_u8s8() || exact).then_some(Node { g, x, weights, sums, zero })
    }

    fn halo(&self) -> Halo {
        self.g.halo.filled(self.zero)
    }

    /// Where the sums lie.
    pub(super) fn range(&self) -> Range {
        range(&self.sums)
    }

    /// The filter for a kernel that makes so many rows at once.
    pub(super) fn filter(&self, rows: usize, target: &Target) -> Filter {
        let ([kh, kw], channels, lanes) = (self.g.window.kernel, self.g.shape.groups, target.lanes());
        let values: Vec<i8> = (0..channels * kh * kw).map(|i| self.weights.at(i)).collect();
        let start: Vec<i32> = self.sums.iter().map(|s| s.bias).collect();
        let blocks = channels.div_ceil(lanes);
        if !target.has_dot_u8s8() {
            return Filter::exact(&values, &start, [kh, kw], blocks, lanes);
        }
        let cols = &self.g.shape.axes[1];
        let taps = dot::Taps::new(kw, cols.stride, cols.dilation, kh, dot::tile_rows(target, rows));
        Filter::dots(taps, &values, &start, [kh, kw], blocks, lanes)
    }
}

impl Family for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise_integer"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let node = Node::read(view, target)?;
        let mut wishes = vec![(node.x, Wish::Blocked(node.halo()))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let node =
            Node::read(view, &target).ok_or_else(|| OpError::unsupported("not a depthwise convolution of bytes"))?;
        let input = lo.input(node.x, Wish::Blocked(node.halo()))?;
        let output = lo.output_in_place(view, Forms::BLOCKED, &view.inputs)?;
        let dims = node.g.shape.dims();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?.behind(Some(node.range()));
        let [from, to] = [Region::taps(&input, node.halo()), Region::write(&output)];
        let axes = &node.g.shape.axes;
        let blocks = dims[1].div_ceil(target.lanes());
        let spec = window::Spec {
            images: dims[0],
            blocks,
            channels: dims[1],
            source: window::Source::Image,
            size: [axes[0].input, axes[1].input],
            input: from.strides,
            window: node.g.window,
            pads: [axes[0].begin, axes[1].begin],
            out: [axes[0].output, axes[1].output],
            groups: window::row_groups(dims[0], blocks, axes[0].output),
            output: to.strides,
            epilogue: epilogue.f,
            sides: epilogue.sides,
            bounded: epilogue.bounded,
            sums: Number::I32,
        };
        let filter = node.filter(spec.group_rows(), &target);
        let name = lo.graph().node(view.node).name.clone();
        filter.lower(&spec, [from.operand, to.operand], epilogue.operands, &name, lo)
    }
}
