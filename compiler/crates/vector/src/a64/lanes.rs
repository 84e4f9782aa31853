//! Movement of lanes.

use super::emit::{Ctx, Emitter};
use super::encoding as enc;
use crate::compile::EncodeError;
use crate::ir::{Op, ReduceOp, ShuffleOp};

impl Emitter {
    pub(super) fn lanes(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let (d, a) = (c.res(), c.arg(0));
        match &c.inst.op {
            Op::Shuffle(op) => {
                let base = match op {
                    ShuffleOp::UnpackLo32 | ShuffleOp::ZipLo => enc::ZIP1_4S,
                    ShuffleOp::UnpackHi32 | ShuffleOp::ZipHi => enc::ZIP2_4S,
                    ShuffleOp::UnpackLo64 => enc::ZIP1_2D,
                    ShuffleOp::UnpackHi64 => enc::ZIP2_2D,
                    ShuffleOp::Even => enc::UZP1_4S,
                    ShuffleOp::Odd => enc::UZP2_4S,
                };
                self.rrr(base, d, a, c.arg(1));
            }
            Op::Align(n) => self.word(enc::ext(d, a, c.arg(1), u32::from(*n) * 4)),
            Op::PermuteConst(table) => {
                let bytes = |i: u32| 0x0302_0100 + i * 0x0404_0404;
                let words: Vec<u32> = table.iter().map(|i| bytes(*i)).collect();
                self.asm.load_const(d, &words);
                self.rrr(enc::TBL, d, a, d);
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
