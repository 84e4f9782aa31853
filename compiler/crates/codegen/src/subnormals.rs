//! Switching the processor between keeping and flushing subnormal numbers, on x86-64: bits of MXCSR, which a function has to
//! leave as it found them (System V ABI, section 3.2.3).

use crate::CodegenError;
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Linkage, Module};
use mnnc_kernel::schedule::Subnormals;

/// `uint32_t get(void)`: `stmxcsr [rsp-4]; mov eax, [rsp-4]; ret`.
const GET: &[u8] = &[0x0f, 0xae, 0x5c, 0x24, 0xfc, 0x8b, 0x44, 0x24, 0xfc, 0xc3];
/// `void set(uint32_t)`: `mov [rsp-4], edi; ldmxcsr [rsp-4]; ret`.
const SET: &[u8] = &[0x89, 0x7c, 0x24, 0xfc, 0x0f, 0xae, 0x54, 0x24, 0xfc, 0xc3];
/// Flush to zero (bit 15) and denormals are zeros (bit 6).
const FLUSH: i64 = 1 << 15 | 1 << 6;

/// The functions that read and write the mode.
#[derive(Copy, Clone)]
pub(crate) struct Switch {
    get: FuncId,
    set: FuncId,
}

impl Switch {
    /// Defines them. `name` is the prefix of their symbols.
    pub(crate) fn define(module: &mut dyn Module, name: &str) -> Result<Switch, CodegenError> {
        let mut sig = module.make_signature();
        sig.returns.push(AbiParam::new(I32));
        let get = module.declare_function(&format!("{name}.get_mxcsr"), Linkage::Local, &sig)?;
        module.define_function_bytes(get, 16, GET, &[])?;
        let mut sig = module.make_signature();
        sig.params.push(AbiParam::new(I32));
        let set = module.declare_function(&format!("{name}.set_mxcsr"), Linkage::Local, &sig)?;
        module.define_function_bytes(set, 16, SET, &[])?;
        Ok(Switch { get, set })
    }
}

/// The mode while a driver walks its steps.
pub(crate) struct Mode {
    set: FuncRef,
    keep: Value,
    flush: Value,
    flushing: bool,
}

impl Mode {
    /// Remembers the caller's mode.
    pub(crate) fn begin(module: &mut dyn Module, b: &mut FunctionBuilder, switch: Switch) -> Mode {
        let get = module.declare_func_in_func(switch.get, b.func);
        let call = b.ins().call(get, &[]);
        let keep = b.inst_results(call)[0];
        let flush = b.ins().bor_imm_s(keep, FLUSH);
        Mode { set: module.declare_func_in_func(switch.set, b.func), keep, flush, flushing: false }
    }

    /// Switches to what the next step wants.
    pub(crate) fn want(&mut self, b: &mut FunctionBuilder, s: Subnormals) {
        let flushing = match s {
            Subnormals::Any => self.flushing,
            Subnormals::Keep => false,
            Subnormals::Flush => true,
        };
        if flushing != self.flushing {
            self.flushing = flushing;
            let mode = if flushing { self.flush } else { self.keep };
            b.ins().call(self.set, &[mode]);
        }
    }

    /// Gives the caller its mode back.
    pub(crate) fn end(&mut self, b: &mut FunctionBuilder) {
        self.want(b, Subnormals::Keep);
    }
}

/// Runs `body` in the mode that a driver would set.
pub(crate) fn flushing<R>(flush: bool, body: impl FnOnce() -> R) -> R {
    let keep = mode();
    if flush {
        set_mode(keep | FLUSH as u32);
    }
    let result = body();
    if flush {
        set_mode(keep);
    }
    result
}

#[cfg(target_arch = "x86_64")]
fn mode() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores four bytes at the address.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
    word
}

#[cfg(target_arch = "x86_64")]
fn set_mode(word: u32) {
    // SAFETY: loads four bytes from the address; the word is one that `mode` gave, but for flushing.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, readonly)) };
}

#[cfg(not(target_arch = "x86_64"))]
fn mode() -> u32 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn set_mode(_: u32) {}
