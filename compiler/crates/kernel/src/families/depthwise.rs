//! Depthwise convolution of bytes: `conv_integer` with one input and one output channel a group.
//!
//! With products of bytes, four taps of a filter row are one ([`dot`]); without, the sums of the float kernel
//! ([`sum`]) are exact, for integers up to 2^24 are.

use crate::families::conv::{compiled, weights};
use crate::families::epilogue::bounds::Range;
use crate::families::igemm::spec::Number;
use crate::families::sides::{fits_typed_image, from_offset, image_strides, image_wishes, place_image};
use crate::families::window::{self, dot, halo, sum};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::storage::Halo;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::conv::ConvShape;
use mnnc_vector::Target;

/// The family.
pub struct Depthwise;

/// Sums below this are exact in `f32`.
const EXACT: i64 = 1 << 24;

struct Node {
    x: ValueId,
    shape: ConvShape,
    /// Less their zero points, `[channel][tap]`.
    weights: Vec<i32>,
    /// Of the input: what its border holds.
    zero: u8,
}

impl Node {
    /// `None` if the node is not for this family.
    fn read(view: &View, target: &Target) -> Option<Node> {
        let anchor = view.anchor.filter(|a| a.op.name == "conv_integer")?;
        let g = view.graph;
        let facts = g.facts(view.anchor_id?);
        let shape = mnnc_ops::family::conv::shape(&facts.of(anchor), 0, 1).ok()?;
        let single = shape.inputs == 1 && shape.outputs == 1 && shape.groups > 1 && shape.axes.len() == 2;
        let input = |i: usize| view.inputs.get(i).copied().flatten();
        let constant = |i: usize| input(i).map(|v| g.constant(v)).map_or(Some(None), |t| Some(Some(t?)));
        let (x, w) = (input(0)?, g.constant(input(1)?)?);
        if !single || g.ty(x).dtype != DType::U8 || !fits_typed_image(view, &shape.dims()) {
            return None;
        }
        let zero = match constant(2)? {
            Some(t) if t.len() == 1 => t.to_f64s()[0] as u8,
            Some(_) => return None,
            None => 0,
        };
        let zeros = constant(3)?.map_or(vec![0.0], |t| t.to_f64s());
        let taps = shape.axes[0].kernel * shape.axes[1].kernel;
        let zero_of = |channel: usize| zeros.get(channel).or(zeros.first()).copied().unwrap_or(0.0);
        let weights: Vec<i32> =
            w.to_f64s().into_iter().enumerate().map(|(i, w)| (w - zero_of(i / taps.max(1))) as i32).collect();
        let node = Node { x, shape, weights, zero };
        let dims = node.shape.dims();
        let extent = |i: usize| {
            let a = &node.shape.axes[i];
            a.input.max(a.output).checked_add(2 * a.kernel.checked_mul(a.dilation)?)
        };
        let plane = extent(0)?.checked_mul(extent(1)?)?;
        let bytes = dims[1].next_multiple_of(target.lanes()).checked_mul(plane)?.checked_mul(4 * dims[0].max(1))?;
        let empty = dims.contains(&0) || node.shape.axes.iter().any(|a| a.input == 0 || a.kernel == 0);
        (!empty && bytes < 1 << 31 && (node.dots(target) || node.is_exact())).then_some(node)
    }

    fn taps(&self) -> [usize; 2] {
        [self.shape.axes[0].kernel, self.shape.axes[1].kernel]
    }

    /// Whether products of bytes are taken.
    fn dots(&self, target: &Target) -> bool {
        target.has_dot_u8s8() && self.weights.iter().all(|w| i8::try_from(*w).is_ok())
    }

    /// Whether no sum of `f32` is rounded.
    fn is_exact(&self) -> bool {
        let taps: usize = self.taps().iter().product();
        let most = |row: &[i32]| row.iter().map(|w| i64::from(w.abs())).sum::<i64>() * 2 * 255;
        self.weights.chunks(taps).all(|row| most(row) < EXACT)
    }

    /// Where the sums lie.
    fn range(&self) -> Range {
        let taps: usize = self.taps().iter().product();
        let most = |row: &[i32]| row.iter().map(|w| f64::from(w.abs())).sum::<f64>() * 255.0;
        let most = self.weights.chunks(taps).map(most).fold(0.0, f64::max);
        Some([-most, most])
    }

    fn halo(&self) -> Halo {
        halo(&self.shape.axes[0], &self.shape.axes[1]).filled(self.zero)
    }

    /// What the sum of each channel starts from: less its zero point, an input adds nothing.
    fn start(&self, blocks: usize, lanes: usize) -> Vec<i32> {
        let taps: usize = self.taps().iter().product();
        let of = |c: usize| {
            let row = self.weights.chunks(taps).nth(c).unwrap_or(&[]);
            -i32::from(self.zero) * row.iter().sum::<i32>()
        };
        (0..blocks * lanes).map(of).collect()
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
        let dims = node.shape.dims();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?.behind(Some(node.range()));
        let (s, lanes) = (&input.storage, target.lanes());
        let axes = &node.shape.axes;
        let (blocks, [kh, kw]) = (dims[1].div_ceil(lanes), node.taps());
        let spec = window::Spec {
            images: dims[0],
            blocks,
            channels: dims[1],
            source: window::Source::Image,
            size: [axes[0].input, axes[1].input],
            input: image_strides(s, &s.dims),
            window: window::of(&axes[0], &axes[1]),
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
        let start = node.start(blocks, lanes);
        let (kernel, packed, start) = if node.dots(&target) {
            let taps = dot::Taps::new(kw, axes[1].stride, axes[1].dilation, kh, dot::tile_rows(&target, spec.group_rows()));
            let key = window::name("depthwise_u8", &spec, &target);
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(dot::compile(&spec, &taps, t, &key)))?;
            let values: Vec<i8> = node.weights.iter().map(|&w| w as i8).collect();
            (kernel, taps.pack(&values, [kh, kw], blocks, lanes), bytemuck::cast_slice(&start).to_vec())
        } else {
            let key = window::name("depthwise_u8_f32", &spec, &target);
            let by_channel = sum::Weighting::PerChannel;
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(sum::compile(&spec, by_channel, t, &key)))?;
            let floats = |v: &[i32]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            let packed = window::pack(&floats(&node.weights), kh * kw, blocks, lanes);
            (kernel, packed, bytemuck::cast_slice(&floats(&start)).to_vec())
        };
        let packed = weights(lo, &format!("{name}.weight"), packed);
        let start = weights(lo, &format!("{name}.start"), start);
        let border = node.halo().top * s.strides[2] + node.halo().left * s.strides[3];
        let mut operands = vec![from_offset(&input.read(), s.offset - border), packed, start];
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let flops = 2 * kh * kw * dims.iter().product::<usize>();
        lo.step(kernel, operands, spec.units(), flops as u64);
        Ok(())
    }
}
