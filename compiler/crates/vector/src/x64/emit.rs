//! Walks the allocated kernel block by block: prologue, instructions, the allocator's moves, branches, epilogue.

use super::asm::{Asm, ConstId, Label};
use super::codes::{self, Family, pick};
use super::operands::{O, build, gpr64, mask, vec};
use super::{CALLEE_SAVED, codes::MOVA};
use crate::compile::{CompileError, EncodeError};
use crate::ir::{Cond, Inst, Kernel, Mem, MemArg, Op, Rhs, Terminator, Value};
use crate::regalloc::{Allocated, Place};
use crate::target::{Isa, Width};
use iced_x86::{Code, MemoryOperand, Register};
use regalloc2::{Allocation, Block, Edit, InstOrEdit, RegClass};

/// Largest alignment that a constant or the code asks for.
const ALIGN_LOOP: usize = 32;

pub(super) struct Emitter<'a> {
    pub asm: Asm,
    pub isa: Isa,
    pub kernel: &'a Kernel,
    /// The value whose addition was the last to set the flags, so that a comparison with zero is free.
    pub flags_of: Option<Value>,
    /// Bytes of the frame below the saved registers: spill slots, then scratch.
    frame_bytes: i32,
    /// Bytes of the spill slots.
    pub spill_bytes: i32,
    saved: Vec<usize>,
}

/// One instruction with its registers.
pub(super) struct Ctx<'a> {
    pub inst: &'a Inst,
    pub width: Width,
    allocs: &'a [Allocation],
}

/// The vector width of an instruction: that of its first operand whose kind follows it.
pub(super) fn width_of(kernel: &Kernel, inst: &Inst) -> Width {
    let sig = inst.op.signature();
    let args = sig.args.iter().zip(&inst.args);
    let results = sig.results.iter().zip(&inst.results);
    args.chain(results).find_map(|(kind, v)| kind.width(kernel.ty(*v))).unwrap_or(kernel.target.width())
}

fn hw(a: &Allocation) -> usize {
    a.as_reg().expect("operands are constrained to registers").hw_enc()
}

impl Ctx<'_> {
    /// Hardware number of a result.
    pub fn res(&self, i: usize) -> usize {
        hw(&self.allocs[i])
    }

    /// Hardware number of an argument.
    pub fn arg(&self, i: usize) -> usize {
        hw(&self.allocs[self.inst.results.len() + i])
    }

    /// Hardware number of a temporary.
    pub fn temp(&self, i: usize) -> usize {
        hw(&self.allocs[self.inst.results.len() + self.inst.uses().count() + i])
    }

    /// The result as a vector register.
    pub fn dst(&self) -> Register {
        vec(self.width, self.res(0))
    }

    /// An argument as a vector register.
    pub fn src(&self, i: usize) -> Register {
        vec(self.width, self.arg(i))
    }

    /// The address of the memory operand.
    pub fn address(&self) -> MemoryOperand {
        let mem = self.inst.mem.as_ref().and_then(MemArg::mem).expect("the op has an address");
        self.memory(mem, matches!(self.inst.mem, Some(MemArg::Broadcast(_))))
    }

    fn memory(&self, mem: &Mem, broadcast: bool) -> MemoryOperand {
        let first = self.inst.results.len() + self.inst.args.len();
        let base = gpr64(hw(&self.allocs[first]));
        let (index, scale) = match mem.index {
            Some((_, scale)) => (gpr64(hw(&self.allocs[first + 1])), scale.into()),
            None => (Register::None, 1),
        };
        // Size 1 lets the encoder choose the shortest form, with compressed displacements under EVEX.
        let size = if mem.disp == 0 { 0 } else { 1 };
        MemoryOperand::new(base, index, scale, mem.disp.into(), size, broadcast, Register::None)
    }
}

impl Emitter<'_> {
    pub fn op(&mut self, code: Code, ops: &[O]) -> Result<(), EncodeError> {
        self.masked(code, ops, Register::None, false)
    }

    /// An instruction under an opmask.
    pub fn masked(&mut self, code: Code, ops: &[O], k: Register, zeroing: bool) -> Result<(), EncodeError> {
        let mut inst = build(code, ops)?;
        if k != Register::None {
            inst.set_op_mask(k);
            inst.set_zeroing_masking(zeroing);
        }
        match ops.iter().find_map(|o| if let O::C(id, _) = o { Some(*id) } else { None }) {
            Some(id) => Ok(self.asm.emit_const(&inst, id)?),
            None => Ok(self.asm.emit(&inst)?),
        }
    }

    /// An instruction of a family at a width.
    pub fn vop(&mut self, family: &Family, width: Width, ops: &[O]) -> Result<(), EncodeError> {
        self.op(pick(family, self.isa, width), ops)
    }

    /// A 32-bit word in all lanes, as a memory operand.
    pub fn splat_const(&mut self, bits: u32, width: Width) -> O {
        match self.isa {
            Isa::X64Avx512 => O::C(self.asm.constant(&[bits]), true),
            _ => O::C(self.asm.constant(&vec![bits; width.lanes()]), false),
        }
    }

    pub fn constant(&mut self, words: &[u32]) -> ConstId {
        self.asm.constant(words)
    }

    /// The last vector argument: a register or the memory operand that stands for it.
    pub fn last(&mut self, c: &Ctx<'_>, index: usize) -> O {
        match c.inst.mem {
            None => O::R(c.src(index)),
            Some(MemArg::Splat(bits)) => self.splat_const(bits, c.width),
            Some(_) => O::M(c.address()),
        }
    }

    fn inst(&mut self, c: &Ctx<'_>) -> Result<(), EncodeError> {
        let sets_flags_of =
            matches!(c.inst.op, Op::Int(_) | Op::IntImm(..) | Op::IntConst(_) | Op::IntSelect(_) | Op::Scratch(_));
        if sets_flags_of || matches!(c.inst.op, Op::MaskConst(_)) {
            self.flags_of = None;
        }
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
            | Op::DotBf16
            | Op::DotU8S8
            | Op::PackBf16
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
            Op::Scratch(_) => self.scratch(c),
            Op::TileConfig
            | Op::TileRelease
            | Op::TileZero(_)
            | Op::TileLoad(_)
            | Op::TileStore(_)
            | Op::TileDot(..)
            | Op::TileDotU8S8(..) => self.tiles(c),
        }
    }

    fn prologue(&mut self) -> Result<(), EncodeError> {
        for r in self.saved.clone() {
            self.op(Code::Push_r64, &[O::R(gpr64(r))])?;
        }
        if self.frame_bytes > 0 {
            self.op(Code::Sub_rm64_imm32, &[O::R(Register::RSP), O::I(self.frame_bytes)])?;
        }
        Ok(())
    }

    fn epilogue(&mut self) -> Result<(), EncodeError> {
        self.op(Code::VEX_Vzeroupper, &[])?;
        if self.frame_bytes > 0 {
            self.op(Code::Add_rm64_imm32, &[O::R(Register::RSP), O::I(self.frame_bytes)])?;
        }
        for r in self.saved.clone().into_iter().rev() {
            self.op(Code::Pop_r64, &[O::R(gpr64(r))])?;
        }
        self.op(Code::Retnq, &[])
    }

    /// A move of the allocator, between registers or to and from the frame. Flags stay as they are.
    fn edit(&mut self, from: Allocation, to: Allocation) -> Result<(), EncodeError> {
        let class = from.as_reg().or(to.as_reg()).map(|r| r.class());
        let class = class.ok_or_else(|| EncodeError::new("move from memory to memory"))?;
        let w = self.kernel.target.width();
        let reg = |a: Allocation| {
            a.as_reg().map(|r| match class {
                RegClass::Int => gpr64(r.hw_enc()),
                RegClass::Float => vec(w, r.hw_enc()),
                RegClass::Vector => mask(r.hw_enc()),
            })
        };
        let slot = |a: Allocation| {
            let at = a.as_stack().map_or(0, |s| s.index() * 8);
            O::M(MemoryOperand::new(Register::RSP, Register::None, 1, at as i64, 1, false, Register::None))
        };
        let (load, store) = match class {
            RegClass::Int => (Code::Mov_r64_rm64, Code::Mov_rm64_r64),
            RegClass::Float => (pick(&codes::MOVU_LOAD, self.isa, w), pick(&codes::MOVU_STORE, self.isa, w)),
            RegClass::Vector => (Code::VEX_Kmovw_kr_km16, Code::VEX_Kmovw_m16_kr),
        };
        match (reg(from), reg(to)) {
            (Some(f), Some(t)) if class == RegClass::Float => self.vop(&MOVA, w, &[O::R(t), O::R(f)]),
            (Some(f), Some(t)) => self.op(load, &[O::R(t), O::R(f)]),
            (None, Some(t)) => self.op(load, &[O::R(t), slot(from)]),
            (Some(f), None) => self.op(store, &[slot(to), O::R(f)]),
            (None, None) => Err(EncodeError::new("move from memory to memory")),
        }
    }

    /// Compares for a branch or a conditional move.
    pub fn compare(&mut self, cond: Cond, lhs: usize, lhs_value: Value, rhs: RhsReg) -> Result<(), EncodeError> {
        match rhs {
            RhsReg::Imm(0) if self.flags_of == Some(lhs_value) && matches!(cond, Cond::Eq | Cond::Ne) => Ok(()),
            RhsReg::Imm(0) => self.op(Code::Test_rm64_r64, &[O::R(gpr64(lhs)), O::R(gpr64(lhs))]),
            RhsReg::Imm(imm) => {
                let code = if i8::try_from(imm).is_ok() { Code::Cmp_rm64_imm8 } else { Code::Cmp_rm64_imm32 };
                self.op(code, &[O::R(gpr64(lhs)), O::I(imm)])
            }
            RhsReg::Reg(r) => self.op(Code::Cmp_rm64_r64, &[O::R(gpr64(lhs)), O::R(gpr64(r))]),
        }
    }

    fn branch_if(&mut self, cond: Cond, to: usize) -> Result<(), EncodeError> {
        let (short, near) = match cond {
            Cond::Eq => (Code::Je_rel8_64, Code::Je_rel32_64),
            Cond::Ne => (Code::Jne_rel8_64, Code::Jne_rel32_64),
            Cond::Lt => (Code::Jl_rel8_64, Code::Jl_rel32_64),
            Cond::Le => (Code::Jle_rel8_64, Code::Jle_rel32_64),
            Cond::Gt => (Code::Jg_rel8_64, Code::Jg_rel32_64),
            Cond::Ge => (Code::Jge_rel8_64, Code::Jge_rel32_64),
        };
        Ok(self.asm.branch(short, near, Label(to))?)
    }
}

/// Right side of a comparison, with its register.
#[derive(Clone, Copy)]
pub(super) enum RhsReg {
    Reg(usize),
    Imm(i32),
}

/// Encodes the kernel; returns code and frame size.
pub(super) fn encode(a: &Allocated<'_>) -> Result<(Vec<u8>, usize), CompileError> {
    let kernel = a.kernel;
    let fail = |inst: String, e: EncodeError| CompileError::Encoding { kernel: kernel.name.clone(), inst, reason: e.0 };
    let blocks = kernel.blocks.len();
    let spill_bytes = i32::try_from(a.output.num_spillslots * 8).unwrap_or(i32::MAX);
    let saved: Vec<usize> = CALLEE_SAVED.into_iter().filter(|r| a.uses_register(RegClass::Int, *r)).collect();
    let scratch = kernel.blocks.iter().flat_map(|b| &b.insts).find_map(|i| match i.op {
        Op::Scratch(n) => Some(n as usize + super::tiles::ALIGN),
        _ => None,
    });
    let below = a.output.num_spillslots * 8 + scratch.unwrap_or(0);
    let frame_bytes = i32::try_from(below).unwrap_or(i32::MAX);
    let frame = below + saved.len() * 8;
    let asm = Asm::new(blocks).map_err(|e| fail("prologue".to_owned(), e.into()))?;
    let mut e = Emitter { asm, isa: kernel.target.isa, kernel, flags_of: None, frame_bytes, spill_bytes, saved };
    e.prologue().map_err(|x| fail("prologue".to_owned(), x))?;

    let layout = a.layout();
    let headers: Vec<usize> = kernel.innermost_loops().iter().map(|l| *l.start()).collect();
    for b in 0..blocks {
        if layout.skipped(b) {
            continue;
        }
        if headers.contains(&b) {
            e.asm.align(ALIGN_LOOP).map_err(|x| fail("alignment".to_owned(), x.into()))?;
        }
        e.asm.bind(Label(b));
        e.flags_of = None;
        for item in a.output.block_insts_and_edits(&a.flat, Block::new(b)) {
            match item {
                InstOrEdit::Edit(Edit::Move { from, to }) => {
                    e.edit(*from, *to).map_err(|x| fail(format!("move {from} to {to}"), x))?;
                }
                InstOrEdit::Inst(i) => match a.flat.places[i.index()] {
                    Place::Inst { block, index } => {
                        let inst = &kernel.blocks[block].insts[index];
                        let allocs = a.output.inst_allocs(i);
                        let c = Ctx { inst, width: width_of(kernel, inst), allocs };
                        e.inst(&c).map_err(|x| fail(kernel.inst_to_string(inst), x))?;
                    }
                    Place::Term { block } => {
                        let term = &kernel.blocks[block].term;
                        terminator(&mut e, term, a.output.inst_allocs(i), block, &layout)
                            .map_err(|x| fail(format!("end of block {block}"), x))?;
                    }
                },
            }
        }
    }
    Ok((e.asm.finish(), frame))
}

fn terminator(
    e: &mut Emitter<'_>,
    term: &Terminator,
    allocs: &[Allocation],
    block: usize,
    layout: &crate::regalloc::Layout,
) -> Result<(), EncodeError> {
    let next = layout.next(block);
    match term {
        Terminator::Return => e.epilogue(),
        Terminator::Jump(to, _) => {
            let to = layout.target(to.index());
            if Some(to) == next {
                Ok(())
            } else {
                Ok(e.asm.branch(Code::Jmp_rel8_64, Code::Jmp_rel32_64, Label(to))?)
            }
        }
        Terminator::Branch { cond, lhs, rhs, then, other } => {
            let rhs = match rhs {
                Rhs::Reg(_) => RhsReg::Reg(hw(&allocs[1])),
                Rhs::Imm(imm) => RhsReg::Imm(*imm),
            };
            e.compare(*cond, hw(&allocs[0]), lhs.0, rhs)?;
            let (then, other) = (layout.target(then.index()), layout.target(other.index()));
            if Some(other) == next {
                e.branch_if(*cond, then)
            } else if Some(then) == next {
                e.branch_if(cond.negate(), other)
            } else {
                e.branch_if(*cond, then)?;
                Ok(e.asm.branch(Code::Jmp_rel8_64, Code::Jmp_rel32_64, Label(other))?)
            }
        }
    }
}
