//! AMX tiles, which are named registers without allocation, and the scratch area that their rows pass through.

use super::emit::{Ctx, Emitter};
use super::operands::{O, gpr64};
use crate::compile::EncodeError;
use crate::ir::Op;
use iced_x86::{Code, MemoryOperand, Register};

/// Alignment of the scratch area.
pub(super) const ALIGN: usize = 64;

fn tile(n: u8) -> O {
    O::R(Register::TMM0 + u32::from(n))
}

impl Emitter<'_> {
    pub(super) fn scratch(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let d = O::R(gpr64(c.res(0)));
        let first = i64::from(self.spill_bytes) + ALIGN as i64 - 1;
        let at = MemoryOperand::new(Register::RSP, Register::None, 1, first, 1, false, Register::None);
        self.op(Code::Lea_r64_m, &[d, O::M(at)])?;
        self.op(Code::And_rm64_imm8, &[d, O::I(-(ALIGN as i32))])
    }

    pub(super) fn tiles(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        match c.inst.op {
            Op::TileConfig => self.op(Code::VEX_Ldtilecfg_m512, &[O::M(c.address())]),
            Op::TileRelease => self.op(Code::VEX_Tilerelease, &[]),
            Op::TileZero(t) => self.op(Code::VEX_Tilezero_tmm, &[tile(t)]),
            Op::TileLoad(t) => self.op(Code::VEX_Tileloadd_tmm_sibmem, &[tile(t), O::M(c.address())]),
            Op::TileStore(t) => self.op(Code::VEX_Tilestored_sibmem_tmm, &[O::M(c.address()), tile(t)]),
            Op::TileDot(d, a, b) => self.op(Code::VEX_Tdpbf16ps_tmm_tmm_tmm, &[tile(d), tile(a), tile(b)]),
            Op::TileDotU8S8(d, a, b) => self.op(Code::VEX_Tdpbusd_tmm_tmm_tmm, &[tile(d), tile(a), tile(b)]),
            _ => Err(EncodeError::new("not a tile instruction")),
        }
    }
}
