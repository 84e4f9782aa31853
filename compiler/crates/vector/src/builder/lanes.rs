//! Movement of lanes: permutes, transposes, reductions.

use super::KernelBuilder;
use crate::ir::{MaskOp, Op, ReduceOp, ShuffleOp, Vector};
use crate::target::{Isa, Width};
use std::sync::Arc;

impl KernelBuilder {
    /// Two-vector rearrangement.
    pub fn shuffle(&mut self, op: ShuffleOp, a: Vector, b: Vector) -> Vector {
        Vector(self.emit_like(a.0, Op::Shuffle(op), &[a.0, b.0], None))
    }

    /// Even lanes and odd lanes of `a` followed by `b`: turns two loads of interleaved data into two streams (stride 2).
    pub fn deinterleave(&mut self, a: Vector, b: Vector) -> (Vector, Vector) {
        (self.shuffle(ShuffleOp::Even, a, b), self.shuffle(ShuffleOp::Odd, a, b))
    }

    /// `a0 b0 a1 b1 …` as two vectors: the inverse of [`KernelBuilder::deinterleave`].
    pub fn interleave(&mut self, a: Vector, b: Vector) -> (Vector, Vector) {
        (self.shuffle(ShuffleOp::ZipLo, a, b), self.shuffle(ShuffleOp::ZipHi, a, b))
    }

    /// Lanes `n..` of `a` followed by the first `n` lanes of `b`: a sliding window over `a b`.
    ///
    /// # Panics
    /// If `n` is above the number of lanes.
    pub fn align(&mut self, a: Vector, b: Vector, n: usize) -> Vector {
        let lanes = self.width_of(a.0).lanes();
        assert!(n <= lanes, "window at lane {n} of {lanes}");
        match n {
            0 => a,
            n if n == lanes => b,
            n => Vector(self.emit_like(a.0, Op::Align(n as u8), &[a.0, b.0], None)),
        }
    }

    /// Lane `i` of the result is lane `table[i]` of `v`.
    ///
    /// # Panics
    /// If the table has not one index below the number of lanes for each lane.
    pub fn permute(&mut self, v: Vector, table: &[u32]) -> Vector {
        let lanes = self.width_of(v.0).lanes();
        assert_eq!(table.len(), lanes, "one index a lane");
        assert!(table.iter().all(|i| (*i as usize) < lanes), "index beyond {lanes} lanes: {table:?}");
        Vector(self.emit_like(v.0, Op::PermuteConst(Arc::from(table)), &[v.0], None))
    }

    /// Lane `i` of the result is lane `index[i] mod lanes` of `v`, on x64. A loop keeps `index` in a register.
    ///
    /// # Panics
    /// On NEON, which permutes bytes: use [`KernelBuilder::permute`].
    pub fn permute_by(&mut self, v: Vector, index: Vector) -> Vector {
        assert!(self.target().is_x64(), "permute by a register is for x64");
        Vector(self.emit_like(v.0, Op::Permute, &[v.0, index.0], None))
    }

    /// In each 128-bit part, byte `i` of the result is byte `index[i] mod 16` of `v`, or 0 where `index[i]` has its high bit.
    pub fn permute_bytes(&mut self, v: Vector, index: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::PermuteBytes, &[v.0, index.0], None))
    }

    /// Every byte `x` becomes `table[x]`. Two lookups in 128 bytes with [`Target::has_wide_byte_tables`](crate::Target::has_wide_byte_tables), else
    /// sixteen in 16 bytes.
    pub fn lookup_bytes(&mut self, v: Vector, table: &[u8; 256]) -> Vector {
        let words: Vec<u32> = table.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        Vector(self.emit_like(v.0, Op::LookupBytes(Arc::from(words)), &[v.0], None))
    }

    /// Lanes in the opposite order.
    pub fn reverse(&mut self, v: Vector) -> Vector {
        let lanes = self.width_of(v.0).lanes() as u32;
        let table: Vec<u32> = (0..lanes).rev().collect();
        self.permute(v, &table)
    }

    /// One lane in all lanes.
    ///
    /// # Panics
    /// If there is no such lane.
    pub fn broadcast_lane(&mut self, v: Vector, lane: usize) -> Vector {
        let lanes = self.width_of(v.0).lanes();
        assert!(lane < lanes, "lane {lane} of {lanes}");
        Vector(self.emit_like(v.0, Op::BroadcastLane(lane as u8), &[v.0], None))
    }

    /// `a` in the lanes whose bit in `from_a` is set, `b` in the others. Takes a mask of constants; in a loop, make the
    /// mask outside and [`KernelBuilder::select`].
    ///
    /// # Panics
    /// If the set bits are not one run of lanes.
    pub fn blend(&mut self, from_a: u32, a: Vector, b: Vector) -> Vector {
        let width = self.width_of(a.0);
        let lanes = width.lanes() as u32;
        let all = if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 };
        assert!(from_a & !all == 0, "blend of lanes beyond {lanes}");
        if from_a == 0 {
            return b;
        }
        let first = from_a.trailing_zeros();
        let run = from_a >> first;
        assert!((run + 1).is_power_of_two(), "blend takes one run of lanes, not {from_a:#b}");
        let end = (first + run.trailing_ones()) as usize;
        let mask = self.with_width(width, |k| {
            let upto = k.tail_mask(end);
            if first == 0 {
                return upto;
            }
            let below = k.tail_mask(first as usize);
            crate::ir::Mask(k.emit(Op::Mask(MaskOp::Xor), &[upto.0, below.0], None))
        });
        self.select(mask, a, b)
    }

    /// Low half of the lanes, a vector of half the width.
    pub fn low_half(&mut self, v: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::Half(false), &[v.0], None))
    }

    /// High half of the lanes, a vector of half the width.
    pub fn high_half(&mut self, v: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::Half(true), &[v.0], None))
    }

    /// `low` then `high`, a vector of twice the width.
    pub fn concat(&mut self, low: Vector, high: Vector) -> Vector {
        let width = self.width_of(low.0).double().expect("no wider vector");
        assert!(width <= self.target().width(), "{} has no vector of {} lanes", self.target(), width.lanes());
        Vector(self.emit_at(width, Op::Concat, &[low.0, high.0], None).expect("has a result"))
    }

    /// Sum of all f32 lanes in lane 0; the other lanes are unspecified.
    pub fn reduce_add(&mut self, v: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::Reduce(ReduceOp::Add), &[v.0], None))
    }

    /// Minimum of all f32 lanes in lane 0; the other lanes are unspecified.
    pub fn reduce_min(&mut self, v: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::Reduce(ReduceOp::Min), &[v.0], None))
    }

    /// Maximum of all f32 lanes in lane 0; the other lanes are unspecified.
    pub fn reduce_max(&mut self, v: Vector) -> Vector {
        Vector(self.emit_like(v.0, Op::Reduce(ReduceOp::Max), &[v.0], None))
    }

    /// Transposes a square of `lanes` vectors in registers: lane `j` of row `i` becomes lane `i` of row `j`.
    ///
    /// # Panics
    /// If there are not as many rows as lanes.
    pub fn transpose(&mut self, rows: &[Vector]) -> Vec<Vector> {
        let width = self.width_of(rows[0].0);
        assert_eq!(rows.len(), width.lanes(), "a square");
        // 4x4 squares inside the 128-bit parts: 32-bit, then 64-bit unpacks.
        let mut t = rows.to_vec();
        for quad in t.chunks_exact_mut(4) {
            let [a, b, c, d] = [quad[0], quad[1], quad[2], quad[3]];
            let ab_lo = self.shuffle(ShuffleOp::UnpackLo32, a, b);
            let ab_hi = self.shuffle(ShuffleOp::UnpackHi32, a, b);
            let cd_lo = self.shuffle(ShuffleOp::UnpackLo32, c, d);
            let cd_hi = self.shuffle(ShuffleOp::UnpackHi32, c, d);
            quad[0] = self.shuffle(ShuffleOp::UnpackLo64, ab_lo, cd_lo);
            quad[1] = self.shuffle(ShuffleOp::UnpackHi64, ab_lo, cd_lo);
            quad[2] = self.shuffle(ShuffleOp::UnpackLo64, ab_hi, cd_hi);
            quad[3] = self.shuffle(ShuffleOp::UnpackHi64, ab_hi, cd_hi);
        }
        // Now part p of t[4q + i] holds row 4p + i of the result, columns 4q..4q+4: transpose the parts.
        match width {
            Width::W128 => t,
            Width::W256 => {
                let mut out = t.clone();
                for i in 0..4 {
                    out[i] = self.parts(t[i], t[4 + i], 0b00);
                    out[4 + i] = self.parts(t[i], t[4 + i], 0b11);
                }
                out
            }
            Width::W512 => {
                let mut out = t.clone();
                for i in 0..4 {
                    let [q0, q1, q2, q3] = [t[i], t[4 + i], t[8 + i], t[12 + i]];
                    // Parts 0, 2 and 1, 3 of each pair.
                    let even01 = self.parts(q0, q1, 0b10_00_10_00);
                    let odd01 = self.parts(q0, q1, 0b11_01_11_01);
                    let even23 = self.parts(q2, q3, 0b10_00_10_00);
                    let odd23 = self.parts(q2, q3, 0b11_01_11_01);
                    out[i] = self.parts(even01, even23, 0b10_00_10_00);
                    out[4 + i] = self.parts(odd01, odd23, 0b10_00_10_00);
                    out[8 + i] = self.parts(even01, even23, 0b11_01_11_01);
                    out[12 + i] = self.parts(odd01, odd23, 0b11_01_11_01);
                }
                out
            }
        }
    }

    /// Selects 128-bit parts of `a` and `b`; see [`Op::Parts`]. x64 only, 256 or 512 bits.
    pub fn parts(&mut self, a: Vector, b: Vector, select: u8) -> Vector {
        assert!(self.target().isa != Isa::A64Neon, "NEON vectors have one part");
        Vector(self.emit_like(a.0, Op::Parts(select), &[a.0, b.0], None))
    }
}
