//! The 1x1 convolution at the end of a chain.

use super::dense_layer::DenseLayer;
use crate::families::igemm::spec::Number;
use crate::families::region::Region;
use crate::families::sides::{PlacedEpilogue, place_in_vectors};
use crate::family::{View, Wish};
use crate::lowering::{Lowering, Placed};
use crate::storage::{Halo, Storage};
use mnnc_ir::{DType, OpError};

/// The 1x1 convolution.
pub(super) struct ThirdLayer<'v, 'g> {
    layer: DenseLayer,
    view: &'v View<'g>,
    epilogue: PlacedEpilogue,
}

impl<'v, 'g> ThirdLayer<'v, 'g> {
    pub fn new(view: &'v View<'g>, lo: &mut Lowering) -> Result<ThirdLayer<'v, 'g>, OpError> {
        let layer = DenseLayer::read(view, lo.target());
        let layer = layer.ok_or_else(|| OpError::unsupported("not a chain of this family"))?;
        let epilogue = place_in_vectors(view.epilogue.as_ref(), lo, &layer.geometry().shape.dims())?;
        Ok(ThirdLayer { layer, view, epilogue })
    }

    /// Memory for a strip of so many rows and columns of what it reads.
    ///
    /// # Errors
    /// If it is larger than the address space.
    pub fn strip(&self, [rows, cols]: [usize; 2], lo: &mut Lowering) -> Result<Placed, OpError> {
        let (shape, lanes) = (&self.layer.geometry().shape, lo.target().lanes());
        let dims = [shape.batch, shape.inputs, rows, cols];
        let storage = match (self.layer.number(), self.layer.wish(lo.target())) {
            (Number::U8, Wish::Interleaved(_)) => Storage::interleaved(DType::U8, &dims, lanes, Halo::default()),
            (Number::U8, _) => Storage::blocked(DType::U8, &dims, lanes, Halo::default()),
            _ => Storage::blocked(DType::F32, &dims, lanes, Halo::default()),
        };
        let storage = storage.ok_or_else(|| OpError::unsupported("a strip is larger than the address space"))?;
        Ok(Placed { buffer: lo.temp("strip", storage.bytes), storage })
    }

    /// Adds the steps that make, from a strip of the second layer's output, that part of `to` which begins at row and column `at`.
    pub fn step(&self, strip: &Placed, at: [usize; 2], to: &Placed, lo: &mut Lowering) -> Result<(), OpError> {
        let epilogue = self.epilogue.from(|s| at[0] * s.row + at[1] * s.pixel);
        let mut dense = self.layer.dense(self.view, strip, epilogue, lo)?;
        dense.out = [strip.storage.dims[2], strip.storage.dims[3]];
        let name = lo.graph().node(self.view.node).name.clone();
        dense.lower(&Region::write(to).from(at), lo, &name)
    }
}
