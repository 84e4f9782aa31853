//! Transposed convolution of floats, or of pairs of bf16.

use super::Geometry;
use crate::compressed;
use crate::families::dense::Dense;
use crate::families::igemm::operand::{Bias, Weights};
use crate::families::igemm::spec::Number;
use crate::families::sides::{fits_image, image_wishes, may_reduce, place_image};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, Tensor, ValueId};
use mnnc_ops::family::conv_transpose::{self, CONV_TRANSPOSE};
use mnnc_vector::Target;

/// The family.
pub struct ConvTranspose;

fn read(view: &View, target: &Target) -> Option<Geometry> {
    let anchor = view.anchor.filter(|a| a.is(&CONV_TRANSPOSE))?;
    let facts = view.graph.facts(view.anchor_id?);
    let ctx = facts.of(anchor);
    let constant = |i: usize| match view.inputs.get(i).copied().flatten() {
        Some(v) => view.graph.constant(v).is_some_and(|t| t.dtype() == DType::F32),
        None => i == 2,
    };
    let g = Geometry::sized(conv_transpose::shape(&ctx).ok()?, target)?;
    let fits = ctx.input(0).ok()?.dtype == DType::F32
        && view.inputs.get(1).copied().flatten().is_some_and(|w| compressed::is_constant(view.graph, w))
        && constant(2)
        && fits_image(view, &g.shape.dims());
    fits.then_some(g)
}

/// Pairs of bf16 are multiplied where there is one group.
fn wish(g: &Geometry, target: &Target) -> Wish {
    if target.has_bf16() && g.shape.groups == 1 { Wish::Reduced(g.halo) } else { Wish::Blocked(g.halo) }
}

impl Family for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let g = read(view, target)?;
        let mut wishes = vec![(view.inputs.first().copied().flatten()?, wish(&g, target))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not a transposed convolution of this family");
        let target = *lo.target();
        let g = read(view, &target).ok_or_else(missing)?;
        let [x, w] = [0, 1].map(|i| view.inputs.get(i).copied().flatten());
        let (x, w) = (x.ok_or_else(missing)?, w.ok_or_else(missing)?);
        let bias = view.inputs.get(2).copied().flatten().and_then(|b| lo.constant(b));
        let bias = bias.map_or_else(|| vec![0.0; g.shape.groups * g.shape.outputs], Tensor::to_vec);
        let input = lo.input(x, wish(&g, &target))?;
        let output = lo.output(view.outputs[0], Forms { reduced: may_reduce(view, &target), ..Forms::BLOCKED })?;
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let name = lo.graph().node(view.node).name.clone();
        for part in g.parts() {
            let at = g.place(&part, &input, &output, &epilogue)?;
            let position = g.weight(&part);
            let position = Box::new(move |o: usize, k: [usize; 3]| Some(position(o, k)));
            let weights = Weights::new(lo.graph(), w, [1, 0], position).ok_or_else(missing)?;
            let window = part.window();
            let dense = Dense {
                family: "conv_transpose",
                images: g.shape.batch,
                groups: g.shape.groups,
                inputs: g.shape.inputs,
                outputs: g.shape.outputs,
                window,
                border: None,
                out: part.out(),
                number: Number::of(&input.storage),
                block_in: input.storage.block.unwrap_or(1),
                input: at.input,
                weights,
                bias: Bias::F32(bias.clone()),
                terms: g.shape.inputs * window.kernel[0] * window.kernel[1],
                epilogue: at.epilogue,
            };
            dense.lower(&at.output, lo, &name)?;
        }
        Ok(())
    }
}
