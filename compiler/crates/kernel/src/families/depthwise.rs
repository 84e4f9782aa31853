//! Depthwise convolution of bytes: `conv_integer` with one input and one output channel a group.
//!
//! With products of bytes, four taps of a filter row are one ([`dot`]). Without, the kernel for floats does it ([`sum`]), whose sums
//! are exact as long as they stay below 2^24.

use crate::families::conv::{Geometry, Kind, compiled, weights};
use crate::families::igemm::spec::Number;
use crate::families::integer::{Sums, Weights, range, zero_point};
use crate::families::sides::{fits_typed_image, from_offset, image_strides, image_wishes, place_image};
use crate::families::window::{self, dot, sum};
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

struct Node {
    g: Geometry,
    x: ValueId,
    /// `[channel][tap]`.
    weights: Weights,
    /// Of each channel.
    sums: Vec<Sums>,
    /// The byte that stands for 0: what the border holds.
    zero: u8,
}

impl Node {
    /// `None` if the node is not for this family.
    fn read(view: &View, target: &Target) -> Option<Node> {
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
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?.behind(Some(range(&node.sums)));
        let (s, lanes) = (&input.storage, target.lanes());
        let axes = &node.g.shape.axes;
        let (blocks, [kh, kw]) = (dims[1].div_ceil(lanes), node.g.window.kernel);
        let spec = window::Spec {
            images: dims[0],
            blocks,
            channels: dims[1],
            source: window::Source::Image,
            size: [axes[0].input, axes[1].input],
            input: image_strides(s, &s.dims),
            window: node.g.window,
            pads: [axes[0].begin, axes[1].begin],
            out: [axes[0].output, axes[1].output],
            groups: window::row_groups(dims[0], blocks, axes[0].output),
            output: image_strides(&output.storage, &dims),
            epilogue: epilogue.f,
            sides: epilogue.sides,
            bounded: epilogue.bounded,
            sums: Number::I32,
        };
        let name = lo.graph().node(view.node).name.clone();
        let values: Vec<i8> = (0..dims[1] * kh * kw).map(|i| node.weights.at(i)).collect();
        let start: Vec<i32> = (0..blocks * lanes).map(|c| node.sums.get(c).map_or(0, |s| s.bias)).collect();
        let (kernel, packed, start) = if target.has_dot_u8s8() {
            let taps =
                dot::Taps::new(kw, axes[1].stride, axes[1].dilation, kh, dot::tile_rows(&target, spec.group_rows()));
            let key = window::name("depthwise_u8", &spec, &target);
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(dot::compile(&spec, &taps, t, &key)))?;
            (kernel, taps.pack(&values, [kh, kw], blocks, lanes), bytemuck::cast_slice(&start).to_vec())
        } else {
            let key = window::name("depthwise_u8_f32", &spec, &target);
            let by_channel = sum::Weighting::PerChannel;
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(sum::compile(&spec, by_channel, t, &key)))?;
            let floats: Vec<f32> = values.iter().map(|&w| f32::from(w)).collect();
            let start: Vec<f32> = start.iter().map(|&x| x as f32).collect();
            (kernel, window::pack(&floats, kh * kw, blocks, lanes), bytemuck::cast_slice(&start).to_vec())
        };
        let packed = weights(lo, &format!("{name}.weight"), packed);
        let start = weights(lo, &format!("{name}.start"), start);
        let mut operands = vec![from_offset(&input.read(), s.first_tap(node.halo())), packed, start];
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let flops = 2 * kh * kw * dims.iter().product::<usize>();
        lo.step(kernel, operands, spec.units(), flops as u64);
        Ok(())
    }
}
