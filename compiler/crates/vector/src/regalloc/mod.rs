//! Register allocation by regalloc2 (its Ion-like backtracking algorithm).

mod constraints;
mod function;
mod layout;

pub(crate) use constraints::{Class, Constraints};
pub(crate) use function::{Flat, Place};
pub(crate) use layout::Layout;

use crate::compile::{CompileError, Stats};
use crate::ir::Kernel;
use crate::target::Isa;
use regalloc2::{Algorithm, MachineEnv, Output, RegallocOptions};

/// A kernel with its registers.
pub(crate) struct Allocated<'a> {
    pub kernel: &'a Kernel,
    pub flat: Flat,
    pub output: Output,
}

/// Assigns registers.
pub(crate) fn allocate(kernel: &Kernel) -> Result<Allocated<'_>, CompileError> {
    let (env, constraints): (MachineEnv, fn(&Kernel, &crate::ir::Inst) -> Constraints) = match kernel.target.isa {
        Isa::X64Avx512 | Isa::X64Avx2 => (crate::x64::machine_env(kernel.target.isa), crate::x64::constraints),
        Isa::A64Neon => (crate::a64::machine_env(), crate::a64::constraints),
    };
    let flat = Flat::new(kernel, constraints);
    let options = RegallocOptions { verbose_log: false, validate_ssa: false, algorithm: Algorithm::Ion };
    let output = regalloc2::run(&flat, &env, &options)
        .map_err(|e| CompileError::Registers { kernel: kernel.name.clone(), reason: format!("{e:?}") })?;
    Ok(Allocated { kernel, flat, output })
}

impl Allocated<'_> {
    /// Counts what the allocator did.
    pub fn stats(&self) -> Stats {
        let inner = self.kernel.innermost_loops();
        let in_loop = |inst: regalloc2::Inst| {
            let block = self.flat.block_of(inst);
            inner.iter().any(|l| l.contains(&block))
        };
        Stats {
            insts: self.kernel.blocks.iter().map(|b| b.insts.len()).sum(),
            edits_in_innermost_loops: self.output.edits.iter().filter(|(p, _)| in_loop(p.inst())).count(),
            edits: self.output.edits.len(),
            spills: self.output.num_spillslots,
        }
    }
}
