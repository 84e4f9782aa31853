//! End of building: parameters that say nothing are removed and values are numbered in definition order.

use super::KernelBuilder;
use crate::compile::{CompileError, CompiledKernel};
use crate::ir::{Kernel, Terminator, Value};

impl KernelBuilder {
    /// Ends the kernel with a return.
    pub fn finish(self) -> Kernel {
        let KernelBuilder { mut kernel, alias, .. } = self;
        resolve_aliases(&mut kernel, &alias);
        let keep = needed_params(&kernel, &alias);
        drop_params(&mut kernel, &keep);
        renumber(&mut kernel);
        kernel
    }

    /// Ends, verifies, allocates registers and encodes the kernel.
    pub fn compile(self) -> Result<CompiledKernel, CompileError> {
        self.finish().compile()
    }
}

fn resolve_aliases(kernel: &mut Kernel, alias: &[Option<Value>]) {
    let resolve = |mut v: Value| {
        while let Some(to) = alias[v.index()] {
            v = to;
        }
        v
    };
    for block in &mut kernel.blocks {
        block.insts.iter_mut().for_each(|inst| inst.map_uses(resolve));
        block.term.map_uses(resolve);
    }
}

/// For each value, whether it must stay if it is a block parameter: it is not an alias, and an instruction or another
/// needed parameter reads it.
fn needed_params(kernel: &Kernel, alias: &[Option<Value>]) -> Vec<bool> {
    let mut needed = vec![false; kernel.types.len()];
    for block in &kernel.blocks {
        for v in block.insts.iter().flat_map(|i| i.uses()) {
            needed[v.index()] = true;
        }
        if let Terminator::Branch { lhs, rhs, .. } = &block.term {
            needed[lhs.0.index()] = true;
            if let crate::ir::Rhs::Reg(r) = rhs {
                needed[r.0.index()] = true;
            }
        }
    }
    loop {
        let mut changed = false;
        for block in kernel.blocks.iter().rev() {
            let Terminator::Jump(to, args) = &block.term else { continue };
            for (param, arg) in kernel.blocks[to.index()].params.iter().zip(args) {
                let live = needed[param.index()] && alias[param.index()].is_none();
                if live && !needed[arg.index()] {
                    needed[arg.index()] = true;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    needed.iter().zip(alias).map(|(n, a)| *n && a.is_none()).collect()
}

fn drop_params(kernel: &mut Kernel, keep: &[bool]) {
    let kept: Vec<Vec<bool>> =
        kernel.blocks.iter().map(|b| b.params.iter().map(|p| keep[p.index()]).collect()).collect();
    for (block, kept_here) in kernel.blocks.iter_mut().zip(&kept) {
        let mut k = kept_here.iter();
        block.params.retain(|_| k.next().copied().unwrap_or(true));
        if let Terminator::Jump(to, args) = &mut block.term {
            let mut k = kept[to.index()].iter();
            args.retain(|_| k.next().copied().unwrap_or(true));
        }
    }
}

fn renumber(kernel: &mut Kernel) {
    let mut number = vec![Value(u32::MAX); kernel.types.len()];
    let mut types = Vec::new();
    let mut define = |v: &mut Value| {
        let new = Value(types.len() as u32);
        types.push(kernel.types[v.index()]);
        number[v.index()] = new;
        *v = new;
    };
    for block in &mut kernel.blocks {
        block.params.iter_mut().for_each(&mut define);
        for inst in &mut block.insts {
            inst.results.iter_mut().for_each(&mut define);
        }
    }
    for block in &mut kernel.blocks {
        for inst in &mut block.insts {
            inst.map_uses(|v| number[v.index()]);
        }
        block.term.map_uses(|v| number[v.index()]);
    }
    kernel.types = types;
}
