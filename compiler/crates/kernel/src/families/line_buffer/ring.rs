//! The ring of rows between two layers: its size, and the order of calls that fills and reads it.

use super::window_layer::WindowLayer;
use crate::families::igemm::spec::Number;
use crate::storage::{Halo, Storage};
use mnnc_ir::DType;
use mnnc_vector::Target;
use std::ops::Range;

/// Most bytes of a ring in L1 (32 to 48 KB), which it shares with the weights and the rows that are read and written beside it.
const IN_L1: usize = 36 << 10;
/// Most bytes of a ring that L2 holds.
const IN_L2: usize = 64 << 10;

/// Most bytes of rings of these numbers, the best first. Windows of bytes wait for arithmetic, not for L2: a ring there is better than rows
/// that are cut (measured: up to 1.6 times).
pub(super) fn limits(number: Number) -> &'static [usize] {
    if number == Number::U8 { &[IN_L1, IN_L2] } else { &[IN_L1] }
}

/// Rows of the intermediate image that are kept, for one panel of channel blocks.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ring {
    /// Channel blocks of a panel.
    pub blocks: usize,
    /// Rows that one call of the first layer makes.
    pub made: usize,
    /// Rows that one call of the second layer makes.
    pub taken: usize,
    /// Rows of the ring. All of the image's: it is no ring but the image itself, made and read in one call each.
    pub rows: usize,
    /// Where the rows lie. The second layer's border is part of it; a ring has one row of zeros above, which stands for
    /// all rows outside the image.
    pub storage: Storage,
    /// Whether the ring is the whole image.
    pub whole: bool,
}

impl Ring {
    /// The ring for panels of `blocks` blocks, if one of at most `most` bytes will do.
    pub fn new(layer: &WindowLayer, blocks: usize, target: &Target, most: usize) -> Option<Ring> {
        let [height, width] = [layer.rows.input, layer.cols.input];
        let halo = layer.halo();
        let lanes = target.lanes();
        let dtype = if layer.number == Number::U8 { DType::U8 } else { DType::F32 };
        let image = |rows, halo| Storage::blocked(dtype, &[1, blocks * lanes, rows, width], lanes, halo);
        let fits = |s: &Storage| s.bytes <= most;
        if let Some(storage) = image(height, halo).filter(fits) {
            let [made, taken] = [height, layer.rows.output];
            return Some(Ring { blocks, made, taken, rows: height, storage, whole: true });
        }
        // What it holds is what the border holds: the number that stands for zero.
        let zero_row = usize::from(!halo.is_empty());
        let halo = Halo { top: zero_row, bottom: 0, ..halo };
        let (stride, reach) = (layer.rows.stride, layer.reach());
        let candidates = layer.calls(target).map(|rows| (rows * stride, rows)).chain([(1, 1)]);
        candidates.into_iter().find_map(|(made, taken)| {
            // The rows under the windows of a call, and those that the last call of the first layer made ahead.
            let rows = ((taken - 1) * stride + reach + made - 1).next_multiple_of(made);
            let storage = image(rows, halo).filter(fits)?;
            (rows < height).then_some(Ring { blocks, made, taken, rows, storage, whole: false })
        })
    }

    /// Byte offset of the start of a row of the intermediate image, its left border included, when `first` is the first one made.
    pub fn row(&self, row: usize, first: usize) -> usize {
        let slot = if self.whole { row } else { (row - first) % self.rows };
        (self.storage.halo.top + slot) * self.storage.strides[2]
    }

    /// Byte offset of the row of zeros.
    pub fn zero_row(&self) -> usize {
        0
    }

    /// What is called in which order to compute rows `out` of the second layer.
    pub fn order(&self, layer: &WindowLayer, out: Range<usize>) -> Vec<Action> {
        if self.whole {
            return vec![Action::Make(0..layer.rows.input), Action::Take(out)];
        }
        let first = layer.first_input(out.start);
        let mut made = first;
        let mut order = Vec::new();
        let mut at = out.start;
        while at < out.end {
            let taken = at..(at + self.taken).min(out.end);
            let need = layer.end_of_input(taken.end - 1);
            while made < need {
                let rows = made..(made + self.made).min(layer.rows.input);
                made = rows.end;
                order.push(Action::Make(rows));
            }
            at = taken.end;
            order.push(Action::Take(taken));
        }
        order
    }
}

/// A call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// The first layer makes these rows of the intermediate image.
    Make(Range<usize>),
    /// The second layer makes these rows of its output.
    Take(Range<usize>),
}

#[cfg(test)]
mod tests {
    use super::super::window_layer::{Kind, WindowLayer};
    use super::*;
    use mnnc_ops::family::conv::Axis;

    /// Replays the order with the numbers of the rows that each slot holds.
    fn replay(layer: &WindowLayer, out: Range<usize>, target: &Target) {
        let Some(ring) = limits(layer.number).iter().find_map(|&most| Ring::new(layer, 2, target, most)) else {
            return;
        };
        let first = if ring.whole { 0 } else { layer.first_input(out.start) };
        let mut slots = std::collections::HashMap::new();
        let mut next = out.start;
        for action in ring.order(layer, out.clone()) {
            match action {
                Action::Make(rows) => {
                    let start = ring.row(rows.start, first);
                    for (i, r) in rows.enumerate() {
                        // The rows of a call lie one after the other.
                        assert_eq!(ring.row(r, first), start + i * ring.storage.strides[2]);
                        slots.insert(ring.row(r, first), r);
                    }
                }
                Action::Take(rows) => {
                    assert_eq!(rows.start, next);
                    next = rows.end;
                    for y in rows {
                        for k in 0..layer.rows.kernel {
                            if let Some(r) = layer.rows.at(y, k) {
                                assert_eq!(slots.get(&ring.row(r, first)), Some(&r), "{layer:?} row {y} tap {k}");
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(next, out.end);
    }

    #[test]
    fn every_row_is_there_when_it_is_read() {
        for (height, width) in [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7), (61, 33), (40, 3), (9, 300)] {
            for (kernel, stride, pad, dilation) in [
                (3, 1, 1, 1),
                (3, 2, 1, 1),
                (5, 1, 2, 1),
                (5, 2, 2, 1),
                (3, 2, 0, 1),
                (3, 1, 2, 2),
                (2, 2, 0, 1),
                (7, 3, 3, 1),
            ] {
                let axis = |input: usize| Axis {
                    input,
                    output: (input + 2 * pad).saturating_sub((kernel - 1) * dilation + 1) / stride + 1,
                    kernel,
                    stride,
                    dilation,
                    begin: pad,
                    end: pad,
                };
                let [rows, cols] = [height, width].map(axis);
                let layer = WindowLayer { rows, cols, kind: Kind::Depthwise, number: Number::F32, zero: 0 };
                if layer.rows.output == 0 || height + 2 * pad < (kernel - 1) * dilation + 1 {
                    continue;
                }
                for target in [Target::NEON, Target::AVX2, Target::AVX512] {
                    let rows = layer.rows.output;
                    for layer in [layer, WindowLayer { number: Number::U8, zero: 9, ..layer }] {
                        replay(&layer, 0..rows, &target);
                        replay(&layer, rows / 3..rows, &target);
                        replay(&layer, 0..rows.div_ceil(2), &target);
                    }
                }
            }
        }
    }
}
