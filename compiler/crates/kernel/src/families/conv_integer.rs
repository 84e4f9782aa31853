//! Convolution of unsigned with signed bytes, dense and grouped, through the implicit GEMM: sums in `i32`, and the chain behind them.
//!
//! The border of the input holds its zero point, which thus counts as zero. Every sum starts at `-zero point * sum of the weights`.

use crate::families::conv::{Geometry, Kind};
use crate::families::dense::Dense;
use crate::families::igemm::operand::Bias;
use crate::families::igemm::spec::Number;
use crate::families::igemm::{border, operand, tiles};
use crate::families::integer::{Sums, Weights, range, zero_point};
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, byte_image_wish, fits_typed_image, image_wishes, place_image};
use crate::families::taps::{self, PIXEL, Together};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering, Placed};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::quant::CONV_INTEGER;
use mnnc_vector::Target;

/// The family.
pub struct ConvInteger;

/// Filter columns from which on tiles do a first layer.
const TAPS: usize = 5;

/// What the family has to know of a node.
pub(super) struct Convolution {
    pub(super) g: Geometry,
    x: ValueId,
    zero: u8,
    weights: Weights,
}

impl Convolution {
    pub(super) fn read(view: &View, target: &Target) -> Option<Convolution> {
        let anchor = view.anchor.filter(|a| a.is(&CONV_INTEGER))?;
        let facts = view.graph.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let shape = mnnc_ops::family::conv::shape(&ctx, 0, 1).ok()?;
        let input = |i: usize| view.inputs.get(i).copied().flatten();
        let (x, w) = (input(0)?, input(1)?);
        let channels = shape.groups * shape.outputs;
        let fits = view.graph.ty(x).dtype == DType::U8 && fits_typed_image(view, &shape.dims());
        let g = Geometry::sized(shape, target).filter(|g| fits && g.kind == Kind::Dense)?;
        let weights = Weights::read(view.graph, w, input(3), true, channels)?;
        Some(Convolution { g, x, zero: zero_point(view, 2)?, weights })
    }

    /// Few channels lie together, four of them, as the product reads them; whole rows of tiles do for tiles.
    pub(super) fn wish(&self, target: &Target) -> Wish {
        let halo = self.g.halo.filled(self.zero);
        if self.of_taps(target) {
            Wish::Pixels(taps::halo(self.g.halo, &self.g.shape.axes[1], self.taps_together()).filled(self.zero))
        } else if self.few() && target.lanes() > 4 {
            Wish::Pixels(halo)
        } else if self.together(target, self.g.shape.inputs.next_multiple_of(target.lanes())).is_some() {
            Wish::Interleaved(halo)
        } else {
            byte_image_wish(target, halo)
        }
    }

    /// Few channels, as a first layer has.
    fn few(&self) -> bool {
        self.g.shape.groups == 1 && self.g.shape.inputs <= PIXEL
    }

    /// Whether tiles read the taps of a filter row as the channels of overlapping pixels. Narrow filters fill too little of a tile's row.
    fn of_taps(&self, target: &Target) -> bool {
        let wide = self.g.window.kernel[1] >= TAPS && self.g.window.dilation[1] == 1;
        self.few() && wide && tiles::fits(target, Number::U8, self.taps_together(), self.g.out())
    }

    /// Taps of a filter row, filled up to whole rows of tiles.
    fn taps_together(&self) -> usize {
        taps::together(self.g.window.kernel[1], Number::U8)
    }

    /// The convolution of an input that lies there, with the operands of its epilogue placed.
    pub(super) fn dense<'a>(&self, input: &Placed, epilogue: PlacedEpilogue, target: &Target) -> Dense<'a> {
        let s = &input.storage;
        // Blocks that are there already are read as they are, by vectors.
        let together = if self.of_taps(target) {
            Some(Together::of_pixels(self.taps_together()))
        } else {
            s.as_interleaved(target.lanes()).and_then(|s| self.together(target, s.strides[3]))
        };
        let (shape, window, zero, weights) = (&self.g.shape, self.g.window, self.zero, self.weights.clone());
        let [kh, kw] = window.kernel;
        let (inputs, taps) = (shape.inputs, kh * kw);
        let of_channel = |o: usize| (0..inputs * taps).map(move |i| o * inputs * taps + i);
        let sums: Vec<Sums> =
            (0..shape.groups * shape.outputs).map(|o| Sums::of(of_channel(o).map(|i| weights.at(i)), zero)).collect();
        let at = move |o: usize, k: [usize; 3]| {
            let [i, y, x] = together.map_or(k, |t| t.place(k));
            let there = i < inputs && x < kw;
            if there { f32::from(weights.at(((o * inputs + i) * kh + y) * kw + x)) } else { 0.0 }
        };
        let border = self.g.border(Number::U8, target).filter(|_| zero == 0 || kh.max(kw) <= border::LONGEST);
        let dense = Dense {
            family: "conv_integer",
            images: shape.batch,
            groups: shape.groups,
            inputs,
            outputs: shape.outputs,
            window,
            border,
            out: self.g.out(),
            number: Number::U8,
            block_in: s.block.unwrap_or(1),
            input: Region::taps(input, self.g.halo),
            weights: operand::Weights::computed(Box::new(at)),
            bias: if border.is_some() && zero > 0 {
                self.parts()
            } else {
                Bias::I32(sums.iter().map(|s| s.bias).collect())
            },
            terms: inputs * taps,
            epilogue: epilogue.behind(Some(range(&sums))),
        };
        let dense = match together {
            Some(t) => dense.reading(t),
            None => dense,
        };
        // Tiles start their sums at the same for all pixels: what they leave out must be zeros.
        let on_tiles = tiles::fits(target, Number::U8, dense.block_in / Number::U8.element(), dense.out);
        let border = dense.border.filter(|_| zero == 0 || !on_tiles);
        Dense { border, ..dense }
    }

    /// What each tap adds to the sums of its output channel by the zero point.
    fn parts(&self) -> Bias {
        let (shape, [kh, kw]) = (&self.g.shape, self.g.window.kernel);
        let part = |i: usize| {
            let (o, tap) = (i / (kh * kw), i % (kh * kw));
            let weights = (0..shape.inputs).map(|c| self.weights.at((o * shape.inputs + c) * kh * kw + tap));
            Sums::of(weights, self.zero).bias
        };
        Bias::Taps([kh, kw], (0..shape.groups * shape.outputs * kh * kw).map(part).collect())
    }

    /// What tiles read at once of pixels that lie together, so many bytes apart, if they are faster than vectors.
    fn together(&self, target: &Target, pitch: usize) -> Option<Together> {
        Together::chosen(target, &self.g.shape, &self.g.window, self.g.out(), pitch)
    }
}

impl Family for ConvInteger {
    fn name(&self) -> &'static str {
        "conv_integer"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let c = Convolution::read(view, target)?;
        let mut wishes = vec![(c.x, c.wish(target))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let c =
            Convolution::read(view, &target).ok_or_else(|| OpError::unsupported("not a convolution of this family"))?;
        let input = lo.input(c.x, c.wish(&target))?;
        let output = lo.output_in_place(view, Forms::BLOCKED, &view.inputs)?;
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        c.dense(&input, epilogue, &target).lower(&Region::write(&output), lo, &name)
    }
}
