//! Which blocks have code of their own. A block that holds nothing but a jump, after allocation, is jumped through, so
//! that a loop ends in one conditional branch to its header.

use super::Allocated;
use crate::ir::Terminator;
use regalloc2::{Block, InstOrEdit};

/// Where branches to each block really go.
pub(crate) struct Layout {
    target: Vec<usize>,
}

impl Allocated<'_> {
    /// Finds the empty blocks.
    pub fn layout(&self) -> Layout {
        let blocks = &self.kernel.blocks;
        let through: Vec<Option<usize>> = (0..blocks.len())
            .map(|b| match &blocks[b].term {
                Terminator::Jump(to, _) if b != 0 && blocks[b].insts.is_empty() && to.index() != b => {
                    let mut items = self.output.block_insts_and_edits(&self.flat, Block::new(b));
                    let only_the_jump = !items.any(|i| matches!(i, InstOrEdit::Edit(_)));
                    only_the_jump.then_some(to.index())
                }
                _ => None,
            })
            .collect();
        let target = (0..blocks.len())
            .map(|start| {
                // A ring of empty blocks would have no end; it stays as it is.
                let mut b = start;
                for _ in 0..blocks.len() {
                    match through[b] {
                        Some(to) => b = to,
                        None => return b,
                    }
                }
                start
            })
            .collect();
        Layout { target }
    }

    /// Whether any operand or move names this register.
    pub fn uses_register(&self, class: regalloc2::RegClass, number: usize) -> bool {
        let reg = regalloc2::PReg::new(number, class);
        let moves = self.output.edits.iter().flat_map(|(_, regalloc2::Edit::Move { from, to })| [from, to]);
        self.output.allocs.iter().chain(moves).any(|a| a.as_reg() == Some(reg))
    }
}

impl Layout {
    /// The block whose code runs when `block` is entered.
    pub fn target(&self, block: usize) -> usize {
        self.target[block]
    }

    /// Whether the block has no code of its own.
    pub fn skipped(&self, block: usize) -> bool {
        self.target[block] != block
    }

    /// The block whose code follows that of `block`.
    pub fn next(&self, block: usize) -> Option<usize> {
        (block + 1..self.target.len()).find(|b| !self.skipped(*b))
    }
}
