//! Builds kernels: typed handles, variables and structured control flow in, SSA with block parameters out.
//!
//! Every method emits its instruction at the current position and nothing is ever moved: the order of the calls is the
//! schedule. Misuse (an out-of-scope variable, lanes that do not exist) panics with a message, as it is a bug of the generator.

mod arith;
pub(crate) mod bytes;
mod control;
mod finish;
mod integer;
mod lanes;
mod memory;
mod source;
mod tiles;

pub use control::IntoRhs;
pub use source::Src;
pub use tiles::TileShapes;

use crate::ir::{Block, BlockId, Gpr, Inst, Kernel, Mask, MemArg, Op, Terminator, Type, Value, Vector};
use crate::target::{Target, Width};
use smallvec::SmallVec;
use std::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Gpr {}
    impl Sealed for super::Vector {}
    impl Sealed for super::Mask {}
}

/// A typed register handle: [`Gpr`], [`Vector`] or [`Mask`].
pub trait Reg: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn from_value(v: Value) -> Self;
    #[doc(hidden)]
    fn to_value(self) -> Value;
}

macro_rules! reg {
    ($($t:ident),*) => { $(impl Reg for $t {
        fn from_value(v: Value) -> Self { $t(v) }
        fn to_value(self) -> Value { self.0 }
    })* };
}
reg!(Gpr, Vector, Mask);

/// A mutable variable, for values that change in loops or branches. It lives until the end of the closure that made it.
#[derive(Debug)]
pub struct Var<T> {
    index: usize,
    marker: PhantomData<T>,
}

impl<T> Clone for Var<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Var<T> {}

/// Builds one [`Kernel`].
#[derive(Debug)]
pub struct KernelBuilder {
    kernel: Kernel,
    current: BlockId,
    /// Value of each variable in scope, at the current position.
    vars: Vec<Value>,
    /// Block parameters that turned out to equal another value.
    alias: Vec<Option<Value>>,
    width: Width,
    /// Masks of the first lanes that are in scope, so that a tail costs one mask.
    tail_masks: Vec<(u8, Width, Mask)>,
    params: [Value; 3],
}

/// A block that has not ended yet holds this.
const OPEN: Terminator = Terminator::Return;

impl KernelBuilder {
    /// Starts a kernel for `target`; the name is for people.
    pub fn new(target: &Target, name: &str) -> KernelBuilder {
        let kernel = Kernel { name: name.to_owned(), target: *target, types: Vec::new(), blocks: Vec::new() };
        let none = Value(u32::MAX);
        let mut b = KernelBuilder {
            kernel,
            current: BlockId(0),
            vars: Vec::new(),
            alias: Vec::new(),
            width: target.width(),
            tail_masks: Vec::new(),
            params: [none; 3],
        };
        b.current = b.new_block();
        b.params = std::array::from_fn(|_| b.new_value(Type::Gpr));
        let results = SmallVec::from_slice(&b.params);
        b.push(Inst { op: Op::Entry, results, args: SmallVec::new(), mem: None });
        b
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.kernel.target
    }

    /// f32 lanes of the vectors that are built now.
    pub fn lanes(&self) -> usize {
        self.width.lanes()
    }

    /// Width of the vectors that are built now: the target's, unless inside [`KernelBuilder::with_width`].
    pub fn width(&self) -> Width {
        self.width
    }

    /// Runs `body` with vectors of another width. x64 targets have all widths up to their own, NEON only its own.
    ///
    /// # Panics
    /// If the target has no such width.
    pub fn with_width<R>(&mut self, width: Width, body: impl FnOnce(&mut Self) -> R) -> R {
        assert!(width <= self.target().width(), "target {} has no vectors of {} lanes", self.target(), width.lanes());
        let saved = std::mem::replace(&mut self.width, width);
        let result = body(self);
        self.width = saved;
        result
    }

    /// Loads pointer `index` of the operand array. Call it once for each operand, at the top.
    pub fn arg(&mut self, index: usize) -> Gpr {
        let args = Gpr(self.params[0]);
        let disp = i32::try_from(index * 8).expect("operand index");
        self.int_load(crate::ir::IntType::I64, args.at(disp))
    }

    /// The kernel's parameter `begin`.
    pub fn begin(&self) -> Gpr {
        Gpr(self.params[1])
    }

    /// The kernel's parameter `end`.
    pub fn end(&self) -> Gpr {
        Gpr(self.params[2])
    }

    /// A variable with this value.
    pub fn var<T: Reg>(&mut self, init: T) -> Var<T> {
        self.vars.push(init.to_value());
        Var { index: self.vars.len() - 1, marker: PhantomData }
    }

    /// The variable's value at this point.
    pub fn get<T: Reg>(&self, var: Var<T>) -> T {
        T::from_value(*self.vars.get(var.index).expect("variable used outside the closure that made it"))
    }

    /// Gives the variable a new value, of the same type and width.
    pub fn set<T: Reg>(&mut self, var: Var<T>, value: T) {
        let slot = self.vars.get_mut(var.index).expect("variable used outside the closure that made it");
        let (old, new) = (self.kernel.ty(*slot), self.kernel.ty(value.to_value()));
        assert_eq!(old, new, "variable of type {old:?} set to {new:?}");
        *slot = value.to_value();
    }

    /// Number of instructions built so far, a measure of code size.
    pub fn inst_count(&self) -> usize {
        self.kernel.blocks.iter().map(|b| b.insts.len()).sum()
    }

    fn new_block(&mut self) -> BlockId {
        let id = BlockId(u32::try_from(self.kernel.blocks.len()).expect("number of blocks"));
        self.kernel.blocks.push(Block { params: Vec::new(), insts: Vec::new(), term: OPEN });
        id
    }

    fn new_value(&mut self, ty: Type) -> Value {
        let v = Value(u32::try_from(self.kernel.types.len()).expect("number of values"));
        self.kernel.types.push(ty);
        self.alias.push(None);
        v
    }

    fn push(&mut self, inst: Inst) {
        self.kernel.blocks[self.current.index()].insts.push(inst);
    }

    /// Emits an instruction at a vector width and returns its result, if it has one.
    fn emit_at(&mut self, width: Width, op: Op, args: &[Value], mem: Option<MemArg>) -> Option<Value> {
        let sig = op.signature();
        let mut results = SmallVec::new();
        for kind in sig.results {
            let ty = kind.ty(width).unwrap_or_else(|| panic!("{op:?} on {} lanes", width.lanes()));
            results.push(self.new_value(ty));
        }
        let first = results.first().copied();
        self.push(Inst { op, results, args: SmallVec::from_slice(args), mem });
        first
    }

    /// Emits an instruction with a result at the current width.
    fn emit(&mut self, op: Op, args: &[Value], mem: Option<MemArg>) -> Value {
        self.emit_at(self.width, op, args, mem).expect("the op has a result")
    }

    /// Emits an instruction with a result, at the width of its argument `like`.
    fn emit_like(&mut self, like: Value, op: Op, args: &[Value], mem: Option<MemArg>) -> Value {
        let width = self.width_of(like);
        self.emit_at(width, op, args, mem).expect("the op has a result")
    }

    fn width_of(&self, v: Value) -> Width {
        match self.kernel.ty(v) {
            Type::Vec(w) | Type::Mask(w) => w,
            Type::Gpr => panic!("a general register has no lanes"),
        }
    }
}
