//! Max and average pooling.

use crate::families::conv::{compiled, weights};
use crate::families::igemm::spec::Number;
use crate::families::sides::{
    byte_image_wish, fits_typed_image, from_offset, image_strides, image_wish, image_wishes, may_reduce, place_image,
    vectors,
};
use crate::families::window::{self, Spec, halo, max, sum};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use crate::prologue::Affine;
use crate::storage::Halo;
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_ops::family::conv::Axis;
use mnnc_vector::Target;

/// The family.
pub struct Pool;

#[derive(Copy, Clone, PartialEq, Eq)]
pub(in crate::families) enum Kind {
    Max,
    Average { include_pad: bool },
}

/// What the family has to know of a node.
pub(in crate::families) struct Geometry {
    pub(in crate::families) rows: Axis,
    pub(in crate::families) cols: Axis,
    pub(in crate::families) kind: Kind,
    elements: Elements,
    x: ValueId,
}

/// What is pooled.
#[derive(Copy, Clone, PartialEq)]
enum Elements {
    Float,
    /// Bytes, as they are.
    Bytes,
    /// What bytes stand for.
    Dequantised(Affine),
}

impl Geometry {
    /// `None` if the node is not for this family.
    pub(in crate::families) fn read(view: &View, target: &Target) -> Option<Geometry> {
        let anchor = view.anchor?;
        let facts = view.graph.facts(view.anchor_id?);
        let ctx = facts.of(anchor);
        let kind = match anchor.op.name {
            "max_pool" if anchor.outputs().len() == 1 => Kind::Max,
            "average_pool" => Kind::Average { include_pad: ctx.flag("count_include_pad") },
            _ => return None,
        };
        let x = view.inputs.first().copied().flatten()?;
        let ty = view.graph.ty(x);
        let dims = ty.static_dims()?;
        let elements = match (&view.prologue, ty.dtype) {
            (None, DType::F32) => Elements::Float,
            // The greatest of bytes stays a byte: there is no arithmetic to put a chain behind.
            (None, DType::U8) if kind == Kind::Max && view.epilogue.is_none() => Elements::Bytes,
            (Some(f), DType::U8) if kind != Kind::Max => Elements::Dequantised(Affine::of(f)?),
            _ => return None,
        };
        let [rows, cols] = mnnc_ops::family::pool::axes(&ctx).ok()?[..] else { return None };
        let out = view.graph.ty(view.outputs[0]).static_dims()?;
        // Clamping taps to the edge needs windows without gaps that hold at least one element; see `window::max`.
        let clampable =
            |a: &Axis| a.dilation == 1 && (0..a.output).all(|o| (0..a.kernel).any(|k| a.at(o, k).is_some()));
        if kind == Kind::Max && !(clampable(&rows) && clampable(&cols)) {
            return None;
        }
        let plane =
            (rows.input + 2 * rows.kernel * rows.dilation).checked_mul(cols.input + 2 * cols.kernel * cols.dilation)?;
        let bytes = dims[1].next_multiple_of(target.lanes()).checked_mul(plane)?.checked_mul(4 * dims[0].max(1))?;
        let fits = bytes < 1 << 31 && !dims.contains(&0) && !out.contains(&0) && fits_typed_image(view, &out);
        fits.then_some(Geometry { rows, cols, kind, elements, x })
    }
    /// Whether floats are pooled.
    pub(in crate::families) fn is_float(&self) -> bool {
        self.elements == Elements::Float
    }
    /// What is pooled as it is.
    pub(in crate::families) fn number(&self) -> Number {
        if self.is_float() { Number::F32 } else { Number::U8 }
    }
    fn halo(&self) -> Halo {
        match self.kind {
            Kind::Max => Halo::default(),
            Kind::Average { .. } => halo(&self.rows, &self.cols).filled(self.affine().zero),
        }
    }
    /// How what is pooled follows from what is stored.
    fn affine(&self) -> Affine {
        match self.elements {
            Elements::Dequantised(a) => a,
            Elements::Float | Elements::Bytes => Affine { zero: 0, scale: 1.0 },
        }
    }
    fn wish(&self, target: &Target) -> Wish {
        if self.is_float() { image_wish(target, self.halo()) } else { byte_image_wish(target, self.halo()) }
    }
    /// One over the number of elements that each window averages, times their scale.
    fn factors(&self, include_pad: bool) -> Vec<f32> {
        let count = |a: &Axis, o: usize| {
            let counts = |k: &usize| if include_pad { a.in_padded(o, *k) } else { a.at(o, *k).is_some() };
            (0..a.kernel).filter(counts).count()
        };
        let mut out = Vec::with_capacity(self.rows.output * self.cols.output);
        for y in 0..self.rows.output {
            for x in 0..self.cols.output {
                out.push(self.affine().scale / (count(&self.rows, y) * count(&self.cols, x)) as f32);
            }
        }
        out
    }
}

impl Family for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn reads_prologue(&self) -> bool {
        true
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let g = Geometry::read(view, target)?;
        let mut wishes = vec![(g.x, g.wish(target))];
        wishes.extend(image_wishes(view, target));
        Some(wishes)
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let target = *lo.target();
        let g = Geometry::read(view, &target).ok_or_else(|| OpError::unsupported("not a pooling of this family"))?;
        let input = lo.input(g.x, g.wish(&target))?;
        let float = view.graph.ty(view.outputs[0]).dtype == DType::F32;
        let reduced = float && may_reduce(view, &target);
        let output = lo.output(view.outputs[0], Forms { reduced, ..Forms::BLOCKED })?;
        let dims = output.storage.dims.clone();
        let epilogue = place_image(view.epilogue.as_ref(), lo, &output.storage)?;
        let s = &input.storage;
        let spec = Spec {
            images: dims[0],
            blocks: vectors(&output.storage, &target),
            channels: dims[1],
            source: window::Source::Image,
            size: [g.rows.input, g.cols.input],
            input: image_strides(s, &s.dims),
            window: window::of(&g.rows, &g.cols),
            pads: [g.rows.begin, g.cols.begin],
            out: [g.rows.output, g.cols.output],
            groups: window::row_groups(dims[0], dims[1].div_ceil(target.lanes()), g.rows.output),
            output: image_strides(&output.storage, &dims),
            epilogue: epilogue.f,
            sides: epilogue.sides,
            bounded: false,
            sums: Number::F32,
        };
        let (kernel, mut operands) = match g.kind {
            Kind::Max => {
                let key = window::name("max_pool", &spec, &target);
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(max::compile(&spec, t, &key)))?;
                (kernel, vec![from_offset(&input.read(), s.offset)])
            }
            Kind::Average { include_pad } => {
                let key = window::name("average_pool", &spec, &target);
                let by_pixel = sum::Weighting::PerPixel(g.affine().zero);
                let kernel = lo.cached_kernel(key.clone(), |t| compiled(sum::compile(&spec, by_pixel, t, &key)))?;
                let factors = bytemuck::cast_slice(&g.factors(include_pad)).to_vec();
                let factors = weights(lo, "factors", factors);
                (kernel, vec![from_offset(&input.read(), s.first_tap(g.halo())), factors.clone(), factors])
            }
        };
        operands.extend(epilogue.operands);
        operands.push(from_offset(&output.write(), output.storage.offset));
        let flops = g.rows.kernel * g.cols.kernel * dims.iter().product::<usize>();
        lo.step(kernel, operands, spec.units(), flops as u64);
        Ok(())
    }
}
