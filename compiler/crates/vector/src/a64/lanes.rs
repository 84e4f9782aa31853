//! Movement of lanes.

use super::emit::{Ctx, Emitter};
use super::encoding as enc;
use crate::compile::EncodeError;
use crate::ir::{Op, ReduceOp, ShuffleOp};

impl Emitter {
    pub(super) fn lanes(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let (d, a) = (c.res(), c.arg(0));
        match &c.inst.op {
            // The first instruction fills the low half, the second the high half.
            Op::Shuffle(ShuffleOp::NarrowI32) => {
                self.rr(enc::SQXTN_4H, d, a);
                self.rr(enc::SQXTN2_8H, d, c.arg(1));
            }
            Op::Shuffle(ShuffleOp::NarrowI16) => {
                self.rr(enc::SQXTUN_8B, d, a);
                self.rr(enc::SQXTUN2_16B, d, c.arg(1));
            }
            Op::Shuffle(op) => {
                let base = match op {
                    ShuffleOp::UnpackLo32 | ShuffleOp::ZipLo => enc::ZIP1_4S,
                    ShuffleOp::UnpackHi32 | ShuffleOp::ZipHi => enc::ZIP2_4S,
                    ShuffleOp::UnpackLo64 => enc::ZIP1_2D,
                    ShuffleOp::UnpackHi64 => enc::ZIP2_2D,
                    ShuffleOp::UnpackLo8 => enc::ZIP1_16B,
                    ShuffleOp::UnpackHi8 => enc::ZIP2_16B,
                    ShuffleOp::UnpackLo16 => enc::ZIP1_8H,
                    ShuffleOp::UnpackHi16 => enc::ZIP2_8H,
                    ShuffleOp::NarrowI32 | ShuffleOp::NarrowI16 => return Err(EncodeError::new("handled above")),
                    ShuffleOp::Even => enc::UZP1_4S,
                    ShuffleOp::Odd => enc::UZP2_4S,
                };
                self.rrr(base, d, a, c.arg(1));
            }
            Op::Align(n) => self.word(enc::ext(d, a, c.arg(1), u32::from(*n) * 4)),
            Op::PermuteBytes => {
                // Indices from 16 to 127 count modulo 16.
                let t = c.temp(0);
                self.word(enc::movi_16b(t, 0x8f));
                self.rrr(enc::AND_V, t, c.arg(1), t);
                self.rrr(enc::TBL, d, a, t);
            }
            Op::PermuteConst(table) => {
                let bytes = |i: u32| 0x0302_0100 + i * 0x0404_0404;
                let words: Vec<u32> = table.iter().map(|i| bytes(*i)).collect();
                self.asm.load_const(d, &words);
                self.rrr(enc::TBL, d, a, d);
            }
            Op::LookupBytes(table) => {
                // Row by row of 16 bytes: where the index, less 16 for each row before, is none of this row's, the table gives 0.
                let [row, x, step] = [0, 1, 2].map(|i| c.temp(i));
                self.word(enc::movi_16b(step, 16));
                for (r, words) in table.chunks_exact(4).enumerate() {
                    match r {
                        0 => self.asm.load_const(d, words),
                        _ => self.asm.load_const(row, words),
                    }
                    match r {
                        0 => self.rrr(enc::TBL, d, d, a),
                        1 => self.rrr(enc::SUB_16B, x, a, step),
                        _ => self.rrr(enc::SUB_16B, x, x, step),
                    }
                    if r > 0 {
                        self.rrr(enc::TBL, row, row, x);
                        self.rrr(enc::ORR_V, d, d, row);
                    }
                }
            }
            Op::BroadcastLane(lane) => self.word(enc::dup_lane(d, a, (*lane).into())),
            Op::Reduce(ReduceOp::Add) => {
                // Lanes 2, 3 onto 0, 1, then those two.
                self.word(enc::ext(d, a, a, 8));
                self.rrr(enc::FADD, d, a, d);
                self.rrr(enc::FADDP, d, d, d);
            }
            Op::Reduce(ReduceOp::Min) => self.rr(enc::FMINV, d, a),
            Op::Reduce(ReduceOp::Max) => self.rr(enc::FMAXV, d, a),
            _ => return Err(EncodeError::new("NEON has one width and no permutation by a register")),
        }
        Ok(())
    }
}
