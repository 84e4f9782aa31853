//! Checks every invariant of the IR and reports all violations.

use crate::ir::{
    BlockId, Elem, Gpr, Inst, IntImmOp, Kernel, Mem, MemArg, MemUse, Op, Rhs, Terminator, Type, Value, VecOp,
};
use crate::target::{Isa, Width};

/// Most bytes of [`Op::Scratch`]; a thread's stack has room for it beside everything else.
const MAX_SCRATCH: u32 = 32 << 10;

impl Kernel {
    /// All violations of the IR's invariants, as sentences; empty for a valid kernel. Never panics, whatever the kernel holds.
    pub fn verify(&self) -> Vec<String> {
        let mut v = Verifier { kernel: self, problems: Vec::new() };
        if v.shape() {
            v.definitions();
            v.instructions();
        }
        v.problems
    }
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    problems: Vec<String>,
}

impl Verifier<'_> {
    /// Blocks, values and edges exist; block 0 is the entry; no critical edges. The other checks rely on it.
    fn shape(&mut self) -> bool {
        let k = self.kernel;
        let (blocks, values) = (k.blocks.len(), k.types.len());
        if !k.blocks.first().is_some_and(|b| b.params.is_empty() && b.insts.first().is_some_and(|i| i.op == Op::Entry))
        {
            self.problems.push("the first block must have no parameters and begin with `entry`".to_owned());
        }
        let mut preds = vec![0usize; blocks];
        for (b, block) in k.blocks.iter().enumerate() {
            let mut all: Vec<Value> = block.params.clone();
            for (i, inst) in block.insts.iter().enumerate() {
                all.extend(inst.results.iter().copied().chain(inst.uses()));
                if inst.op == Op::Entry && (b, i) != (0, 0) {
                    self.problems.push(format!("block{b}: `entry` is only for the beginning"));
                }
            }
            match &block.term {
                Terminator::Jump(_, args) => all.extend(args),
                Terminator::Branch { lhs, rhs, .. } => {
                    all.push(lhs.0);
                    if let Rhs::Reg(r) = rhs {
                        all.push(r.0);
                    }
                }
                Terminator::Return => {}
            }
            if let Some(v) = all.iter().find(|v| v.index() >= values) {
                self.problems.push(format!("block{b}: v{} has no type", v.0));
            }
            for BlockId(to) in block.term.successors() {
                match preds.get_mut(to as usize) {
                    Some(n) => *n += 1,
                    None => self.problems.push(format!("block{b}: goes to block{to}, which does not exist")),
                }
            }
        }
        if !self.problems.is_empty() {
            return false;
        }
        for (b, block) in k.blocks.iter().enumerate() {
            match &block.term {
                Terminator::Branch { then, other, .. } => {
                    for to in [then, other] {
                        if preds[to.index()] != 1 || !k.blocks[to.index()].params.is_empty() {
                            self.problems.push(format!(
                                "block{b}: branches to block{}, which must have no parameters and no other predecessor",
                                to.0
                            ));
                        }
                    }
                }
                Terminator::Jump(to, args) => {
                    let params = &k.blocks[to.index()].params;
                    let given: Vec<Type> = args.iter().map(|a| k.ty(*a)).collect();
                    let wanted: Vec<Type> = params.iter().map(|p| k.ty(*p)).collect();
                    if given != wanted {
                        self.problems.push(format!("block{b}: jumps to block{} with {given:?}, not {wanted:?}", to.0));
                    }
                }
                Terminator::Return => {}
            }
        }
        if preds.first().is_some_and(|n| *n != 0) {
            self.problems.push("the first block has a predecessor".to_owned());
        }
        if let Some(b) = (1..blocks).find(|b| preds[*b] == 0) {
            self.problems.push(format!("block{b} cannot be reached"));
        }
        self.problems.is_empty()
    }

    /// Each value is defined once, in order, and each use is dominated by its definition.
    fn definitions(&mut self) {
        let k = self.kernel;
        // Block and position of each definition; parameters stand before instruction 0.
        let mut def: Vec<Option<(usize, usize)>> = vec![None; k.types.len()];
        for (b, block) in k.blocks.iter().enumerate() {
            let params = block.params.iter().map(|v| (0, v));
            let results =
                block.insts.iter().enumerate().flat_map(|(i, inst)| inst.results.iter().map(move |v| (i + 1, v)));
            for (at, v) in params.chain(results) {
                if def[v.index()].replace((b, at)).is_some() {
                    self.problems.push(format!("block{b}: v{} is defined twice", v.0));
                }
            }
        }
        let order: Vec<_> = def.iter().flatten().collect();
        if order.len() != def.len() || !order.is_sorted() {
            self.problems.push("values must be numbered in the order of their definitions".to_owned());
        }
        let idom = dominators(k);
        let mut check = |b: usize, at: usize, v: Value| {
            let defined = match def[v.index()] {
                Some((db, da)) if db == b => da < at,
                Some((db, _)) => dominates(&idom, db, b),
                None => false,
            };
            if !defined {
                self.problems.push(format!("block{b}: v{} is used where it is not defined", v.0));
            }
        };
        for (b, block) in k.blocks.iter().enumerate() {
            for (i, inst) in block.insts.iter().enumerate() {
                inst.uses().for_each(|v| check(b, i + 1, v));
            }
            let end = block.insts.len() + 1;
            match &block.term {
                Terminator::Jump(_, args) => args.iter().for_each(|v| check(b, end, *v)),
                Terminator::Branch { lhs, rhs, .. } => {
                    check(b, end, lhs.0);
                    if let Rhs::Reg(r) = rhs {
                        check(b, end, r.0);
                    }
                }
                Terminator::Return => {}
            }
        }
    }

    fn instructions(&mut self) {
        let all = self.kernel.blocks.iter().flat_map(|b| &b.insts);
        if all.filter(|i| matches!(i.op, Op::Scratch(_))).count() > 1 {
            self.problems.push("a kernel has one scratch area".to_owned());
        }
        let max = self.kernel.target.width();
        for (i, ty) in self.kernel.types.iter().enumerate() {
            if let Type::Vec(w) | Type::Mask(w) = ty
                && (*w > max || (self.kernel.target.isa == Isa::A64Neon && *w != max))
            {
                self.problems.push(format!("v{i}: {} has no vectors of {} lanes", self.kernel.target, w.lanes()));
            }
        }
        for (b, block) in self.kernel.blocks.iter().enumerate() {
            for inst in &block.insts {
                if let Err(what) = self.instruction(inst) {
                    self.problems.push(format!("block{b}: `{}`: {what}", self.kernel.inst_to_string(inst)));
                }
            }
            if let Terminator::Branch { lhs, rhs, .. } = &block.term {
                let other = if let Rhs::Reg(Gpr(r)) = rhs { *r } else { lhs.0 };
                if self.kernel.ty(lhs.0) != Type::Gpr || self.kernel.ty(other) != Type::Gpr {
                    self.problems.push(format!("block{b}: branches compare general registers"));
                }
            }
        }
    }

    fn instruction(&self, inst: &Inst) -> Result<(), String> {
        let k = self.kernel;
        let sig = inst.op.signature();
        let args = match (sig.mem, &inst.mem) {
            (MemUse::No, None) | (MemUse::Address, Some(MemArg::At(_))) | (MemUse::LastArg, None) => sig.args,
            (MemUse::LastArg, Some(mem)) => {
                if !k.target.isa.reads_memory(&inst.op, mem) {
                    return Err(format!("{} cannot read this operand from memory", k.target));
                }
                &sig.args[..sig.args.len() - 1]
            }
            (MemUse::No, Some(_)) => return Err("takes no memory operand".to_owned()),
            (MemUse::Address, _) => return Err("needs an address".to_owned()),
        };
        if inst.args.len() != args.len() || inst.results.len() != sig.results.len() {
            return Err(format!("has {} arguments and {} results", args.len(), sig.results.len()));
        }
        if let Some(mem) = inst.mem.as_ref().and_then(MemArg::mem) {
            self.address(mem)?;
            if matches!(inst.op, Op::TileLoad(_) | Op::TileStore(_)) && !matches!(mem.index, Some((_, 1))) {
                return Err("the index of a tile's address is its stride, of scale 1".to_owned());
            }
        }
        let typed = || {
            let given = inst.args.iter().chain(&inst.results);
            args.iter().chain(sig.results).zip(given.map(|v| k.ty(*v)))
        };
        let width = typed().find_map(|(kind, ty)| kind.width(ty)).unwrap_or(k.target.width());
        for (kind, ty) in typed() {
            if kind.ty(width) != Some(ty) {
                return Err(format!("{ty:?} where {kind:?} of {} lanes stands", width.lanes()));
            }
        }
        self.immediates(&inst.op, width)
    }

    fn address(&self, mem: &Mem) -> Result<(), String> {
        let regs = [Some(mem.base), mem.index.map(|(i, _)| i)];
        if regs.into_iter().flatten().any(|r| self.kernel.ty(r.0) != Type::Gpr) {
            return Err("addresses are general registers".to_owned());
        }
        if mem.index.is_some_and(|(_, scale)| !matches!(scale, 1 | 2 | 4 | 8)) {
            return Err("the scale of an index is 1, 2, 4 or 8".to_owned());
        }
        Ok(())
    }

    fn immediates(&self, op: &Op, width: Width) -> Result<(), String> {
        let (isa, lanes) = (self.kernel.target.isa, width.lanes());
        let neon = isa == Isa::A64Neon;
        let any_tiles = self.kernel.target.has_tiles() || self.kernel.target.has_int8_tiles();
        let require = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        match op {
            Op::IntImm(IntImmOp::Shl | IntImmOp::Shr | IntImmOp::Sar, n) => {
                require((0..64).contains(n), "shifts by 0 to 63")
            }
            Op::IntImm(_, n) => require(i32::try_from(*n).is_ok(), "takes constants of 32 bits"),
            Op::Shift(op, n) => require(*n < op.bits(), "shifts by less than a lane has bits"),
            Op::Table(t) | Op::PermuteConst(t) => {
                require(t.len() == lanes, "needs one word a lane")?;
                let index = matches!(op, Op::PermuteConst(_));
                require(!index || t.iter().all(|i| (*i as usize) < lanes), "indexes lanes that do not exist")
            }
            Op::LookupBytes(t) => require(t.len() == 64, "needs 256 bytes"),
            Op::LoadLow(n) | Op::StoreLow(n) => {
                let n = *n as usize;
                require(n < lanes && (matches!(n, 1 | 2 | 4 | 8) || (neon && n == 3)), "no such number of lanes")
            }
            Op::Gather(s) => require(matches!(s, 1 | 2 | 4 | 8), "the scale of a gather is 1, 2, 4 or 8"),
            Op::FmaLane(_, n) => require(*n < 4, "the lane is below 4"),
            Op::Align(n) | Op::BroadcastLane(n) => require((*n as usize) < lanes, "no such lane"),
            Op::MaskConst(n) => require((*n as usize) <= lanes, "no such number of lanes"),
            Op::LoadConvertMasked(e) | Op::StoreConvertMasked(e) => {
                require(e.bytes() == 1, "is for bytes")?;
                require(isa == Isa::X64Avx512, "is for AVX-512")
            }
            Op::Vec(VecOp::FScale) => require(isa == Isa::X64Avx512, "is for AVX-512"),
            Op::Permute => require(!neon, "NEON permutes by constants only"),
            Op::Parts(s) => match width {
                Width::W512 => Ok(()),
                Width::W256 => require(*s < 4, "two bits select 256-bit parts"),
                Width::W128 => Err("128-bit vectors have one part".to_owned()),
            },
            Op::StoreConvert(Elem::Bf16) | Op::DotBf16 => require(self.kernel.target.has_bf16(), "needs BF16"),
            Op::PackBf16 => {
                require(self.kernel.target.has_bf16(), "needs BF16")?;
                require(width == Width::W512, "packs whole vectors")
            }
            Op::DotU8S8 => require(self.kernel.target.has_dot_u8s8(), "needs VNNI or I8MM"),
            Op::Scratch(n) => {
                require(!neon, "is for x86-64")?;
                require(*n <= MAX_SCRATCH, "is larger than a page of stack may be")
            }
            Op::TileConfig | Op::TileRelease => require(any_tiles, "needs AMX"),
            Op::TileZero(t) | Op::TileLoad(t) | Op::TileStore(t) => {
                require(any_tiles, "needs AMX")?;
                require(*t < 8, "there are 8 tiles")
            }
            Op::TileDot(c, a, b) | Op::TileDotU8S8(c, a, b) => {
                let bytes = matches!(op, Op::TileDotU8S8(..));
                let there = if bytes { self.kernel.target.has_int8_tiles() } else { self.kernel.target.has_tiles() };
                require(there, "needs AMX")?;
                require([c, a, b].iter().all(|t| **t < 8), "there are 8 tiles")?;
                require(c != a && c != b && a != b, "needs three tiles")
            }
            _ => Ok(()),
        }
    }
}

/// Immediate dominators, with the algorithm of Cooper, Harvey and Kennedy. Blocks that are not reached have none.
fn dominators(k: &Kernel) -> Vec<Option<usize>> {
    let n = k.blocks.len();
    let mut preds = vec![Vec::new(); n];
    for (b, block) in k.blocks.iter().enumerate() {
        for s in block.term.successors() {
            preds[s.index()].push(b);
        }
    }
    // Post order without recursion.
    let (mut order, mut seen, mut stack) = (Vec::new(), vec![false; n], vec![(0usize, 0usize)]);
    seen[0] = true;
    while let Some((b, next)) = stack.pop() {
        match k.blocks[b].term.successors().get(next) {
            Some(s) => {
                stack.push((b, next + 1));
                if !std::mem::replace(&mut seen[s.index()], true) {
                    stack.push((s.index(), 0));
                }
            }
            None => order.push(b),
        }
    }
    let mut rank = vec![0; n];
    order.iter().enumerate().for_each(|(i, b)| rank[*b] = i);
    let mut idom = vec![None; n];
    idom[0] = Some(0);
    let mut changed = true;
    while changed {
        changed = false;
        for &b in order.iter().rev().skip(1) {
            let mut new = None;
            for &p in preds[b].iter().filter(|p| idom[**p].is_some()) {
                new = Some(match new {
                    None => p,
                    Some(mut a) => {
                        let mut c = p;
                        while a != c {
                            let lower = if rank[a] < rank[c] { &mut a } else { &mut c };
                            *lower = idom[*lower].unwrap_or(0);
                        }
                        a
                    }
                });
            }
            if idom[b] != new {
                idom[b] = new;
                changed = true;
            }
        }
    }
    idom
}

/// Whether block `a` dominates block `b`.
fn dominates(idom: &[Option<usize>], a: usize, mut b: usize) -> bool {
    while a != b {
        match idom[b] {
            Some(up) if up != b => b = up,
            _ => return false,
        }
    }
    true
}
