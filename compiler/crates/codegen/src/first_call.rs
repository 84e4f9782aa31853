//! What the first call of a model does besides its work: it has the system map the weights, and provide the workspace, at
//! once. Otherwise the run would stop at every page of them that it touches for the first time (measured: 1500 stops, as much
//! time again as the run itself, for mobilenet_v2).
//!
//! Two `madvise` calls of Linux 5.14 and later do it, made without the C library, so that objects need no further symbol and
//! no constructor runs when a library is loaded. Where the system knows no such advice, nothing is lost.

use crate::CodegenError;
use crate::emit::function;
use crate::target::Arch;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};

/// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE` of `linux/mman.h`.
const READ: i64 = 22;
const WRITE: i64 = 23;

/// The smallest page; where pages are larger, the system refuses unaligned ranges, and nothing is lost.
const PAGE: i64 = 4096;

/// `long madvise(void *start, size_t bytes, int advice)` by number: `mov eax, 28; syscall; ret`.
const MADVISE_X64: &[u8] = &[0xb8, 28, 0, 0, 0, 0x0f, 0x05, 0xc3];
/// `mov x8, #233; svc #0; ret`.
const MADVISE_A64: &[u8] = &[0x28, 0x1d, 0x80, 0xd2, 0x01, 0, 0, 0xd4, 0xc0, 0x03, 0x5f, 0xd6];

/// Memory of one processor level of a model.
pub(crate) struct Memory {
    /// The packed weights and their size, if there are any.
    pub weights: Option<(DataId, usize)>,
    /// Bytes of workspace.
    pub workspace: usize,
}

/// Emits the system call, once for a module.
pub(crate) fn define_madvise(module: &mut dyn Module, arch: Arch, name: &str) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64), AbiParam::new(I64), AbiParam::new(I64)]);
    let id = module.declare_function(&format!("{name}.madvise"), Linkage::Local, &sig)?;
    let code = match arch {
        Arch::X64 => MADVISE_X64,
        Arch::A64 => MADVISE_A64,
    };
    module.define_function_bytes(id, 16, code, &[])?;
    Ok(id)
}

/// Emits `void NAME(workspace)`. It does its work once: threads that enter it at the same time may do it twice, which harms
/// nobody.
pub(crate) fn define(
    module: &mut dyn Module,
    name: &str,
    madvise: FuncId,
    memory: &Memory,
) -> Result<FuncId, CodegenError> {
    let done = module.declare_data(&format!("{name}.done"), Linkage::Local, true, false)?;
    let mut data = DataDescription::new();
    data.define_zeroinit(4);
    data.set_align(4);
    module.define_data(done, &data)?;
    let mut sig = module.make_signature();
    sig.params.push(AbiParam::new(I64));
    function(module, name, Linkage::Local, sig, |module, b, p| {
        let done = module.declare_data_in_func(done, b.func);
        let at = b.ins().symbol_value(I64, done);
        let word = b.ins().load(I32, MemFlagsData::trusted(), at, 0);
        let (first, end) = (b.create_block(), b.create_block());
        b.ins().brif(word, end, &[], first, &[]);
        b.switch_to_block(first);
        let one = b.ins().iconst(I32, 1);
        b.ins().store(MemFlagsData::trusted(), one, at, 0);
        let madvise = module.declare_func_in_func(madvise, b.func);
        if let Some((weights, bytes)) = memory.weights {
            let weights = module.declare_data_in_func(weights, b.func);
            let start = b.ins().symbol_value(I64, weights);
            advise(b, madvise, start, bytes, READ);
        }
        if memory.workspace > 0 {
            advise(b, madvise, p[0], memory.workspace, WRITE);
        }
        b.ins().jump(end, &[]);
        b.switch_to_block(end);
        b.ins().return_(&[]);
        Ok(())
    })
}

/// Advises on all pages that hold any of the bytes: each is mapped, for they are.
fn advise(b: &mut FunctionBuilder, madvise: FuncRef, start: Value, bytes: usize, advice: i64) {
    let first = b.ins().band_imm_s(start, -PAGE);
    let end = b.ins().iadd_imm_s(start, bytes as i64);
    let bytes = b.ins().isub(end, first);
    let advice = b.ins().iconst(I64, advice);
    b.ins().call(madvise, &[first, bytes, advice]);
}
