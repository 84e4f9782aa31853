//! Vectors of bytes: products, narrowing, and parts of vectors in memory.

use super::{KernelBuilder, Src};
use crate::Isa;
use crate::ir::{Elem, Gpr, IntType, Mem, MemArg, Op, ShiftOp, ShuffleOp, Vector};

impl KernelBuilder {
    /// `acc` plus, in each i32 lane, the four products of an unsigned byte of `a` and a signed byte of `b`; exact on every target. Without
    /// [`Target::has_dot_u8s8`](crate::Target::has_dot_u8s8) it is a sequence: a loop that uses `a` or `b` several times splits them once
    /// ([`KernelBuilder::split_u8`], [`KernelBuilder::split_i8`]) and adds the products of the halves ([`KernelBuilder::dot_split`]).
    pub fn dot_u8s8(&mut self, acc: Vector, a: Vector, b: impl Into<Src>) -> Vector {
        if self.target().has_dot_u8s8() {
            return Vector(self.emit_src(Op::DotU8S8, &[acc.0, a.0], b.into()));
        }
        let width = self.width_of(acc.0);
        let b = self.in_register(b.into(), width);
        let (a, b) = (self.split_u8(a), self.split_i8(b));
        self.dot_split(acc, a, b)
    }

    /// `acc` plus the products of two vectors of bytes, both split into 16-bit lanes.
    pub fn dot_split(&mut self, acc: Vector, a: [Vector; 2], b: [Vector; 2]) -> Vector {
        let (even, odd) = (self.dot_i16(a[0], b[0]), self.dot_i16(a[1], b[1]));
        let acc = self.add_i32(acc, even);
        self.add_i32(acc, odd)
    }

    /// Even and odd unsigned bytes as 16-bit lanes.
    pub fn split_u8(&mut self, a: Vector) -> [Vector; 2] {
        [self.and(a, 0x00ff_00ff), self.shift(ShiftOp::Shr16, a, 8)]
    }

    /// Even and odd signed bytes as 16-bit lanes.
    pub fn split_i8(&mut self, a: Vector) -> [Vector; 2] {
        let even = self.shift(ShiftOp::Shl16, a, 8);
        [self.shift(ShiftOp::Sar16, even, 8), self.shift(ShiftOp::Sar16, a, 8)]
    }

    /// The i32 lanes of four vectors saturated to u8 in one; each 128-bit part holds that part of the four in order, so
    /// [`KernelBuilder::permute`] by [`narrowed_order`] puts the bytes of one vector side by side.
    pub fn narrow_u8(&mut self, v: [Vector; 4]) -> Vector {
        let low = self.shuffle(ShuffleOp::NarrowI32, v[0], v[1]);
        let high = self.shuffle(ShuffleOp::NarrowI32, v[2], v[3]);
        self.shuffle(ShuffleOp::NarrowI16, low, high)
    }

    /// The i32 lanes of one to four vectors saturated to u8, those of the first vector first; what is behind them is unspecified.
    ///
    /// # Panics
    /// If there are no vectors, or more than four.
    pub fn narrow_in_order(&mut self, v: &[Vector]) -> Vector {
        let at = |i: usize| v[i.min(v.len() - 1)];
        assert!(v.len() <= 4, "four vectors of words fill one of bytes");
        let packed = self.narrow_u8([at(0), at(1), at(2), at(3)]);
        let order = narrowed_order(self.width_of(packed.0).lanes());
        if order.is_sorted() { packed } else { self.permute(packed, &order) }
    }

    /// Stores the first `n` bytes of a vector; touches no byte beyond.
    ///
    /// # Panics
    /// If there are not so many, or `n` is 0.
    pub fn store_bytes(&mut self, v: Vector, mem: Mem, n: usize) {
        let lanes = self.width_of(v.0).lanes();
        assert!(n >= 1 && n <= 4 * lanes, "store of {n} of {} bytes", 4 * lanes);
        let (words, rest) = (n / 4, n % 4);
        if words > 0 {
            self.store_part(v, mem, words);
        }
        if rest == 0 {
            return;
        }
        let last = if words > 0 { self.align(v, v, words) } else { v };
        let mut last = self.lane0_to_gpr(last);
        let mut at = mem.offset(4 * words as i32);
        if rest >= 2 {
            self.int_store(IntType::U16, last, at);
            last = self.int_shr(last, 16);
            at = at.offset(2);
        }
        if rest % 2 == 1 {
            self.int_store(IntType::U8, last, at);
        }
    }

    /// As [`KernelBuilder::load_convert`] of the first `n` elements, which are bytes; the other lanes are unspecified, and no byte beyond is read.
    ///
    /// # Panics
    /// If the elements are not bytes, `n` is 0 or above the number of lanes.
    pub fn load_convert_part(&mut self, elem: Elem, mem: Mem, n: usize) -> Vector {
        let lanes = self.lanes();
        assert!(elem.bytes() == 1 && n >= 1 && n <= lanes, "load of {n} of {lanes} bytes");
        if n == lanes {
            return self.load_convert(elem, mem);
        }
        if self.target().isa == Isa::X64Avx512 {
            let mask = self.tail_mask(n);
            return Vector(self.emit_like(mask.0, Op::LoadConvertMasked(elem), &[mask.0], Some(MemArg::At(mem))));
        }
        let (words, rest) = (n / 4, n % 4);
        let mut bytes = if words > 0 { self.load_part(mem, words) } else { self.zero() };
        if rest > 0 {
            let last = self.bytes_to_gpr(mem.offset(4 * words as i32), rest);
            let last = self.splat_gpr(last);
            bytes = self.blend(1 << words, last, bytes);
        }
        // Every fourth lane gets the word whose bytes become its part, and every byte moves to the top of a lane.
        let table: Vec<u32> = (0..lanes as u32).map(|i| i / 4).collect();
        let (spread, zero) = (self.permute(bytes, &table), self.zero());
        let halves = self.shuffle(ShuffleOp::UnpackLo8, zero, spread);
        let top = self.shuffle(ShuffleOp::UnpackLo16, zero, halves);
        if elem == Elem::I8 { self.shr_i32(top, 24) } else { self.shr_u32(top, 24) }
    }

    /// Up to three bytes of memory, the first lowest.
    fn bytes_to_gpr(&mut self, mem: Mem, n: usize) -> Gpr {
        match n {
            1 => self.int_load(IntType::U8, mem),
            2 => self.int_load(IntType::U16, mem),
            _ => {
                let (low, high) = (self.int_load(IntType::U16, mem), self.int_load(IntType::U8, mem.offset(2)));
                let high = self.int_shl(high, 16);
                self.int_or(low, high)
            }
        }
    }

    /// As [`KernelBuilder::store_convert`] of the first `n` lanes to bytes; touches no byte beyond.
    ///
    /// # Panics
    /// If the elements are not bytes, `n` is 0 or above the number of lanes.
    pub fn store_convert_part(&mut self, elem: Elem, v: Vector, mem: Mem, n: usize) {
        let lanes = self.width_of(v.0).lanes();
        assert!(elem.bytes() == 1 && n >= 1 && n <= lanes, "store of {n} of {lanes} bytes");
        if n == lanes {
            return self.store_convert(elem, v, mem);
        }
        if self.target().isa == Isa::X64Avx512 && lanes == self.lanes() {
            let mask = self.tail_mask(n);
            let width = self.width_of(v.0);
            self.emit_at(width, Op::StoreConvertMasked(elem), &[mask.0, v.0], Some(MemArg::At(mem)));
            return;
        }
        // Signed bytes are saturated, then narrowed as unsigned ones of the same bits.
        let v = if elem == Elem::I8 {
            let v = self.max_i32(v, -128);
            let v = self.min_i32(v, 127);
            self.and(v, 0xff)
        } else {
            v
        };
        let bytes = self.narrow_in_order(&[v]);
        self.store_bytes(bytes, mem, n);
    }
}

/// The table of a permute that brings what [`KernelBuilder::narrow_u8`] gives in vectors of so many lanes into the order of its arguments.
pub fn narrowed_order(lanes: usize) -> Vec<u32> {
    let parts = lanes as u32 / 4;
    (0..lanes as u32).map(|i| i % parts * 4 + i / parts).collect()
}
