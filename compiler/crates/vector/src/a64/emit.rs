//! Walks the allocated kernel block by block: prologue, instructions, the allocator's moves, branches, epilogue.

use super::asm::{Asm, Label};
use super::encoding::{self as enc, Access, ZR_SP};
use super::{CALLEE_SAVED_V, CALLEE_SAVED_X};
use crate::compile::{CompileError, EncodeError};
use crate::ir::{Cond, Inst, Mem, MemArg, Op, Rhs, Terminator};
use crate::regalloc::{Allocated, Layout, Place};
use regalloc2::{Allocation, Block, Edit, InstOrEdit, RegClass};

/// Scratch registers of sequences.
pub(super) const X16: u32 = 16;
pub(super) const X17: u32 = 17;

pub(super) struct Emitter {
    pub asm: Asm,
    spill_bytes: u32,
    saved_x: Vec<u32>,
    saved_v: Vec<u32>,
}

/// An address in registers and a displacement.
#[derive(Clone, Copy)]
pub(super) struct Address {
    pub base: u32,
    /// Register and logarithm of the scale.
    pub index: Option<(u32, u32)>,
    pub disp: i32,
}

/// One instruction with its registers.
pub(super) struct Ctx<'a> {
    pub inst: &'a Inst,
    allocs: &'a [Allocation],
}

fn hw(a: &Allocation) -> u32 {
    a.as_reg().expect("operands are constrained to registers").hw_enc() as u32
}

impl Ctx<'_> {
    pub fn res(&self) -> u32 {
        hw(&self.allocs[0])
    }

    pub fn arg(&self, i: usize) -> u32 {
        hw(&self.allocs[self.inst.results.len() + i])
    }

    pub fn temp(&self, i: usize) -> u32 {
        hw(&self.allocs[self.inst.results.len() + self.inst.uses().count() + i])
    }

    pub fn address(&self) -> Address {
        let mem: &Mem = self.inst.mem.as_ref().and_then(MemArg::mem).expect("the op has an address");
        let first = self.inst.results.len() + self.inst.args.len();
        Address {
            base: hw(&self.allocs[first]),
            index: mem.index.map(|(_, scale)| (hw(&self.allocs[first + 1]), scale.trailing_zeros())),
            disp: mem.disp,
        }
    }
}

impl Emitter {
    pub fn word(&mut self, word: u32) {
        self.asm.emit(word);
    }

    pub fn rrr(&mut self, base: u32, d: u32, n: u32, m: u32) {
        self.word(enc::rrr(base, d, n, m));
    }

    pub fn rr(&mut self, base: u32, d: u32, n: u32) {
        self.word(enc::rr(base, d, n));
    }

    /// A 64-bit constant in as few moves as its 16-bit parts ask for.
    pub fn constant(&mut self, d: u32, value: i64) {
        let part = |v: i64, i: u32| (v >> (16 * i) & 0xffff) as u32;
        let ones = (0..4).filter(|i| part(value, *i) == 0xffff).count();
        let zeros = (0..4).filter(|i| part(value, *i) == 0).count();
        let (filler, first): (u32, fn(u32, u32, u32) -> u32) =
            if ones > zeros { (0xffff, enc::movn) } else { (0, enc::movz) };
        let mut parts = (0..4).filter(|i| part(value, *i) != filler);
        let start = parts.next().unwrap_or(0);
        let imm = part(value, start);
        self.word(first(d, if filler == 0 { imm } else { !imm & 0xffff }, start));
        for i in parts {
            self.word(enc::movk(d, part(value, i), i));
        }
    }

    /// `d = n + imm`. Overwrites x17 if the constant is large and `d` is another register.
    pub fn add_constant(&mut self, d: u32, n: u32, imm: i64) {
        let magnitude = imm.unsigned_abs();
        let op = if imm < 0 { enc::sub_imm } else { enc::add_imm };
        if magnitude < 1 << 12 {
            self.word(op(d, n, magnitude as u32, false));
        } else if magnitude < 1 << 24 {
            self.word(op(d, n, (magnitude >> 12) as u32, true));
            if magnitude & 0xfff != 0 {
                self.word(op(d, d, (magnitude & 0xfff) as u32, false));
            }
        } else {
            self.constant(X17, imm);
            self.rrr(enc::ADD_X, d, n, X17);
        }
    }

    /// The address in one register: the base itself, or x16.
    pub fn address_register(&mut self, a: Address) -> u32 {
        let mut base = a.base;
        if let Some((index, shift)) = a.index {
            self.word(enc::add_lsl(X16, base, index, shift));
            base = X16;
        }
        if a.disp != 0 {
            self.add_constant(X16, base, a.disp.into());
            base = X16;
        }
        base
    }

    /// A load or store of one register, in one instruction where its addressing reaches.
    pub fn access(&mut self, access: Access, t: u32, a: Address) {
        let scale = access.log2_bytes;
        let mut base = a.base;
        if let Some((index, shift)) = a.index {
            if a.disp == 0 && (shift == 0 || shift == scale) {
                self.word(access.indexed(t, base, index, shift != 0));
                return;
            }
            self.word(enc::add_lsl(X16, base, index, shift));
            base = X16;
        }
        let units = a.disp >> scale;
        if units << scale == a.disp && (0..4096).contains(&units) {
            self.word(access.scaled(t, base, units.cast_unsigned()));
        } else if (-256..256).contains(&a.disp) {
            self.word(access.unscaled(t, base, a.disp));
        } else {
            self.add_constant(X16, base, a.disp.into());
            self.word(access.scaled(t, X16, 0));
        }
    }

    fn inst(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        match &c.inst.op {
            Op::Entry => Ok(()),
            Op::IntConst(_)
            | Op::TableAddr(_)
            | Op::Int(_)
            | Op::IntImm(..)
            | Op::IntSelect(_)
            | Op::Lea
            | Op::IntLoad(_)
            | Op::IntStore(_)
            | Op::Prefetch(_) => self.integer(c),
            Op::Splat(_)
            | Op::Table(_)
            | Op::SplatGpr
            | Op::ToGpr
            | Op::Load
            | Op::Store
            | Op::LoadLow(_)
            | Op::StoreLow(_)
            | Op::LoadMasked
            | Op::StoreMasked
            | Op::Broadcast
            | Op::BroadcastByte
            | Op::LoadConvert(_)
            | Op::StoreConvert(_)
            | Op::LoadConvertMasked(_)
            | Op::StoreConvertMasked(_)
            | Op::Gather(_) => self.memory(c),
            Op::Vec(_)
            | Op::Unary(_)
            | Op::Fma(_)
            | Op::FmaLane(..)
            | Op::MulAdd
            | Op::DotU8S8
            | Op::Shift(..)
            | Op::Compare(..)
            | Op::Select
            | Op::MaskConst(_)
            | Op::MaskFirst
            | Op::Mask(_)
            | Op::MaskNot => self.vector(c),
            Op::Shuffle(_)
            | Op::Align(_)
            | Op::Permute
            | Op::PermuteBytes
            | Op::PermuteConst(_)
            | Op::LookupBytes(_)
            | Op::BroadcastLane(_)
            | Op::Parts(_)
            | Op::Half(_)
            | Op::Concat
            | Op::Reduce(_) => self.lanes(c),
            Op::DotBf16
            | Op::PackBf16
            | Op::Scratch(_)
            | Op::TileConfig
            | Op::TileRelease
            | Op::TileZero(_)
            | Op::TileLoad(_)
            | Op::TileStore(_)
            | Op::TileDot(..)
            | Op::TileDotU8S8(..) => Err(EncodeError::new("an instruction of x86-64")),
        }
    }

    /// Bytes for the preserved registers, in pairs of 16.
    fn save_bytes(&self) -> u32 {
        (self.saved_x.len().next_multiple_of(2) + self.saved_v.len().next_multiple_of(2)) as u32 * 8
    }

    /// Stores or loads the preserved registers, in pairs. An odd one goes alone, as `ldp` of one register twice is undefined.
    fn saved(&mut self, store: bool) {
        let mut units = 0;
        for vector in [false, true] {
            let regs = if vector { self.saved_v.clone() } else { self.saved_x.clone() };
            let (pair, single) = match (vector, store) {
                (false, true) => (enc::stp_x as fn(u32, u32, u32) -> u32, Access::STR_X),
                (false, false) => (enc::ldp_x as fn(u32, u32, u32) -> u32, Access::LDR_X),
                (true, true) => (enc::stp_d as fn(u32, u32, u32) -> u32, Access::STR_D),
                (true, false) => (enc::ldp_d as fn(u32, u32, u32) -> u32, Access::LDR_D),
            };
            for two in regs.chunks(2) {
                self.word(match two {
                    [a, b] => pair(*a, *b, units),
                    [a, ..] => single.scaled(*a, ZR_SP, units),
                    [] => continue,
                });
                units += 2;
            }
        }
    }

    fn prologue(&mut self) {
        if self.save_bytes() > 0 {
            self.add_constant(ZR_SP, ZR_SP, -i64::from(self.save_bytes()));
            self.saved(true);
        }
        if self.spill_bytes > 0 {
            // Frames stay below 16 MB, which two immediates reach.
            self.add_constant(ZR_SP, ZR_SP, -i64::from(self.spill_bytes));
        }
    }

    fn epilogue(&mut self) {
        if self.spill_bytes > 0 {
            self.add_constant(ZR_SP, ZR_SP, self.spill_bytes.into());
        }
        if self.save_bytes() > 0 {
            self.saved(false);
            self.add_constant(ZR_SP, ZR_SP, self.save_bytes().into());
        }
        self.word(enc::RET);
    }

    /// A move of the allocator. Flags stay as they are.
    fn edit(&mut self, from: Allocation, to: Allocation) -> Result<(), EncodeError> {
        let class = from.as_reg().or(to.as_reg()).map(|r| r.class());
        let vector = class == Some(RegClass::Float);
        let reg = |a: Allocation| a.as_reg().map(|r| r.hw_enc() as u32);
        let slot = |a: Allocation| Address {
            base: ZR_SP,
            index: None,
            disp: a.as_stack().map_or(0, |s| s.index() as i32 * 8),
        };
        match (reg(from), reg(to)) {
            (Some(f), Some(t)) if vector => self.rrr(enc::ORR_V, t, f, f),
            (Some(f), Some(t)) => self.rrr(enc::ORR_X, t, ZR_SP, f),
            (None, Some(t)) => self.access(if vector { Access::LDR_Q } else { Access::LDR_X }, t, slot(from)),
            (Some(f), None) => self.access(if vector { Access::STR_Q } else { Access::STR_X }, f, slot(to)),
            (None, None) => return Err(EncodeError::new("move from memory to memory")),
        }
        Ok(())
    }

    /// Sets the flags for a comparison.
    pub fn compare(&mut self, lhs: u32, rhs: RhsReg) {
        match rhs {
            RhsReg::Reg(r) => self.rrr(enc::SUBS_X, ZR_SP, lhs, r),
            RhsReg::Imm(imm) if (0..4096).contains(&imm) => self.word(enc::cmp_imm(lhs, imm.cast_unsigned())),
            RhsReg::Imm(imm) if (-4095..0).contains(&imm) => self.word(enc::cmn_imm(lhs, imm.unsigned_abs())),
            RhsReg::Imm(imm) => {
                self.constant(X16, imm.into());
                self.rrr(enc::SUBS_X, ZR_SP, lhs, X16);
            }
        }
    }

    fn terminator(&mut self, term: &Terminator, allocs: &[Allocation], block: usize, layout: &Layout) {
        let next = layout.next(block);
        match term {
            Terminator::Return => self.epilogue(),
            Terminator::Jump(to, _) => {
                let to = layout.target(to.index());
                if Some(to) != next {
                    self.asm.jump(Label(to));
                }
            }
            Terminator::Branch { cond, lhs: _, rhs, then, other } => {
                let lhs = hw(&allocs[0]);
                let rhs = match rhs {
                    Rhs::Reg(_) => RhsReg::Reg(hw(&allocs[1])),
                    Rhs::Imm(imm) => RhsReg::Imm(*imm),
                };
                let (then, other) = (layout.target(then.index()), layout.target(other.index()));
                let (cond, to, rest) = if Some(then) == next {
                    (cond.negate(), other, None)
                } else {
                    (*cond, then, (Some(other) != next).then_some(other))
                };
                match (cond, rhs) {
                    (Cond::Eq | Cond::Ne, RhsReg::Imm(0)) => {
                        self.asm.branch_zero(lhs, cond == Cond::Ne, Label(to));
                    }
                    _ => {
                        self.compare(lhs, rhs);
                        self.asm.branch_if(condition(cond), Label(to));
                    }
                }
                if let Some(rest) = rest {
                    self.asm.jump(Label(rest));
                }
            }
        }
    }
}

/// Right side of a comparison, with its register.
#[derive(Clone, Copy)]
pub(super) enum RhsReg {
    Reg(u32),
    Imm(i32),
}

/// Condition field.
pub(super) fn condition(cond: Cond) -> u32 {
    match cond {
        Cond::Eq => 0,
        Cond::Ne => 1,
        Cond::Ge => 10,
        Cond::Lt => 11,
        Cond::Gt => 12,
        Cond::Le => 13,
    }
}

/// Encodes the kernel; returns code and frame size.
pub(super) fn encode(a: &Allocated<'_>) -> Result<(Vec<u8>, usize), CompileError> {
    let kernel = a.kernel;
    let fail = |inst: String, e: EncodeError| CompileError::Encoding { kernel: kernel.name.clone(), inst, reason: e.0 };
    let used = |class, r: &usize| a.uses_register(class, *r);
    let spill_bytes = (a.output.num_spillslots * 8).next_multiple_of(16) as u32;
    if spill_bytes >= 1 << 24 {
        return Err(fail("frame".to_owned(), EncodeError::new("frame above 16 MB")));
    }
    let mut e = Emitter {
        asm: Asm::default(),
        spill_bytes,
        saved_x: CALLEE_SAVED_X.filter(|r| used(RegClass::Int, r)).map(|r| r as u32).collect(),
        saved_v: CALLEE_SAVED_V.filter(|r| used(RegClass::Float, r)).map(|r| r as u32).collect(),
    };
    let frame = (spill_bytes + e.save_bytes()) as usize;
    e.prologue();
    let layout = a.layout();
    for b in (0..kernel.blocks.len()).filter(|b| !layout.skipped(*b)) {
        e.asm.bind(Label(b));
        for item in a.output.block_insts_and_edits(&a.flat, Block::new(b)) {
            match item {
                InstOrEdit::Edit(Edit::Move { from, to }) => {
                    e.edit(*from, *to).map_err(|x| fail(format!("move {from} to {to}"), x))?;
                }
                InstOrEdit::Inst(i) => match a.flat.places[i.index()] {
                    Place::Inst { block, index } => {
                        let inst = &kernel.blocks[block].insts[index];
                        let c = Ctx { inst, allocs: a.output.inst_allocs(i) };
                        e.inst(&c).map_err(|x| fail(kernel.inst_to_string(inst), x))?;
                    }
                    Place::Term { block } => {
                        e.terminator(&kernel.blocks[block].term, a.output.inst_allocs(i), block, &layout);
                    }
                },
            }
        }
    }
    let code = e.asm.finish().map_err(|x| fail("branches and literals".to_owned(), x))?;
    Ok((code, frame))
}
