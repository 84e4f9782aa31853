//! Parts of images, and the constants of the layers that work on them.

use crate::families::igemm::operand::Weights;
use crate::families::igemm::spec::Strides;
use crate::families::sides::{from_offset, image_strides};
use crate::family::View;
use crate::lowering::{Lowering, Placed};
use crate::schedule::Operand;
use mnnc_ir::{OpError, Tensor};

/// An image in memory from one of its pixels on.
pub(super) struct Part {
    pub operand: Operand,
    pub strides: Strides,
}

impl Part {
    /// From row and column `at`.
    pub fn of(place: &Placed, at: [usize; 2]) -> Part {
        let s = &place.storage;
        let strides = image_strides(s, &s.dims);
        Part { operand: from_offset(&place.write(), s.offset + at[0] * strides.row + at[1] * strides.pixel), strides }
    }
}

/// The bytes from the first to the last element of an image of `planes` planes, `rows` rows and `cols` columns.
pub(super) fn extent(s: &Strides, [planes, rows, cols]: [usize; 3], element: usize) -> usize {
    (planes - 1) * s.plane + (rows - 1) * s.row + (cols - 1) * s.pixel + element
}

/// The weights and bias of a convolution.
pub(super) fn constants<'g>(view: &View, lo: &Lowering<'g>) -> Result<(Weights<'g>, Option<&'g Tensor>), OpError> {
    let input = |i: usize| view.inputs.get(i).copied().flatten();
    let missing = || OpError::unsupported("the weights are not constant");
    let w = input(1).ok_or_else(missing)?;
    let dims = lo.graph().ty(w).static_dims().ok_or_else(missing)?;
    let &[_, inputs, kh, kw] = &dims[..] else { return Err(missing()) };
    let at = move |o: usize, [c, y, x]: [usize; 3]| Some(((o * inputs + c) * kh + y) * kw + x);
    let weights = Weights::new(lo.graph(), w, [0, 1], Box::new(at)).ok_or_else(missing)?;
    Ok((weights, input(2).and_then(|b| lo.constant(b))))
}

pub(super) fn bias_values(bias: Option<&Tensor>, channels: usize) -> Vec<f32> {
    bias.map_or_else(|| vec![0.0; channels], Tensor::to_vec)
}
