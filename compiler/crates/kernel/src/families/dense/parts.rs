//! What the parts of a convolution have in common that are lowered one by one: how its output channels are cut, and their packed weights.

use super::slice::Slice;
use crate::cost::{Class, Direct, Problem, Tiling};
use crate::lowering::Lowering;
use crate::schedule::Operand;

/// Parts of one convolution, which differ only in their rows. All take the panels of the first, so that weights are packed, and stored, once.
#[derive(Default)]
pub struct Parts {
    direct: Option<Direct>,
    packed: Vec<(Slice, [Operand; 2])>,
}

impl Parts {
    /// The cut of the next part's product.
    pub(super) fn panels(&mut self, p: &Problem, lo: &mut Lowering) -> Vec<Class> {
        let first = *self.direct.get_or_insert_with(|| lo.direct(p));
        let [rows, cols] = first.tile;
        lo.planner().panels(p, &Direct { tile: [rows.min(p.out[0]), cols], ..first })
    }

    /// Weights and bias of a slice, which `pack` makes unless another part has them.
    pub(super) fn packed(&mut self, slice: &Slice, pack: impl FnOnce() -> [Operand; 2]) -> [Operand; 2] {
        // The same channels, whatever the rows.
        let slice = Slice { tiling: Tiling::PIXEL, ..*slice };
        if let Some((_, known)) = self.packed.iter().find(|(s, _)| *s == slice) {
            return known.clone();
        }
        let packed = pack();
        self.packed.push((slice, packed.clone()));
        packed
    }
}
