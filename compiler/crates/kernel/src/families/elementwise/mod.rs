//! Element-wise chains without an anchor: one pass over memory, on channel blocks or on plain rows.

pub mod blocked;
pub mod plain;

use crate::families::conv::compiled;
use crate::families::epilogue::bounds;
use crate::families::igemm::spec::Number;
use crate::families::image::is_image;
use crate::families::sides::{fits_typed_image, from_offset, image_strides, image_wishes, place_image, vectors};
use crate::families::{epilogue, fingerprint};
use crate::family::{Family, View, Wish};
use crate::lowering::{Forms, Lowering};
use mnnc_ir::{DType, OpError, ValueId};
use mnnc_vector::Target;

/// The family.
pub struct Elementwise;

impl Family for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>> {
        let dims = result_dims(view)?;
        if is_image(view.graph, view.outputs[0]) && fits_typed_image(view, &dims) {
            return Some(image_wishes(view, target));
        }
        let sides = &view.epilogue.as_ref()?.sides;
        Some(sides.iter().map(|&v| (v, Wish::Plain)).collect())
    }

    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let missing = || OpError::unsupported("not an element-wise chain of this family");
        let dims = result_dims(view).ok_or_else(missing)?;
        let can_block = dims.len() == 4 && fits_typed_image(view, &dims);
        let float = view.graph.ty(view.outputs[0]).dtype == DType::F32;
        let reduced = can_block && float && lo.target().has_bf16();
        let output = lo.output_in_place(view, Forms { plain: true, blocked: can_block, reduced }, &[])?;
        let epilogue = view.epilogue.as_ref().ok_or_else(missing)?;
        let flops = epilogue.f.nodes.len() * dims.iter().product::<usize>();
        if output.storage.block.is_some() {
            let placed = place_image(Some(epilogue), lo, &output.storage)?.behind(None);
            let spec = blocked::Spec {
                images: dims[0],
                blocks: vectors(&output.storage, lo.target()),
                channels: dims[1],
                size: [dims[2], dims[3]],
                output: image_strides(&output.storage, &dims),
                f: epilogue.f.clone(),
                sides: placed.sides,
                bounded: placed.bounded,
            };
            let key = format!("map_blocked_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(blocked::compile(&spec, t, &key)))?;
            let mut operands = placed.operands;
            operands.push(from_offset(&output.write(), output.storage.offset));
            lo.step(kernel, operands, spec.units(), flops as u64);
            return Ok(());
        }
        let mut operands = Vec::new();
        let (mut shapes, mut numbers, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for &v in &epilogue.sides {
            operands.push(lo.input(v, Wish::Plain)?.read());
            shapes.push(lo.graph().ty(v).static_dims().unwrap_or_default());
            let dtype = lo.graph().ty(v).dtype;
            numbers.push(Number::of_type(dtype));
            ranges.push(lo.constant(v).map_or(bounds::of_type(dtype), bounds::of_constant));
        }
        operands.push(output.write());
        numbers.push(Number::of(&output.storage));
        let bounded = bounds::converts_in_range(&epilogue.f, &ranges);
        let sizes: Vec<usize> = numbers.iter().map(|n| n.bytes()).collect();
        for part in plain::parts(&dims, &shapes, &sizes) {
            let spec = plain::Spec { f: epilogue.f.clone(), part: part.clone(), numbers: numbers.clone(), bounded };
            let key = format!("map_{}_{}", lo.target(), fingerprint(&format!("{spec:?}")));
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(plain::compile(&spec, t, &key)))?;
            let operands = operands.iter().zip(&part.starts).map(|(o, &s)| from_offset(o, s)).collect();
            let share = flops * part.elements() / dims.iter().product::<usize>().max(1);
            lo.step(kernel, operands, part.units(), share as u64);
        }
        Ok(())
    }
}

/// Shape of the result, if the chain can be emitted on vectors.
fn result_dims(view: &View) -> Option<Vec<usize>> {
    let (None, Some(e), &[out]) = (view.anchor, &view.epilogue, &view.outputs[..]) else { return None };
    let g = view.graph;
    let dims = g.ty(out).static_dims()?;
    let bytes = dims.iter().try_fold(4usize, |a, &d| a.checked_mul(d))?;
    let plain = e.sides.iter().all(|&v| epilogue::is_number(g.ty(v).dtype) && g.ty(v).static_dims().is_some());
    (plain && epilogue::emits(&e.f) && (1..1 << 30).contains(&bytes)).then_some(dims)
}
