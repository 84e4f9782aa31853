//! Memory before it is used: the weights are mapped when a shared library is loaded, and at the latest by the first call of a
//! model; workspace and outputs are provided by the first call. Otherwise the run would stop at every page of them that it touches for the
//! first time (measured: 1500 stops, as much time again as the run itself, for mobilenet_v2).
//!
//! `madvise` of Linux 5.14 and later does it, called without the C library, so that objects need no further symbol. Memory that will
//! be written is asked for in large pages where it fills them (measured on a virtual machine: 0.1 us instead of 1.2 us for each 4 KiB of it).
//! Where the system knows no such advice, nothing is lost.

use crate::CodegenError;
use crate::emit::function;
use crate::target::Arch;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, MemFlagsData, Signature, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};

/// `MADV_HUGEPAGE`, `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE` of `linux/mman.h`.
const LARGE: i64 = 14;
const READ: i64 = 22;
const WRITE: i64 = 23;

/// The smallest page; where pages are larger, the system refuses unaligned ranges, and nothing is lost.
const PAGE: i64 = 4096;
/// The large page of both families, with pages of 4 KiB.
const LARGE_PAGE: i64 = 2 << 20;

/// `long madvise(void *start, size_t bytes, int advice)` by number: `mov eax, 28; syscall; ret`.
const MADVISE_X64: &[u8] = &[0xb8, 28, 0, 0, 0, 0x0f, 0x05, 0xc3];
/// `mov x8, #233; svc #0; ret`.
const MADVISE_A64: &[u8] = &[0x28, 0x1d, 0x80, 0xd2, 0x01, 0, 0, 0xd4, 0xc0, 0x03, 0x5f, 0xd6];

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

/// Emits `void NAME()`, which maps the weights, so many bytes.
pub(crate) fn define_mapping(
    module: &mut dyn Module,
    name: &str,
    madvise: FuncId,
    weights: Option<(DataId, usize)>,
) -> Result<FuncId, CodegenError> {
    let sig = module.make_signature();
    once(module, name, sig, |module, b, _| {
        if let Some((weights, bytes)) = weights {
            let madvise = module.declare_func_in_func(madvise, b.func);
            let weights = module.declare_data_in_func(weights, b.func);
            let start = b.ins().symbol_value(I64, weights);
            populate(b, madvise, start, bytes, READ);
        }
    })
}

/// Emits `void NAME(outputs, workspace)`, which provides the outputs and the workspace, so many bytes each, and maps the weights if
/// nothing has yet.
pub(crate) fn define(
    module: &mut dyn Module,
    name: &str,
    madvise: FuncId,
    mapping: FuncId,
    outputs: &[usize],
    workspace: usize,
) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64); 2]);
    once(module, name, sig, |module, b, p| {
        let mapping = module.declare_func_in_func(mapping, b.func);
        b.ins().call(mapping, &[]);
        let madvise = module.declare_func_in_func(madvise, b.func);
        for (i, &bytes) in outputs.iter().enumerate() {
            let at = b.ins().load(I64, MemFlagsData::trusted(), p[0], 8 * i as i32);
            provide(b, madvise, at, bytes);
        }
        provide(b, madvise, p[1], workspace);
    })
}

/// Has the system provide memory that will be written whole.
fn provide(b: &mut FunctionBuilder, madvise: FuncRef, start: Value, bytes: usize) {
    if bytes as i64 >= LARGE_PAGE {
        ask_for_large_pages(b, madvise, start, bytes);
    }
    if bytes as i64 >= PAGE {
        populate(b, madvise, start, bytes, WRITE);
    }
}

/// Emits a function that does `work` once: threads that enter it at the same time may do it twice, which must harm nobody. `work`
/// makes no blocks.
fn once(
    module: &mut dyn Module,
    name: &str,
    sig: Signature,
    work: impl FnOnce(&mut dyn Module, &mut FunctionBuilder, &[Value]),
) -> Result<FuncId, CodegenError> {
    let done = module.declare_data(&format!("{name}.done"), Linkage::Local, true, false)?;
    let mut data = DataDescription::new();
    data.define_zeroinit(4);
    data.set_align(4);
    module.define_data(done, &data)?;
    function(module, name, Linkage::Local, sig, |module, b, p| {
        let done = module.declare_data_in_func(done, b.func);
        let at = b.ins().symbol_value(I64, done);
        let word = b.ins().load(I32, MemFlagsData::trusted(), at, 0);
        let (first, end) = (b.create_block(), b.create_block());
        b.ins().brif(word, end, &[], first, &[]);
        b.switch_to_block(first);
        let one = b.ins().iconst(I32, 1);
        b.ins().store(MemFlagsData::trusted(), one, at, 0);
        work(module, b, p);
        b.ins().jump(end, &[]);
        b.switch_to_block(end);
        b.ins().return_(&[]);
        Ok(())
    })
}

/// Maps all pages that hold any of the bytes: each is there, for they are.
fn populate(b: &mut FunctionBuilder, madvise: FuncRef, start: Value, bytes: usize, advice: i64) {
    let first = b.ins().band_imm_s(start, -PAGE);
    let end = b.ins().iadd_imm_s(start, bytes as i64);
    advise(b, madvise, first, end, advice);
}

/// Asks for large pages where the bytes, at least one such page, fill them. An allocator's header before the first byte belongs to
/// its page. If no large page lies wholly within, the range is empty or turned round, and the system refuses it.
fn ask_for_large_pages(b: &mut FunctionBuilder, madvise: FuncRef, start: Value, bytes: usize) {
    let end = b.ins().iadd_imm_s(start, bytes as i64);
    let first = b.ins().band_imm_s(start, -PAGE);
    let first = b.ins().iadd_imm_s(first, LARGE_PAGE - 1);
    let (first, end) = (b.ins().band_imm_s(first, -LARGE_PAGE), b.ins().band_imm_s(end, -LARGE_PAGE));
    advise(b, madvise, first, end, LARGE);
}

fn advise(b: &mut FunctionBuilder, madvise: FuncRef, first: Value, end: Value, advice: i64) {
    let bytes = b.ins().isub(end, first);
    let advice = b.ins().iconst(I64, advice);
    b.ins().call(madvise, &[first, bytes, advice]);
}
