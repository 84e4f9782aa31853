//! Prints kernels.

use crate::ir::{Inst, Kernel, Mem, MemArg, Rhs, Terminator, Type, Value};
use std::fmt::{self, Write};

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Gpr => f.write_str("gpr"),
            Type::Vec(w) => write!(f, "vec{}", w.lanes()),
            Type::Mask(w) => write!(f, "mask{}", w.lanes()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.base.0)?;
        if let Some((index, scale)) = self.index {
            write!(f, " + {}*{scale}", index.0)?;
        }
        match self.disp {
            0 => {}
            d if d < 0 => write!(f, " - {}", d.unsigned_abs())?,
            d => write!(f, " + {d}")?,
        }
        f.write_str("]")
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {:?} {} {{", self.name, self.target.full_name())?;
        for (b, block) in self.blocks.iter().enumerate() {
            write!(f, "block{b}")?;
            if !block.params.is_empty() {
                write!(f, "({})", self.typed(&block.params))?;
            }
            f.write_str(":\n")?;
            for inst in &block.insts {
                writeln!(f, "  {}", self.inst_to_string(inst))?;
            }
            match &block.term {
                Terminator::Jump(to, args) if args.is_empty() => writeln!(f, "  jump block{}", to.0)?,
                Terminator::Jump(to, args) => writeln!(f, "  jump block{}({})", to.0, list(args))?,
                Terminator::Branch { cond, lhs, rhs, then, other } => {
                    write!(f, "  branch.{} {}, ", cond.name(), lhs.0)?;
                    match rhs {
                        Rhs::Reg(r) => write!(f, "{}", r.0)?,
                        Rhs::Imm(imm) => write!(f, "{imm}")?,
                    }
                    writeln!(f, ", block{}, block{}", then.0, other.0)?;
                }
                Terminator::Return => f.write_str("  return\n")?,
            }
        }
        f.write_str("}\n")
    }
}

impl Kernel {
    /// One instruction in the text form.
    pub fn inst_to_string(&self, inst: &Inst) -> String {
        let mut s = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_inst(&mut s, inst);
        s
    }

    fn write_inst(&self, s: &mut String, inst: &Inst) -> fmt::Result {
        if !inst.results.is_empty() {
            write!(s, "{} = ", self.typed(&inst.results))?;
        }
        let (name, imm) = inst.op.to_parts();
        s.push_str(&name);
        if !imm.is_empty() {
            // Words and masks read better in hexadecimal, counts and offsets in decimal.
            let words = matches!(&*name, "splat" | "table");
            let item = |v: &i64| if words { format!("{v:#x}") } else { v.to_string() };
            write!(s, "<{}>", imm.iter().map(item).collect::<Vec<_>>().join(", "))?;
        }
        let mut operands: Vec<String> = inst.args.iter().map(Value::to_string).collect();
        match &inst.mem {
            None => {}
            Some(MemArg::At(m)) => operands.push(m.to_string()),
            Some(MemArg::Broadcast(m)) => operands.push(format!("bcast {m}")),
            Some(MemArg::Splat(bits)) => operands.push(format!("splat {bits:#x}")),
        }
        if !operands.is_empty() {
            write!(s, " {}", operands.join(", "))?;
        }
        Ok(())
    }

    fn typed(&self, values: &[Value]) -> String {
        let one = |v: &Value| match self.types.get(v.index()) {
            Some(ty) => format!("{v}:{ty}"),
            None => format!("{v}:?"),
        };
        values.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}
