//! Transposed convolution of bytes, with sums in integers.

use super::{Geometry, Part};
use crate::families::dense::Dense;
use crate::families::igemm::operand::{self, Bias};
use crate::families::igemm::spec::Number;
use crate::families::integer::{Sums, Weights, range, zero_point};
use crate::families::sides::{byte_image_wish, fits_typed_image, image_wishes, place_image};
use crate::families::taps::Together;
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::conv_transpose;
use mnnc_ops::family::quant::CONV_TRANSPOSE_INTEGER;
use mnnc_vector::Target;

/// The family.
pub struct ConvTransposeInteger;

/// What the family has to know of a node.
struct Node {
    g: Geometry,
    x: ValueId,
    zero: u8,
    weights: Weights,
}

impl Node {
    fn read(view: &View, target: &Target) -> Option<Node> {
        let anchor = view.anchor.filter(|a| a.is(&CONV_TRANSPOSE_INTEGER))?;
        let facts = view.graph.facts(view.anchor_id?);
        let input = |i: usize| view.inputs.get(i).copied().flatten();
        let (x, w) = (input(0)?, input(1)?);
        let g = Geometry::sized(conv_transpose::shape(&facts.of(anchor)).ok()?, target)?;
        let fits = view.graph.ty(x).dtype == DType::U8 && fits_typed_image(view, &g.shape.dims());
        let weights = Weights::read(view.graph, w, None, true, 1).filter(|_| fits)?;
        Some(Node { g, x, zero: zero_point(view, 2)?, weights })
    }

    fn wish(&self, target: &Target) -> Wish {
        let halo = self.g.halo.filled(self.zero);
        let pitch = self.g.shape.inputs.next_multiple_of(target.lanes());
        let tiled = self.g.parts().iter().any(|p| self.together(p, target, pitch).is_some());
        if tiled { Wish::Interleaved(halo) } else { byte_image_wish(target, halo) }
    }

    /// What tiles read at once of pixels that lie together, so many bytes apart, if they are faster than vectors.
    fn together(&self, part: &Part, target: &Target, pitch: usize) -> Option<Together> {
        Together::chosen(target, &self.g.shape, &part.window(), part.out(), pitch)
    }
}

impl Family for ConvTransposeInteger {
    fn name(&self) -> &'static str {
        "conv_transpose_integer"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let node = Node::read(view, target)?;
        let mut wishes = vec![(node.x, node.wish(target))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let missing = || OpError::unsupported("not a transposed convolution of this family");
        let node = Node::read(view, &target).ok_or_else(missing)?;
        let (g, shape) = (&node.g, &node.g.shape);
        let input = lo.input(node.x, node.wish(&target))?;
        let output = lo.output(view.outputs[0], Forms::BLOCKED)?;
        let placed = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        for part in g.parts() {
            let window = part.window();
            let [kh, kw] = window.kernel;
            let position = g.weight(&part);
            let taps = || (0..kh).flat_map(|y| (0..kw).map(move |x| [y, x]));
            let of_channel =
                |o: usize| (0..shape.inputs).flat_map(move |c| taps().map(move |[y, x]| position(o, [c, y, x])));
            let sums: Vec<Sums> = (0..shape.groups * shape.outputs)
                .map(|o| Sums::of(of_channel(o).map(|i| node.weights.at(i)), node.zero))
                .collect();
            let bias: Vec<i32> = sums.iter().map(|s| s.bias).collect();
            let epilogue = placed.clone().behind(Some(range(&sums)));
            let at = g.place(&part, &input, &output, &epilogue)?;
            let s = &input.storage;
            // Blocks that are there already are read as they are, by vectors.
            let together = s.as_interleaved(target.lanes());
            let together = together.and_then(|s| node.together(&part, &target, s.strides[3]));
            let weight = |o: usize, k: [usize; 3]| {
                let [c, y, x] = together.map_or(k, |t| t.place(k));
                let there = c < shape.inputs && x < kw;
                if there { f32::from(node.weights.at(position(o, [c, y, x]))) } else { 0.0 }
            };
            let product = operand::Weights::computed(Box::new(weight));
            let dense = Dense {
                family: "conv_transpose_integer",
                images: shape.batch,
                groups: shape.groups,
                inputs: shape.inputs,
                outputs: shape.outputs,
                window,
                border: None,
                out: part.out(),
                number: Number::U8,
                block_in: s.block.unwrap_or(1),
                input: at.input,
                weights: product,
                bias: Bias::I32(bias),
                terms: shape.inputs * kh * kw,
                epilogue: at.epilogue,
            };
            let dense = match together {
                Some(t) => dense.reading(t),
                None => dense,
            };
            dense.lower(&at.output, lo, &name)?;
        }
        Ok(())
    }
}
