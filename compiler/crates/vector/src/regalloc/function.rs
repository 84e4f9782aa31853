//! A kernel as regalloc2 wants to see it: one numbering of instructions and terminators, operands with constraints.

use super::{Class, Constraints};
use crate::ir::{Inst, Kernel, Rhs, Terminator, Type, Value};
use regalloc2::{
    Block, Function, InstRange, Operand, OperandConstraint, OperandKind, OperandPos, PReg, PRegSet, RegClass, VReg,
};

/// Where a flat instruction comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Instruction of a block.
    Inst { block: usize, index: usize },
    /// Terminator of a block.
    Term { block: usize },
}

/// The flattened kernel. Operands stand in the order: results, arguments, address base, address index, temporaries.
pub(crate) struct Flat {
    pub places: Vec<Place>,
    operands: Vec<Vec<Operand>>,
    ranges: Vec<InstRange>,
    succs: Vec<Vec<Block>>,
    preds: Vec<Vec<Block>>,
    params: Vec<Vec<VReg>>,
    jump_args: Vec<Vec<VReg>>,
    kinds: Vec<TermKind>,
    num_vregs: usize,
    spill_units: [usize; 3],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TermKind {
    None,
    Branch,
    Return,
}

impl Flat {
    pub fn new(kernel: &Kernel, constraints: impl Fn(&Kernel, &Inst) -> Constraints) -> Flat {
        let n = kernel.blocks.len();
        let mut flat = Flat {
            places: Vec::new(),
            operands: Vec::new(),
            ranges: Vec::with_capacity(n),
            succs: vec![Vec::new(); n],
            preds: vec![Vec::new(); n],
            params: Vec::with_capacity(n),
            jump_args: vec![Vec::new(); n],
            kinds: Vec::new(),
            num_vregs: kernel.types.len(),
            spill_units: [1, kernel.target.width().bytes() / 8, 1],
        };
        for (b, block) in kernel.blocks.iter().enumerate() {
            let first = regalloc2::Inst::new(flat.places.len());
            for (index, inst) in block.insts.iter().enumerate() {
                let ops = flat.constrain(kernel, inst, &constraints(kernel, inst));
                flat.add(Place::Inst { block: b, index }, ops, TermKind::None);
            }
            let mut ops = Vec::new();
            let kind = match &block.term {
                Terminator::Jump(_, args) => {
                    flat.jump_args[b] = args.iter().map(|a| vreg(kernel, *a)).collect();
                    TermKind::Branch
                }
                Terminator::Branch { lhs, rhs, .. } => {
                    ops.push(Operand::reg_use(vreg(kernel, lhs.0)));
                    if let Rhs::Reg(r) = rhs {
                        ops.push(Operand::reg_use(vreg(kernel, r.0)));
                    }
                    TermKind::Branch
                }
                Terminator::Return => TermKind::Return,
            };
            flat.add(Place::Term { block: b }, ops, kind);
            flat.ranges.push(InstRange::new(first, regalloc2::Inst::new(flat.places.len())));
            flat.params.push(block.params.iter().map(|p| vreg(kernel, *p)).collect());
            for s in block.term.successors() {
                flat.succs[b].push(Block::new(s.index()));
                flat.preds[s.index()].push(Block::new(b));
            }
        }
        flat
    }

    /// Number of the block that holds a flat instruction.
    pub fn block_of(&self, inst: regalloc2::Inst) -> usize {
        match self.places[inst.index()] {
            Place::Inst { block, .. } | Place::Term { block } => block,
        }
    }

    fn add(&mut self, place: Place, operands: Vec<Operand>, kind: TermKind) {
        self.places.push(place);
        self.operands.push(operands);
        self.kinds.push(kind);
    }

    fn constrain(&mut self, kernel: &Kernel, inst: &Inst, c: &Constraints) -> Vec<Operand> {
        let mut ops = Vec::with_capacity(inst.results.len() + inst.args.len() + 2 + c.temps.len());
        for (i, r) in inst.results.iter().enumerate() {
            let v = vreg(kernel, *r);
            ops.push(match (c.fixed_results.get(i), c.tied) {
                (Some(hw), _) => Operand::reg_fixed_def(v, PReg::new(*hw as usize, RegClass::Int)),
                (None, Some(arg)) if i == 0 => Operand::reg_reuse_def(v, inst.results.len() + arg),
                _ => {
                    let pos = if c.early { OperandPos::Early } else { OperandPos::Late };
                    Operand::new(v, OperandConstraint::Reg, OperandKind::Def, pos)
                }
            });
        }
        ops.extend(inst.uses().map(|u| Operand::reg_use(vreg(kernel, u))));
        for class in &c.temps {
            ops.push(Operand::reg_temp(VReg::new(self.num_vregs, class.ra())));
            self.num_vregs += 1;
        }
        ops
    }
}

/// Register class of a value.
fn class_of(kernel: &Kernel, v: Value) -> Class {
    match kernel.ty(v) {
        Type::Gpr => Class::Gpr,
        Type::Vec(_) => Class::Vec,
        Type::Mask(_) if kernel.target.has_mask_regs() => Class::Mask,
        Type::Mask(_) => Class::Vec,
    }
}

fn vreg(kernel: &Kernel, v: Value) -> VReg {
    VReg::new(v.index(), class_of(kernel, v).ra())
}

impl Function for Flat {
    fn num_insts(&self) -> usize {
        self.places.len()
    }
    fn num_blocks(&self) -> usize {
        self.ranges.len()
    }
    fn entry_block(&self) -> Block {
        Block::new(0)
    }
    fn block_insns(&self, block: Block) -> InstRange {
        self.ranges[block.index()]
    }
    fn block_succs(&self, block: Block) -> &[Block] {
        &self.succs[block.index()]
    }
    fn block_preds(&self, block: Block) -> &[Block] {
        &self.preds[block.index()]
    }
    fn block_params(&self, block: Block) -> &[VReg] {
        &self.params[block.index()]
    }
    fn is_ret(&self, inst: regalloc2::Inst) -> bool {
        self.kinds[inst.index()] == TermKind::Return
    }
    fn is_branch(&self, inst: regalloc2::Inst) -> bool {
        self.kinds[inst.index()] == TermKind::Branch
    }
    fn branch_blockparams(&self, block: Block, _: regalloc2::Inst, _: usize) -> &[VReg] {
        &self.jump_args[block.index()]
    }
    fn inst_operands(&self, inst: regalloc2::Inst) -> &[Operand] {
        &self.operands[inst.index()]
    }
    fn inst_clobbers(&self, _: regalloc2::Inst) -> PRegSet {
        PRegSet::empty()
    }
    fn num_vregs(&self) -> usize {
        self.num_vregs
    }
    fn spillslot_size(&self, class: RegClass) -> usize {
        self.spill_units[class as usize]
    }
}
