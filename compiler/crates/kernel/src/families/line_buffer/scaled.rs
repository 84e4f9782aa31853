//! An element-wise pass over an image that exceeds L2, and the 1x1 convolution that reads it, strip by strip.

use super::emit::strips;
use super::third_layer::ThirdLayer;
use crate::families::conv::compiled;
use crate::families::elementwise::blocked;
use crate::families::fingerprint;
use crate::families::region::Region;
use crate::families::sides::{from_offset, place_in_vectors};
use crate::family::View;
use crate::lowering::{Forms, Lowering};
use mnnc_ir::OpError;

/// Adds the steps.
///
/// # Errors
/// If a kernel does not compile, or a size overflows.
pub(super) fn lower<'g>(map: &View<'g>, point: &View<'g>, lo: &mut Lowering) -> Result<(), OpError> {
    let target = *lo.target();
    let missing = || OpError::unsupported("not a chain of this family");
    let dims = lo.graph().ty(map.outputs[0]).static_dims().ok_or_else(missing)?;
    let (&[images, channels, height, width], Some(epilogue)) = (&dims[..], &map.epilogue) else {
        return Err(missing());
    };
    let placed = place_in_vectors(Some(epilogue), lo, &dims)?;
    let to = lo.output(point.outputs[0], Forms::BLOCKED)?;
    let third = ThirdLayer::new(point, lo)?;
    let blocks = channels.div_ceil(target.lanes());
    let mut start = 0;
    for (rows, count) in strips(height, images * blocks * target.lanes() * width * 4, 1) {
        for _ in 0..count {
            let strip = third.strip([rows, width], lo)?;
            let part = Region::write(&strip);
            let spec = blocked::Spec {
                images,
                blocks,
                channels,
                size: [rows, width],
                output: part.strides,
                f: epilogue.f.clone(),
                sides: placed.sides.clone(),
                bounded: false,
            };
            let key = format!("map_blocked_{target}_{}", fingerprint(&format!("{spec:?}")));
            let kernel = lo.cached_kernel(key.clone(), |t| compiled(blocked::compile(&spec, t, &key)))?;
            let sides = placed.sides.iter().zip(&placed.operands);
            let mut operands: Vec<_> = sides.map(|(s, o)| from_offset(o, start * s.strides.row)).collect();
            operands.push(part.operand);
            let flops = spec.f.nodes.len() * images * channels * rows * width;
            lo.step(kernel, operands, spec.units(), flops as u64);
            third.step(&strip, [start, 0], &to, lo)?;
            start += rows;
        }
    }
    Ok(())
}
