//! Vector loads, stores and constants.

use super::{KernelBuilder, Src};
use crate::ir::{Elem, Gpr, Mask, Mem, MemArg, Op, Vector};
use crate::target::Isa;
use std::sync::Arc;

impl KernelBuilder {
    /// Loads all lanes; any alignment.
    pub fn load(&mut self, mem: Mem) -> Vector {
        Vector(self.emit(Op::Load, &[], Some(MemArg::At(mem))))
    }

    /// Stores all lanes; any alignment.
    pub fn store(&mut self, v: Vector, mem: Mem) {
        let width = self.width_of(v.0);
        self.emit_at(width, Op::Store, &[v.0], Some(MemArg::At(mem)));
    }

    /// Loads the first `n` lanes, zero in the others; touches no byte beyond. `n` from 1 to the number of lanes.
    ///
    /// 1, 2, 4, 8 and all lanes are plain loads; other counts use a mask, which is made once for each scope:
    /// call [`KernelBuilder::tail_mask`] in front of a loop to have it made there.
    ///
    /// # Panics
    /// If `n` is 0 or above the number of lanes.
    pub fn load_part(&mut self, mem: Mem, n: usize) -> Vector {
        let lanes = self.lanes();
        assert!(n >= 1 && n <= lanes, "load of {n} of {lanes} lanes");
        if n == lanes {
            self.load(mem)
        } else if self.is_low_count(n) {
            Vector(self.emit(Op::LoadLow(n as u8), &[], Some(MemArg::At(mem))))
        } else {
            let mask = self.tail_mask(n);
            self.load_masked(mem, mask)
        }
    }

    /// Stores the first `n` lanes; touches no byte beyond.
    ///
    /// # Panics
    /// If `n` is 0 or above the number of lanes.
    pub fn store_part(&mut self, v: Vector, mem: Mem, n: usize) {
        let width = self.width_of(v.0);
        let lanes = width.lanes();
        assert!(n >= 1 && n <= lanes, "store of {n} of {lanes} lanes");
        if n == lanes {
            self.store(v, mem);
        } else if self.is_low_count(n) {
            self.emit_at(width, Op::StoreLow(n as u8), &[v.0], Some(MemArg::At(mem)));
        } else {
            let mask = self.with_width(width, |b| b.tail_mask(n));
            self.store_masked(v, mem, mask);
        }
    }

    fn is_low_count(&self, n: usize) -> bool {
        n.is_power_of_two() || (n == 3 && self.target().isa == Isa::A64Neon)
    }

    /// Loads the lanes under the mask, zero in the others; touches no byte of the others.
    pub fn load_masked(&mut self, mem: Mem, mask: Mask) -> Vector {
        Vector(self.emit_like(mask.0, Op::LoadMasked, &[mask.0], Some(MemArg::At(mem))))
    }

    /// Stores the lanes under the mask; touches no byte of the others.
    pub fn store_masked(&mut self, v: Vector, mem: Mem, mask: Mask) {
        let width = self.width_of(v.0);
        self.emit_at(width, Op::StoreMasked, &[mask.0, v.0], Some(MemArg::At(mem)));
    }

    /// Mask of the first `n` lanes, made once for each scope of the control flow.
    ///
    /// # Panics
    /// If `n` is above the number of lanes.
    pub fn tail_mask(&mut self, n: usize) -> Mask {
        assert!(n <= self.lanes(), "mask of {n} lanes");
        let (n, width) = (n as u8, self.width);
        if let Some((_, _, mask)) = self.tail_masks.iter().find(|(m, w, _)| (*m, *w) == (n, width)) {
            return *mask;
        }
        let mask = Mask(self.emit(Op::MaskConst(n), &[], None));
        self.tail_masks.push((n, width, mask));
        mask
    }

    /// Mask of the first `n` lanes for a count known at run time: none if `n <= 0`, all if `n` is at least the number of lanes.
    pub fn tail_mask_dyn(&mut self, n: Gpr) -> Mask {
        Mask(self.emit(Op::MaskFirst, &[n.0], None))
    }

    /// One 32-bit word from memory, in all lanes.
    pub fn broadcast(&mut self, mem: Mem) -> Vector {
        Vector(self.emit(Op::Broadcast, &[], Some(MemArg::At(mem))))
    }

    /// One byte from memory, in all bytes.
    pub fn broadcast_byte(&mut self, mem: Mem) -> Vector {
        Vector(self.emit(Op::BroadcastByte, &[], Some(MemArg::At(mem))))
    }

    /// An f32, i32 or u32 constant in all lanes of a register. As a last operand, pass the constant itself instead.
    pub fn splat(&mut self, x: impl Into<Src>) -> Vector {
        let width = self.width;
        self.in_register(x.into(), width)
    }

    /// All bits zero.
    pub fn zero(&mut self) -> Vector {
        Vector(self.emit(Op::Splat(0), &[], None))
    }

    /// A constant vector.
    ///
    /// # Panics
    /// If there are not as many words as lanes.
    pub fn table(&mut self, words: &[u32]) -> Vector {
        assert_eq!(words.len(), self.lanes(), "one word a lane");
        Vector(self.emit(Op::Table(Arc::from(words)), &[], None))
    }

    /// A constant vector of floats.
    pub fn table_f32(&mut self, values: &[f32]) -> Vector {
        let words: Vec<u32> = values.iter().map(|x| x.to_bits()).collect();
        self.table(&words)
    }

    /// The low 32 bits of a general register, in all lanes.
    pub fn splat_gpr(&mut self, x: Gpr) -> Vector {
        Vector(self.emit(Op::SplatGpr, &[x.0], None))
    }

    /// Lane 0 as an unsigned integer.
    pub fn lane0_to_gpr(&mut self, v: Vector) -> Gpr {
        Gpr(self.emit_like(v.0, Op::ToGpr, &[v.0], None))
    }

    /// Loads one element a lane and widens it: 16-bit floats to f32, 8-bit integers to i32.
    pub fn load_convert(&mut self, elem: Elem, mem: Mem) -> Vector {
        Vector(self.emit(Op::LoadConvert(elem), &[], Some(MemArg::At(mem))))
    }

    /// Narrows each lane and stores it: f32 to a 16-bit float, i32 to an 8-bit integer, saturating.
    pub fn store_convert(&mut self, elem: Elem, v: Vector, mem: Mem) {
        let width = self.width_of(v.0);
        self.emit_at(width, Op::StoreConvert(elem), &[v.0], Some(MemArg::At(mem)));
    }

    /// Lane `i` from `base + index_i * scale + disp`, where `index` holds signed 32-bit integers and `scale` is 1, 2, 4 or 8.
    pub fn gather(&mut self, base: Gpr, index: Vector, scale: u8, disp: i32) -> Vector {
        Vector(self.emit_like(index.0, Op::Gather(scale), &[index.0], Some(MemArg::At(base.at(disp)))))
    }
}
