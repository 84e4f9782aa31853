//! The vector machine IR: kernels, blocks, instructions. See the crate docs for the invariants.

mod op;
mod signature;

pub use op::*;
pub use signature::{ArgKind, MemUse, Signature};

use crate::target::{Target, Width};
use smallvec::SmallVec;

/// A virtual register. Defined once, by an instruction or as a block parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// Position in [`Kernel::types`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// 64-bit general register: integers and addresses.
    Gpr,
    /// Vector register; lanes are untyped 32-bit words, the op says how it reads them.
    Vec(Width),
    /// One truth value for each 32-bit lane of a vector of this width.
    Mask(Width),
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub(crate) Value);

        impl $name {
            /// The untyped virtual register.
            pub const fn value(self) -> Value {
                self.0
            }
        }
    };
}
handle!(
    /// Handle of a value of type [`Type::Gpr`].
    Gpr
);
handle!(
    /// Handle of a value of type [`Type::Vec`].
    Vector
);
handle!(
    /// Handle of a value of type [`Type::Mask`].
    Mask
);

/// A memory address: `base + index * scale + disp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mem {
    /// Base address.
    pub base: Gpr,
    /// Index register and its scale: 1, 2, 4 or 8.
    pub index: Option<(Gpr, u8)>,
    /// Constant displacement in bytes.
    pub disp: i32,
}

impl Mem {
    /// `[base + disp]`.
    pub const fn new(base: Gpr, disp: i32) -> Mem {
        Mem { base, index: None, disp }
    }

    /// The address `bytes` further on.
    ///
    /// # Panics
    /// If the displacement leaves 32 bits.
    pub fn offset(self, bytes: i32) -> Mem {
        let disp = self.disp.checked_add(bytes).expect("displacement of a memory operand leaves 32 bits");
        Mem { disp, ..self }
    }
}

impl Gpr {
    /// The address `[self + disp]`.
    pub const fn at(self, disp: i32) -> Mem {
        Mem::new(self, disp)
    }

    /// The address `[self + index * scale + disp]`; `scale` is 1, 2, 4 or 8.
    pub const fn at_index(self, index: Gpr, scale: u8, disp: i32) -> Mem {
        Mem { base: self, index: Some((index, scale)), disp }
    }
}

/// A memory operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemArg {
    /// The plain address; as a vector operand, all lanes are read from it.
    At(Mem),
    /// One 32-bit word is read and broadcast to all lanes.
    Broadcast(Mem),
    /// The 32-bit word, from the constant pool, in every lane.
    Splat(u32),
}

impl MemArg {
    /// The address, if the operand has one.
    pub fn mem(&self) -> Option<&Mem> {
        match self {
            MemArg::At(m) | MemArg::Broadcast(m) => Some(m),
            MemArg::Splat(_) => None,
        }
    }

    pub(crate) fn mem_mut(&mut self) -> Option<&mut Mem> {
        match self {
            MemArg::At(m) | MemArg::Broadcast(m) => Some(m),
            MemArg::Splat(_) => None,
        }
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does, with its immediates.
    pub op: Op,
    /// Registers it defines.
    pub results: SmallVec<[Value; 1]>,
    /// Registers it reads, besides those of the memory operand.
    pub args: SmallVec<[Value; 3]>,
    /// Its memory operand. Where the op's signature says that it is optional, it stands for the last vector argument.
    pub mem: Option<MemArg>,
}

impl Inst {
    /// All registers that the instruction reads: arguments, then base and index of the address.
    pub fn uses(&self) -> impl Iterator<Item = Value> + '_ {
        let mem = self.mem.as_ref().and_then(MemArg::mem);
        let address = mem.into_iter().flat_map(|m| std::iter::once(m.base.0).chain(m.index.map(|(i, _)| i.0)));
        self.args.iter().copied().chain(address)
    }

    pub(crate) fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        for a in &mut self.args {
            *a = f(*a);
        }
        if let Some(m) = self.mem.as_mut().and_then(MemArg::mem_mut) {
            m.base.0 = f(m.base.0);
            if let Some((i, _)) = &mut m.index {
                i.0 = f(i.0);
            }
        }
    }
}

/// Number of a block; the order of the numbers is the layout order of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

impl BlockId {
    /// Position in [`Kernel::blocks`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Right side of an integer comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rhs {
    /// A register.
    Reg(Gpr),
    /// A constant.
    Imm(i32),
}

/// How a block ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Terminator {
    /// Go to the block, giving its parameters their values.
    Jump(BlockId, SmallVec<[Value; 4]>),
    /// `if lhs cond rhs { then } else { other }` on signed 64-bit integers. Both blocks have no parameters and this as their only predecessor.
    Branch {
        /// Condition.
        cond: Cond,
        /// Left side.
        lhs: Gpr,
        /// Right side.
        rhs: Rhs,
        /// Taken if the condition holds.
        then: BlockId,
        /// Taken otherwise.
        other: BlockId,
    },
    /// Return from the kernel.
    Return,
}

impl Terminator {
    /// Blocks that may follow.
    pub fn successors(&self) -> SmallVec<[BlockId; 2]> {
        match self {
            Terminator::Jump(b, _) => SmallVec::from_slice(&[*b]),
            Terminator::Branch { then, other, .. } => SmallVec::from_slice(&[*then, *other]),
            Terminator::Return => SmallVec::new(),
        }
    }

    pub(crate) fn map_uses(&mut self, mut f: impl FnMut(Value) -> Value) {
        match self {
            Terminator::Jump(_, args) => args.iter_mut().for_each(|a| *a = f(*a)),
            Terminator::Branch { lhs, rhs, .. } => {
                lhs.0 = f(lhs.0);
                if let Rhs::Reg(r) = rhs {
                    r.0 = f(r.0);
                }
            }
            Terminator::Return => {}
        }
    }
}

/// Straight-line code with one entry and one exit.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Values that the predecessors hand over.
    pub params: Vec<Value>,
    /// Instructions in the order in which they are emitted.
    pub insts: Vec<Inst>,
    /// How it ends.
    pub term: Terminator,
}

/// A leaf function `extern "C" fn(args: *const *mut u8, begin: usize, end: usize)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name, for people.
    pub name: String,
    /// The machine it is for.
    pub target: Target,
    /// Type of each value; values are numbered in the order of their definitions.
    pub types: Vec<Type>,
    /// Blocks in layout order; the first is the entry.
    pub blocks: Vec<Block>,
}

impl Kernel {
    /// Type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.types[v.index()]
    }

    /// The loops, as ranges of block numbers `header..=latch`, in the order of their latches (inner before outer).
    /// Blocks are laid out so that a loop is contiguous and a jump backwards goes to the header of a loop.
    pub fn loops(&self) -> Vec<std::ops::RangeInclusive<usize>> {
        let mut loops = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            if let Terminator::Jump(to, _) = &block.term
                && to.index() <= i
            {
                loops.push(to.index()..=i);
            }
        }
        loops
    }

    /// The loops that contain no other loop.
    pub fn innermost_loops(&self) -> Vec<std::ops::RangeInclusive<usize>> {
        let all = self.loops();
        let inside = |a: &std::ops::RangeInclusive<usize>, b: &std::ops::RangeInclusive<usize>| {
            a != b && a.start() >= b.start() && a.end() <= b.end()
        };
        all.iter().filter(|outer| !all.iter().any(|inner| inside(inner, outer))).cloned().collect()
    }
}
