//! Last operands of vector instructions: a register, memory, a broadcast word, or a constant.

use super::KernelBuilder;
use crate::ir::{Mem, MemArg, Op, Value, Vector};
use crate::target::{Isa, Width};

/// Last operand of a vector instruction. What the target cannot read in the instruction itself is loaded first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Src {
    /// A register.
    Reg(Vector),
    /// A whole vector in memory, any alignment.
    Mem(Mem),
    /// A 32-bit word in memory, in all lanes.
    Broadcast(Mem),
    /// A 32-bit constant in all lanes.
    Splat(u32),
}

impl From<Vector> for Src {
    fn from(v: Vector) -> Src {
        Src::Reg(v)
    }
}
impl From<Mem> for Src {
    fn from(m: Mem) -> Src {
        Src::Mem(m)
    }
}
impl From<f32> for Src {
    fn from(x: f32) -> Src {
        Src::Splat(x.to_bits())
    }
}
impl From<i32> for Src {
    fn from(x: i32) -> Src {
        Src::Splat(x.cast_unsigned())
    }
}
impl From<u32> for Src {
    fn from(x: u32) -> Src {
        Src::Splat(x)
    }
}

impl KernelBuilder {
    /// Emits `op` with a last operand that may be in memory where the target allows it; the width is that of `args[0]`.
    pub(crate) fn emit_src(&mut self, op: Op, args: &[Value], last: Src) -> Value {
        let width = self.width_of(args[0]);
        let mem = match last {
            Src::Reg(_) => None,
            Src::Mem(m) => Some(MemArg::At(m)),
            Src::Broadcast(m) => Some(MemArg::Broadcast(m)),
            Src::Splat(bits) => Some(MemArg::Splat(bits)),
        };
        match mem {
            Some(mem) if self.target().isa.reads_memory(&op, &mem) => {
                self.emit_at(width, op, args, Some(mem)).expect("the op has a result")
            }
            _ => {
                let reg = self.in_register(last, width);
                let mut all = args.to_vec();
                all.push(reg.0);
                self.emit_at(width, op, &all, None).expect("the op has a result")
            }
        }
    }

    /// Loads the operand into a register, unless it is in one.
    pub(super) fn in_register(&mut self, src: Src, width: Width) -> Vector {
        let (op, mem) = match src {
            Src::Reg(v) => return v,
            Src::Mem(m) => (Op::Load, Some(MemArg::At(m))),
            Src::Broadcast(m) => (Op::Broadcast, Some(MemArg::At(m))),
            Src::Splat(bits) => (Op::Splat(bits), None),
        };
        Vector(self.emit_at(width, op, &[], mem).expect("the op has a result"))
    }
}

impl Isa {
    /// Whether the instructions of `op` can read this memory operand as their last argument.
    pub fn reads_memory(self, op: &Op, mem: &MemArg) -> bool {
        use crate::ir::{Cmp, CmpType, MemUse};
        if op.signature().mem != MemUse::LastArg {
            return false;
        }
        match self {
            Isa::A64Neon => false,
            // Instructions on lanes of 8 and 16 bits broadcast no word.
            Isa::X64Avx512 => match op {
                Op::Vec(op) if op.is_narrow() => matches!(mem, MemArg::At(_)),
                _ => true,
            },
            Isa::X64Avx2 => match (op, mem) {
                (_, MemArg::Broadcast(_)) => false,
                // AVX2 compares integers for equality and "greater" only, which other conditions reach by swapping.
                (Op::Compare(CmpType::I32, c), _) => matches!(c, Cmp::Eq | Cmp::Gt),
                _ => true,
            },
        }
    }
}
