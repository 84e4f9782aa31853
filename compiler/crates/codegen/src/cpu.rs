//! What the processor has, asked at run time. On x86-64, `cpuid` and `xgetbv` are two small functions of finished bytes
//! and the logic is Cranelift's; on AArch64, the C library's `getauxval` knows.

use crate::CodegenError;
use crate::emit::function;
use crate::target::{Arch, Cpu, Level, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataDescription, FuncId, Linkage, Module};
use mnnc_vector::Features;

const KNOWN: u32 = 1;
const V2: u32 = 1 << 1;
const V3: u32 = 1 << 2;
const V4: u32 = 1 << 3;
const VNNI_512: u32 = 1 << 4;
const VNNI_256: u32 = 1 << 5;
const BF16: u32 = 1 << 6;
const DOTPROD: u32 = 1 << 7;
const FP16: u32 = 1 << 8;
const I8MM: u32 = 1 << 9;
const AMX_BF16: u32 = 1 << 10;
const AMX_INT8: u32 = 1 << 11;
const VBMI: u32 = 1 << 12;

/// The capabilities, as bits of the capability word, that code for `cpu` needs.
pub(crate) fn needs(cpu: Cpu) -> u32 {
    let base = match cpu.level {
        Level::X64V1 | Level::A64 => 0,
        Level::X64V2 => V2,
        Level::X64V3 => V2 | V3,
        Level::X64V4 => V2 | V3 | V4,
    };
    let vnni = if cpu.level == Level::X64V4 { VNNI_512 } else { VNNI_256 };
    let extra = [
        (Features::VNNI, vnni),
        (Features::BF16, BF16),
        (Features::AMX_BF16, AMX_BF16),
        (Features::AMX_INT8, AMX_INT8),
        (Features::VBMI, VBMI),
        (Features::DOTPROD, DOTPROD),
        (Features::FP16, FP16),
        (Features::I8MM, I8MM),
    ];
    extra.into_iter().filter(|(f, _)| cpu.features.contains(*f)).fold(base, |a, (_, bit)| a | bit)
}

/// Emits `fn() -> i32`, the capability word. It is kept in one word of memory, because `cpuid` is slow under a
/// hypervisor; threads that compute it at the same time write the same.
pub(crate) fn define(module: &mut dyn Module, target: &Target, name: &str) -> Result<FuncId, CodegenError> {
    let tiles = target.cpus.iter().any(|c| c.features.intersects(Features::AMX_BF16 | Features::AMX_INT8));
    let compute = match target.arch {
        Arch::X64 => define_x64(module, name, tiles)?,
        Arch::A64 => define_a64(module, name)?,
    };
    let cache = module.declare_data(&format!("{name}.cpu_word"), Linkage::Local, true, false)?;
    let mut data = DataDescription::new();
    data.define_zeroinit(4);
    data.set_align(4);
    module.define_data(cache, &data)?;
    query(module, &format!("{name}.cpu"), |module, b| {
        let global = module.declare_data_in_func(cache, b.func);
        let at = b.ins().symbol_value(I64, global);
        let compute = module.declare_func_in_func(compute, b.func);
        let word = b.ins().load(I32, MemFlagsData::trusted(), at, 0);
        let (ask, done) = (b.create_block(), b.create_block());
        b.append_block_param(done, I32);
        b.ins().brif(word, done, &[word.into()], ask, &[]);
        b.switch_to_block(ask);
        let call = b.ins().call(compute, &[]);
        let word = b.inst_results(call)[0];
        b.ins().store(MemFlagsData::trusted(), word, at, 0);
        b.ins().jump(done, &[word.into()]);
        b.switch_to_block(done);
        b.block_params(done)[0]
    })
}

/// A local function `fn() -> i32`.
fn query(
    module: &mut dyn Module,
    name: &str,
    body: impl FnOnce(&mut dyn Module, &mut FunctionBuilder) -> Value,
) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.returns.push(AbiParam::new(I32));
    function(module, name, Linkage::Local, sig, |module, b, _| {
        let word = body(module, b);
        b.ins().return_(&[word]);
        Ok(())
    })
}

/// `void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])`:
/// `push rbx; mov r8, rdx; mov eax, edi; mov ecx, esi; cpuid; mov [r8], eax; mov [r8+4], ebx; mov [r8+8], ecx;
/// mov [r8+12], edx; pop rbx; ret`.
#[rustfmt::skip]
const CPUID: &[u8] = &[
    0x53, 0x49, 0x89, 0xd0, 0x89, 0xf8, 0x89, 0xf1, 0x0f, 0xa2, 0x41, 0x89, 0x00, 0x41, 0x89, 0x58, 0x04, 0x41, 0x89,
    0x48, 0x08, 0x41, 0x89, 0x50, 0x0c, 0x5b, 0xc3,
];
/// `uint32_t xgetbv(void)` of register 0: `xor ecx, ecx; xgetbv; ret`.
const XGETBV: &[u8] = &[0x31, 0xc9, 0x0f, 0x01, 0xd0, 0xc3];

/// `uint32_t request(void)`: whether Linux lets this process use the tiles' state, 1 or 0, by `arch_prctl(ARCH_REQ_XCOMP_PERM, 18)`:
/// `mov edi, 0x1023; mov esi, 18; mov eax, 158; syscall; xor ecx, ecx; test eax, eax; sete cl; mov eax, ecx; ret`.
#[rustfmt::skip]
const REQUEST_TILES: &[u8] = &[
    0xbf, 0x23, 0x10, 0x00, 0x00, 0xbe, 0x12, 0x00, 0x00, 0x00, 0xb8, 0x9e, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x31, 0xc9, 0x85,
    0xc0, 0x0f, 0x94, 0xc1, 0x89, 0xc8, 0xc3,
];

fn define_x64(module: &mut dyn Module, name: &str, tiles: bool) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I32), AbiParam::new(I32), AbiParam::new(I64)]);
    let cpuid = module.declare_function(&format!("{name}.cpuid"), Linkage::Local, &sig)?;
    module.define_function_bytes(cpuid, 16, CPUID, &[])?;
    let mut sig = module.make_signature();
    sig.returns.push(AbiParam::new(I32));
    let xgetbv = module.declare_function(&format!("{name}.xgetbv"), Linkage::Local, &sig)?;
    module.define_function_bytes(xgetbv, 16, XGETBV, &[])?;
    let request = module.declare_function(&format!("{name}.request_tiles"), Linkage::Local, &sig)?;
    module.define_function_bytes(request, 16, REQUEST_TILES, &[])?;
    query(module, &format!("{name}.cpu_ask"), |module, b| {
        let request = module.declare_func_in_func(request, b.func);
        let cpuid = module.declare_func_in_func(cpuid, b.func);
        let xgetbv = module.declare_func_in_func(xgetbv, b.func);
        let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4));
        // Registers eax, ebx, ecx, edx of a leaf, zeros where the processor has no such leaf.
        let leaf = |b: &mut FunctionBuilder, max: Value, leaf: u32, sub: i64| -> [Value; 4] {
            let number = b.ins().iconst(I32, i64::from(leaf));
            let sub = b.ins().iconst(I32, sub);
            let out = b.ins().stack_addr(I64, slot, 0);
            b.ins().call(cpuid, &[number, sub, out]);
            let there = b.ins().icmp(IntCC::UnsignedLessThanOrEqual, number, max);
            let zero = b.ins().iconst(I32, 0);
            [0, 4, 8, 12].map(|o| {
                let x = b.ins().stack_load(I64, I32, slot, o);
                b.ins().select(there, x, zero)
            })
        };
        // 1 if all the bits are set.
        let all = |b: &mut FunctionBuilder, x: Value, bits: &[u32]| -> Value {
            let mask: u32 = bits.iter().map(|&i| 1 << i).sum();
            let mask = b.ins().iconst(I32, i64::from(mask));
            let t = b.ins().band(x, mask);
            b.ins().icmp(IntCC::Equal, t, mask)
        };
        let top = b.ins().iconst(I32, -1);
        let [max, ..] = leaf(b, top, 0, 0);
        let [_, _, c1, _] = leaf(b, max, 1, 0);
        let [max7, b7, c7, d7] = leaf(b, max, 7, 0);
        let [a71, ..] = leaf(b, max, 7, 1);
        let zero = b.ins().iconst(I32, 0);
        let one_sub = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, max7, 1);
        let a71 = b.ins().select(one_sub, a71, zero);
        let [extended, ..] = leaf(b, top, 0x8000_0000, 0);
        let [_, _, cx, _] = leaf(b, extended, 0x8000_0001, 0);
        // xgetbv faults unless the system has enabled it (OSXSAVE).
        let (ask, next) = (b.create_block(), b.create_block());
        b.append_block_param(next, I32);
        let osxsave = all(b, c1, &[27]);
        b.ins().brif(osxsave, ask, &[], next, &[zero.into()]);
        b.switch_to_block(ask);
        let call = b.ins().call(xgetbv, &[]);
        let xcr0 = b.inst_results(call)[0];
        b.ins().jump(next, &[xcr0.into()]);
        b.switch_to_block(next);
        let xcr0 = b.block_params(next)[0];
        let mut word = b.ins().iconst(I32, i64::from(KNOWN));
        let mut grant = |b: &mut FunctionBuilder, conditions: &[Value], bit: u32| {
            let mut ok = conditions[0];
            for &c in &conditions[1..] {
                ok = b.ins().band(ok, c);
            }
            let with = b.ins().bor_imm_s(word, i64::from(bit));
            word = b.ins().select(ok, with, word);
            ok
        };
        let v2 = [all(b, c1, &[0, 9, 19, 20, 23])];
        let v2 = grant(b, &v2, V2);
        // AVX, FMA, F16C; AVX2, BMI1, BMI2; LZCNT; the system saves ymm registers.
        let v3 = [v2, all(b, c1, &[12, 27, 28, 29]), all(b, b7, &[3, 5, 8]), all(b, cx, &[5]), all(b, xcr0, &[1, 2])];
        let v3 = grant(b, &v3, V3);
        // AVX-512 F, DQ, BW, VL; the system saves mask and zmm registers.
        let v4 = [v3, all(b, b7, &[16, 17, 30, 31]), all(b, xcr0, &[5, 6, 7])];
        let v4 = grant(b, &v4, V4);
        let vnni = [v4, all(b, c7, &[11])];
        let vnni_512 = grant(b, &vnni, VNNI_512);
        let vnni = [v3, all(b, a71, &[4])];
        grant(b, &vnni, VNNI_256);
        let vbmi = [v4, all(b, c7, &[1])];
        grant(b, &vbmi, VBMI);
        let bf16 = [v4, all(b, a71, &[5])];
        let bf16 = grant(b, &bf16, BF16);
        // AMX-TILE, whose state the system must have (XCR0) and grant to the process: it is asked only where the code has a use
        // for it. Then AMX-BF16 and AMX-INT8.
        if !tiles {
            return word;
        }
        let there = [all(b, d7, &[24]), all(b, xcr0, &[17, 18])];
        let there = b.ins().band(there[0], there[1]);
        let there = b.ins().band(there, v4);
        let (ask, next) = (b.create_block(), b.create_block());
        b.append_block_param(next, I32);
        b.ins().brif(there, ask, &[], next, &[zero.into()]);
        b.switch_to_block(ask);
        let call = b.ins().call(request, &[]);
        let granted = b.inst_results(call)[0];
        b.ins().jump(next, &[granted.into()]);
        b.switch_to_block(next);
        let granted = b.block_params(next)[0];
        for (bit, base, capability) in [(22, bf16, AMX_BF16), (25, vnni_512, AMX_INT8)] {
            let has = all(b, d7, &[bit]);
            let has = b.ins().band(has, base);
            let has = b.ins().uextend(I32, has);
            let has = b.ins().band(has, granted);
            let has = b.ins().ishl_imm_u(has, i64::from(capability.trailing_zeros()));
            word = b.ins().bor(word, has);
        }
        word
    })
}

/// Linux' hardware capabilities (`asm/hwcap.h`): `AT_HWCAP` has ASIMDHP in bit 10 and ASIMDDP in bit 20, `AT_HWCAP2` I8MM
/// in bit 13.
fn define_a64(module: &mut dyn Module, name: &str) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.push(AbiParam::new(I64));
    sig.returns.push(AbiParam::new(I64));
    let getauxval = module.declare_function("getauxval", Linkage::Import, &sig)?;
    query(module, &format!("{name}.cpu_ask"), |module, b| {
        let f = module.declare_func_in_func(getauxval, b.func);
        let ask = |b: &mut FunctionBuilder, kind: i64| {
            let kind = b.ins().iconst(I64, kind);
            let call = b.ins().call(f, &[kind]);
            b.inst_results(call)[0]
        };
        let (caps, caps2) = (ask(b, 16), ask(b, 26));
        let mut word = b.ins().iconst(I64, i64::from(KNOWN));
        for (from, bit, to) in [(caps, 20, DOTPROD), (caps, 10, FP16), (caps2, 13, I8MM)] {
            let t = b.ins().ushr_imm_u(from, bit);
            let t = b.ins().band_imm_s(t, 1);
            let t = b.ins().ishl_imm_u(t, i64::from(to.trailing_zeros()));
            word = b.ins().bor(word, t);
        }
        b.ins().ireduce(I32, word)
    })
}
