//! Convolution over blocked images: dense and grouped through the implicit GEMM, depthwise and in small groups through the sliding window.

use crate::compressed;
use crate::families::dense::Dense;
use crate::families::igemm::border::Border;
use crate::families::igemm::operand::{Bias, Weights};
use crate::families::igemm::spec::{Number, Window};
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, fits_image, image_wish, image_wishes, may_reduce, place_image, vectors};
use crate::families::taps::{self, PIXEL, Together};
use crate::families::window::{self, Filter, grouped};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering, Placed};
use crate::schedule::{Access, BufferId, Operand};
use crate::storage::Halo;
use mnnc_ir::{DType, OpError, Tensor, ValueId};
use mnnc_ops::family::conv::{CONV, ConvShape};
use mnnc_vector::Target;

/// The family.
pub struct Conv;

impl Family for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let geometry = Geometry::read(view, target)?;
        let wish = if geometry.reads_pixels(target) { Wish::Plain } else { geometry.wish(target) };
        let mut wishes = vec![(view.inputs.first().copied().flatten()?, wish)];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let missing = || OpError::unsupported("not a convolution of this family");
        let g = Geometry::read(view, &target).ok_or_else(missing)?;
        let x = view.inputs.first().copied().flatten().ok_or_else(missing)?;
        let input = if g.reads_pixels(&target) { first_layer(lo, x, &g)? } else { lo.input(x, g.wish(&target))? };
        let forms = Forms { reduced: may_reduce(view, &target), ..Forms::BLOCKED };
        let output = lo.output_in_place(view, forms, &view.inputs)?;
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        match g.kind {
            Kind::Dense => dense(view, &g, &input, epilogue, lo)?.lower(&Region::write(&output), lo, &name),
            Kind::Depthwise | Kind::SmallGroups => windows(view, &g, [&input, &output], epilogue, lo),
        }
    }
}

/// Few channels, rounded to bf16, four of them together, with a border that holds the whole of the last tile row where there are tiles.
fn first_layer(lo: &mut Lowering, x: ValueId, g: &Geometry) -> Result<Placed, OpError> {
    let from = lo.input(x, Wish::Plain)?;
    let taps = g.pixels_of_taps(lo.target());
    let halo = if taps { taps::halo(g.halo, &g.shape.axes[1], g.taps_together()) } else { g.halo };
    let dims = [g.shape.batch, g.shape.inputs, g.shape.axes[0].input, g.shape.axes[1].input];
    let to = lo.reduced_image(x, &dims, PIXEL, halo)?;
    lo.copy(x, &from, &to);
    Ok(to)
}

#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// One group or several, through the implicit GEMM.
    Dense,
    /// One input and one output channel a group.
    Depthwise,
    /// A few of each, as many groups to a vector as [fit](grouped::fits).
    SmallGroups,
}

/// What the family has to know of a node.
pub(super) struct Geometry {
    pub(super) shape: ConvShape,
    pub(super) window: Window,
    /// Zero border that the windows reach into.
    pub(super) halo: Halo,
    pub(super) kind: Kind,
}

impl Geometry {
    /// `None` if the node is not for this family.
    pub(super) fn read(view: &View, target: &Target) -> Option<Geometry> {
        let anchor = view.anchor.filter(|a| a.is(&CONV))?;
        let facts = view.graph.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let shape = mnnc_ops::family::conv::shape(&ctx, 0, 1).ok()?;
        let x = ctx.input(0).ok()?;
        let constant = |i: usize| match view.inputs.get(i).copied().flatten() {
            Some(v) => view.graph.constant(v).is_some_and(|t| t.dtype() == DType::F32),
            None => i == 2,
        };
        let weights = view.inputs.get(1).copied().flatten().is_some_and(|w| compressed::is_constant(view.graph, w));
        if x.dtype != DType::F32 || !weights || !constant(2) || !fits_image(view, &shape.dims()) {
            return None;
        }
        let mut g = Geometry::sized(shape, target)?;
        // Pairs of bf16 are multiplied twice as fast, on tiles many times, with zeros among them.
        let many = !target.has_bf16() || (!target.has_tiles() && 4 * g.shape.inputs <= target.lanes());
        if g.shape.groups > 1 && many && grouped::fits(g.shape.inputs, g.shape.outputs, target) {
            g.kind = Kind::SmallGroups;
        }
        Some(g)
    }
    /// The geometry of a shape. `None` if it is not one of images, or they are empty or too large to be addressed.
    pub(super) fn sized(shape: ConvShape, target: &Target) -> Option<Geometry> {
        let [rows, cols] = shape.axes[..] else { return None };
        let (dims, lanes) = (shape.dims(), target.lanes());
        let kind =
            if shape.inputs == 1 && shape.outputs == 1 && shape.groups > 1 { Kind::Depthwise } else { Kind::Dense };
        // Addresses inside an image are 32-bit displacements; empty images have no tiles.
        let channels = (shape.groups * shape.inputs.max(shape.outputs)).next_multiple_of(lanes);
        let pixels = rows
            .input
            .max(rows.output)
            .checked_add(2 * rows.kernel * rows.dilation)?
            .checked_mul(cols.input.max(cols.output).checked_add(2 * cols.kernel * cols.dilation)?)?;
        let bytes = channels.checked_mul(pixels)?.checked_mul(4 * shape.batch.max(1))?;
        if bytes >= 1 << 31 || dims.contains(&0) || rows.input == 0 || cols.input == 0 || shape.inputs == 0 {
            return None;
        }
        Some(Geometry { window: window::of(&rows, &cols), halo: window::halo(&rows, &cols), shape, kind })
    }
    /// Few channels are read plane by plane: most of a block would be padding.
    pub(super) fn wish(&self, target: &Target) -> Wish {
        let few = self.kind == Kind::Dense && self.shape.groups == 1 && self.shape.inputs <= target.lanes() / 4;
        if few {
            return Wish::Planar(self.halo);
        }
        match self.kind {
            Kind::Depthwise | Kind::SmallGroups => image_wish(target, self.halo),
            Kind::Dense if self.reduced(target) => Wish::Reduced(self.halo),
            _ => Wish::Blocked(self.halo),
        }
    }
    /// Whether pairs of bf16 are multiplied.
    pub(super) fn reduced(&self, target: &Target) -> bool {
        target.has_bf16() && self.kind == Kind::Dense
    }
    /// Whether the taps of a filter row are read as the channels of overlapping pixels of four channels each: what tiles do with the
    /// few channels of a first layer.
    fn pixels_of_taps(&self, target: &Target) -> bool {
        target.has_tiles()
            && self.reduced(target)
            && self.shape.groups == 1
            && self.shape.inputs <= PIXEL
            && self.window.dilation[1] == 1
    }
    /// Whether a first layer reads pixels of four channels in bf16. A single channel would be multiplied with as many zeros.
    fn reads_pixels(&self, target: &Target) -> bool {
        let pairs = self.reduced(target) && self.shape.groups == 1 && (2..=PIXEL).contains(&self.shape.inputs);
        self.pixels_of_taps(target) || (pairs && !target.has_tiles())
    }
    /// Taps of a filter row that tiles read together.
    fn taps_together(&self) -> usize {
        taps::together(self.window.kernel[1], Number::Bf16)
    }
    /// The border, where it is worth leaving out of products of these numbers.
    pub(super) fn border(&self, number: Number, target: &Target) -> Option<Border> {
        let size = [self.shape.axes[0].input, self.shape.axes[1].input];
        let [kh, kw] = self.window.kernel;
        let depth = self.shape.inputs.div_ceil(number.element()) * kh * kw;
        let thin = !if number == Number::U8 { target.has_int8_tiles() } else { target.has_tiles() };
        let border = Border { before: [self.halo.top, self.halo.left], size, thin };
        border.worth(&self.window, self.out(), depth)
    }
    /// Output rows and columns.
    pub(super) fn out(&self) -> [usize; 2] {
        [self.shape.axes[0].output, self.shape.axes[1].output]
    }
}

/// The dense convolution of an input that lies there, with the operands of its epilogue placed.
///
/// # Errors
/// If the weights are not constant.
pub(super) fn dense<'g>(
    view: &View,
    g: &Geometry,
    input: &Placed,
    epilogue: PlacedEpilogue,
    lo: &Lowering<'g>,
) -> Result<Dense<'g>, OpError> {
    let shape = &g.shape;
    let [kh, kw] = g.window.kernel;
    let inputs = shape.inputs;
    let together = together(g, input, lo.target());
    let at = move |o: usize, k: [usize; 3]| {
        let [c, y, x] = together.map_or(k, |t| t.place(k));
        (x < kw && c < inputs).then_some(((o * inputs + c) * kh + y) * kw + x)
    };
    let w = view.inputs.get(1).copied().flatten();
    let weights = w.and_then(|w| Weights::new(lo.graph(), w, [0, 1], Box::new(at)));
    let dense = Dense {
        family: "conv",
        images: shape.batch,
        groups: shape.groups,
        inputs,
        outputs: shape.outputs,
        window: g.window,
        border: g.border(Number::of(&input.storage), lo.target()),
        out: g.out(),
        number: Number::of(&input.storage),
        block_in: input.storage.block.unwrap_or(1),
        input: Region::taps(input, g.halo),
        weights: weights.ok_or_else(|| OpError::unsupported("the weights are not constant"))?,
        bias: Bias::F32(bias(view, g, lo)),
        terms: inputs * kh * kw,
        epilogue,
    };
    Ok(match together {
        Some(t) => dense.reading(t),
        None => dense,
    })
}

/// What tiles read at once where taps of a filter row fill up their rows: pixels of four channels, or of a single vector of bf16.
fn together(g: &Geometry, input: &Placed, target: &Target) -> Option<Together> {
    let (s, lanes) = (&input.storage, target.lanes());
    if s.dtype != DType::BF16 || !target.has_tiles() || g.shape.groups > 1 {
        return None;
    }
    if g.pixels_of_taps(target) {
        return Some(Together::of_pixels(g.taps_together()));
    }
    (s.block == Some(lanes)).then(|| Together::new(&g.window, lanes, lanes))
}

/// What the sums of each output channel start at.
pub(super) fn bias(view: &View, g: &Geometry, lo: &Lowering) -> Vec<f32> {
    let bias = view.inputs.get(2).copied().flatten().and_then(|b| lo.constant(b));
    bias.map_or_else(|| vec![0.0; g.shape.groups * g.shape.outputs], Tensor::to_vec)
}

/// The filter of a depthwise convolution, or one in small groups, for so many vectors of channels.
///
/// # Errors
/// If the weights are not constant.
pub(super) fn filter(view: &View, g: &Geometry, blocks: usize, lo: &Lowering) -> Result<Filter, OpError> {
    // A few KB: not worth packing, and read once for a whole image.
    let values = view.inputs.get(1).copied().flatten().and_then(|w| compressed::numbers(lo.graph(), w));
    let values = values.ok_or_else(|| OpError::unsupported("the weights are not constant"))?;
    let (bias, kernel, lanes) = (bias(view, g, lo), g.window.kernel, lo.target().lanes());
    Ok(match g.kind {
        Kind::SmallGroups => Filter::grouped(&values, &bias, g.shape.inputs, kernel, blocks, lanes),
        _ => Filter::floats(&values, &bias, kernel, blocks, lanes),
    })
}

fn windows(
    view: &View,
    g: &Geometry,
    [input, output]: [&Placed; 2],
    epilogue: PlacedEpilogue,
    lo: &mut Lowering,
) -> Result<(), OpError> {
    let shape = &g.shape;
    let blocks = vectors(&output.storage, lo.target());
    let [from, to] = [Region::taps(input, g.halo), Region::write(output)];
    let spec = window::Spec {
        images: shape.batch,
        blocks,
        channels: shape.groups * shape.outputs,
        source: window::Source::Image,
        size: [shape.axes[0].input, shape.axes[1].input],
        input: from.strides,
        window: g.window,
        pads: [g.halo.top, g.halo.left],
        out: g.out(),
        groups: window::row_groups(shape.batch, blocks, g.out()[0]),
        output: to.strides,
        epilogue: epilogue.f,
        sides: epilogue.sides,
        bounded: false,
        sums: Number::F32,
    };
    let filter = filter(view, g, blocks, lo)?;
    let name = lo.graph().node(view.node).name.clone();
    filter.lower(&spec, [from.operand, to.operand], epilogue.operands, &name, lo)
}

/// Packed weights as an operand.
pub fn weights(lo: &mut Lowering, name: &str, bytes: Vec<u8>) -> Operand {
    let len = bytes.len();
    let buffer: BufferId = lo.weights(name, bytes);
    Operand { buffer, offset: 0, bytes: len, access: Access::Read }
}

/// A kernel that did not compile is a defect of its generator; it is reported with the node.
pub fn compiled<T>(r: Result<T, mnnc_vector::CompileError>) -> Result<T, OpError> {
    r.map_err(|e| OpError::unsupported(format!("kernel generation failed: {e}")))
}
