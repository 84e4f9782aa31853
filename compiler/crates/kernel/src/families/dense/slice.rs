//! Which output channel vectors read which input channels.
//!
//! Groups that do not fill channel blocks share vectors. Such a vector reads the inputs of all groups that it holds channels of,
//! with zero weights where group and channel do not belong together: at most a vector's worth of groups is wasted,
//! and all of the work stays in the tuned kernel. (An infinite or NaN input thus reaches the other groups of its vector.)

use super::{Dense, Parts};
use crate::cost::Tiling;
use crate::families::igemm::spec::{Number, Strides};
use crate::lowering::Lowering;

/// Output channel vectors that read the same range of input channels.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// First output vector.
    pub first: usize,
    /// Vectors a panel.
    pub blocks: usize,
    /// Panels.
    pub panels: usize,
    /// How the output is cut.
    pub tiling: Tiling,
    /// Output channels from this one on do not belong to it.
    pub end: usize,
    /// First input channel.
    pub channel: usize,
    /// Input channels.
    pub inputs: usize,
}

impl Dense<'_> {
    /// The parts of all output channels, for a result that lies so.
    pub(super) fn slices(&self, output: &Strides, lo: &mut Lowering, parts: &mut Parts) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        if self.groups == 1 && (output.half > 0 || self.on_tiles(lo.target())) {
            return self.pairs_of_vectors(output, lo);
        }
        let in_blocks = self.on_tiles(lo.target()) || self.is_aligned(2 * lanes);
        if self.number == Number::Bf16 && self.groups > 1 && in_blocks {
            return self.pairs_of_groups(output, lo);
        }
        let mut slices = self.vectors_of_groups(output, lo, parts);
        if output.half > 0 && !total.div_ceil(lanes).is_multiple_of(2) {
            slices.push(self.zeros(total.div_ceil(lanes), lo));
        }
        slices
    }

    /// A vector beyond the last channel, the second of a block, all of it zeros: its weights are, and so few are enough.
    fn zeros(&self, first: usize, lo: &Lowering) -> Slice {
        let tiling = lo.planner().tiling(&self.problem(lo.target().lanes()), 1);
        let inputs = self.inputs.min(self.number.element());
        Slice { first, blocks: 1, panels: 1, tiling, end: self.groups * self.outputs, channel: 0, inputs }
    }

    /// One vector after the other, with the groups that it holds channels of.
    fn vectors_of_groups(&self, output: &Strides, lo: &mut Lowering, parts: &mut Parts) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        // Panels of several vectors begin with a block of the output.
        if self.is_aligned(if output.half > 0 { 2 * lanes } else { lanes }) {
            let classes = parts.panels(&self.problem(lanes), lo);
            let of_group = |g: usize| {
                classes.iter().map(move |c| Slice {
                    first: g * self.outputs / lanes + c.first,
                    blocks: c.blocks,
                    panels: c.panels,
                    tiling: c.tiling,
                    end: (g + 1) * self.outputs,
                    channel: g * self.inputs,
                    inputs: self.inputs,
                })
            };
            return (0..self.groups).flat_map(of_group).collect();
        }
        let tiling = lo.planner().tiling(&self.problem(lanes), 1);
        let element = self.number.element();
        (0..total.div_ceil(lanes))
            .map(|first| {
                let last = ((first + 1) * lanes).min(total) - 1;
                let groups = [first * lanes / self.outputs, last / self.outputs];
                // From the first of an element on.
                let channel = groups[0] * self.inputs / element * element;
                Slice {
                    first,
                    blocks: 1,
                    panels: 1,
                    tiling,
                    end: total,
                    channel,
                    inputs: (groups[1] + 1) * self.inputs - channel,
                }
            })
            .collect()
    }

    /// Two vectors a panel, with the groups that they hold channels of, in whole blocks of the input.
    fn pairs_of_groups(&self, output: &Strides, lo: &Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let total = self.groups * self.outputs;
        let vectors = total.div_ceil(lanes);
        let tiling = lo.planner().tiling(&self.problem(lanes), 2);
        let mut slices: Vec<Slice> = Vec::new();
        for first in (0..vectors).step_by(2) {
            let blocks = if output.half > 0 { 2 } else { 2.min(vectors - first) };
            let last = ((first + 2) * lanes).min(total) - 1;
            let groups = [first * lanes / self.outputs, last / self.outputs];
            let channel = groups[0] * self.inputs / self.block_in * self.block_in;
            let inputs = ((groups[1] + 1) * self.inputs).next_multiple_of(self.block_in) - channel;
            match slices.last_mut() {
                Some(s) if [s.channel, s.inputs, s.blocks] == [channel, inputs, blocks] => s.panels += 1,
                _ => slices.push(Slice { first, blocks, panels: 1, tiling, end: total, channel, inputs }),
            }
        }
        slices
    }

    /// Two vectors a panel, as tiles compute them and blocks of bf16 hold them. The last of an odd number is alone where the output has no
    /// second one; else tiles compute the second, too, and vectors take three together.
    fn pairs_of_vectors(&self, output: &Strides, lo: &Lowering) -> Vec<Slice> {
        let lanes = lo.target().lanes();
        let on_tiles = self.on_tiles(lo.target());
        let of = |blocks: usize| {
            let p = self.problem(lanes);
            // Tiles cut the output by themselves.
            if on_tiles { lo.planner().tiling(&p, blocks) } else { lo.planner().best_tiling(&p, blocks) }
        };
        let tiling = of(2);
        let whole =
            Slice { tiling, first: 0, blocks: 2, panels: 0, end: self.outputs, channel: 0, inputs: self.inputs };
        let vectors = self.outputs.div_ceil(lanes);
        if output.half > 0 && (on_tiles || vectors.is_multiple_of(2)) {
            return vec![Slice { panels: vectors.div_ceil(2), ..whole }];
        }
        if output.half > 0 {
            let odd = vectors.min(3);
            let pairs = Slice { panels: (vectors - odd) / 2, ..whole };
            let last = Slice { first: vectors - odd, blocks: odd, panels: 1, tiling: of(odd), ..whole };
            return [pairs, last, self.zeros(vectors, lo)].into_iter().filter(|s| s.panels > 0).collect();
        }
        lo.planner()
            .pairs(vectors)
            .iter()
            .map(|c| Slice { first: c.first, blocks: c.blocks, panels: c.panels, ..whole })
            .collect()
    }

    /// Whether groups are whole blocks of channels, or there is only one.
    pub(super) fn is_aligned(&self, block: usize) -> bool {
        self.groups == 1 || (self.inputs.is_multiple_of(block) && self.outputs.is_multiple_of(block))
    }

    /// All output channels of a convolution of one group, in panels of so many vectors.
    pub fn in_panels(&self, blocks: usize, lanes: usize) -> Slice {
        Slice {
            first: 0,
            blocks,
            panels: self.outputs.div_ceil(lanes).div_ceil(blocks),
            tiling: Tiling::PIXEL,
            end: self.outputs,
            channel: 0,
            inputs: self.inputs,
        }
    }
}
