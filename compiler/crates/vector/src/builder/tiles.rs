//! AMX tiles. They are registers with numbers, 0 to 7: the generator plans them.

use super::KernelBuilder;
use crate::ir::{Gpr, Mem, MemArg, Op};

/// Rows and bytes a row of each tile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TileShapes {
    /// `(rows, bytes)`, at most 16 and 64; `(0, 0)` for a tile that is not used.
    pub tiles: [(u8, u8); 8],
}

impl TileShapes {
    /// The operand of `ldtilecfg` (palette 1), as 32-bit words.
    pub fn words(&self) -> [u32; 16] {
        let mut bytes = [0u8; 64];
        bytes[0] = 1;
        for (i, &(rows, row_bytes)) in self.tiles.iter().enumerate() {
            bytes[16 + 2 * i] = row_bytes;
            bytes[48 + i] = rows;
        }
        std::array::from_fn(|i| {
            u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
        })
    }
}

impl KernelBuilder {
    /// Address of `bytes` bytes of the kernel's own frame, aligned to 64. Once in a kernel.
    pub fn scratch(&mut self, bytes: u32) -> Gpr {
        Gpr(self.emit(Op::Scratch(bytes), &[], None))
    }

    /// Sets the shapes of the tiles and zeros them.
    pub fn tile_config(&mut self, shapes: &TileShapes) {
        let table = self.table_addr(&shapes.words());
        self.tile_op(Op::TileConfig, Some(table.at(0)));
    }

    /// Puts the tiles out of use; a kernel does so before it ends.
    pub fn tile_release(&mut self) {
        self.tile_op(Op::TileRelease, None);
    }

    /// Zeros a tile.
    pub fn tile_zero(&mut self, tile: u8) {
        self.tile_op(Op::TileZero(tile), None);
    }

    /// Loads the rows of a tile, `stride` bytes apart.
    pub fn tile_load(&mut self, tile: u8, base: Gpr, stride: Gpr, disp: i32) {
        self.tile_op(Op::TileLoad(tile), Some(base.at_index(stride, 1, disp)));
    }

    /// Stores the rows of a tile, `stride` bytes apart.
    pub fn tile_store(&mut self, tile: u8, base: Gpr, stride: Gpr, disp: i32) {
        self.tile_op(Op::TileStore(tile), Some(base.at_index(stride, 1, disp)));
    }

    /// Tile `acc += a * b`, products of bf16 pairs.
    pub fn tile_dot(&mut self, acc: u8, a: u8, b: u8) {
        self.tile_op(Op::TileDot(acc, a, b), None);
    }

    /// Tile `acc += a * b`, products of four unsigned bytes of `a` and four signed ones of `b`.
    pub fn tile_dot_u8s8(&mut self, acc: u8, a: u8, b: u8) {
        self.tile_op(Op::TileDotU8S8(acc, a, b), None);
    }

    fn tile_op(&mut self, op: Op, mem: Option<Mem>) {
        let width = self.width();
        self.emit_at(width, op, &[], mem.map(MemArg::At));
    }
}
