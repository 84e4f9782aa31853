//! From a kernel to machine code: verify, allocate registers, encode.

use crate::ir::Kernel;
use crate::target::Isa;
use crate::{a64, regalloc, x64};

/// Alignment of every kernel: that of its largest constant.
const CODE_ALIGN: usize = 64;

/// Machine code of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledKernel {
    /// Code followed by its constants; position independent, without relocations. The entry is at offset 0.
    pub code: Vec<u8>,
    /// Alignment that the code needs, in bytes.
    pub align: usize,
    /// Bytes of stack that it uses below the return address.
    pub frame_bytes: usize,
    /// What register allocation did.
    pub stats: Stats,
}

/// Figures about one compiled kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions of the vector IR, without terminators.
    pub insts: usize,
    /// Moves, spills and reloads that register allocation put into innermost loops: 0 in a well-planned kernel.
    pub edits_in_innermost_loops: usize,
    /// Moves, spills and reloads in the whole kernel.
    pub edits: usize,
    /// Spill slots, in units of 8 bytes.
    pub spills: usize,
}

/// Why a kernel could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The kernel breaks an invariant of the IR.
    #[error("kernel {kernel}: {}", .problems.join("; "))]
    Invalid {
        /// Name of the kernel.
        kernel: String,
        /// All problems found.
        problems: Vec<String>,
    },
    /// Register allocation failed.
    #[error("kernel {kernel}: register allocation: {reason}")]
    Registers {
        /// Name of the kernel.
        kernel: String,
        /// What the allocator says.
        reason: String,
    },
    /// An instruction could not be encoded.
    #[error("kernel {kernel}: encoding {inst}: {reason}")]
    Encoding {
        /// Name of the kernel.
        kernel: String,
        /// The instruction.
        inst: String,
        /// Why.
        reason: String,
    },
}

/// Why one instruction could not be encoded.
#[derive(Debug)]
pub(crate) struct EncodeError(pub String);

impl EncodeError {
    pub fn new(reason: &str) -> EncodeError {
        EncodeError(reason.to_owned())
    }
}

impl From<iced_x86::IcedError> for EncodeError {
    fn from(e: iced_x86::IcedError) -> EncodeError {
        EncodeError(e.to_string())
    }
}

impl Kernel {
    /// Verifies, allocates registers and encodes.
    pub fn compile(&self) -> Result<CompiledKernel, CompileError> {
        let problems = self.verify();
        if !problems.is_empty() {
            return Err(CompileError::Invalid { kernel: self.name.clone(), problems });
        }
        let allocated = regalloc::allocate(self)?;
        let (code, frame_bytes) = match self.target.isa {
            Isa::X64Avx512 | Isa::X64Avx2 => x64::encode(&allocated)?,
            Isa::A64Neon => a64::encode(&allocated)?,
        };
        Ok(CompiledKernel { code, align: CODE_ALIGN, frame_bytes, stats: allocated.stats() })
    }
}
