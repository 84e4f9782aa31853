//! Loop nests as Cranelift functions: every op without a tuned kernel, copies between forms, zero borders.

mod address;
mod convert;
mod eval;
mod nest;

use crate::CodegenError;
use crate::math::Helpers;
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::Module;
use mnnc_kernel::{LoopKernel, Storage};
use nest::{Nest, jam};

/// The kernels' signature: `fn(args: *const *mut u8, begin: usize, end: usize)`.
pub(crate) fn kernel_signature(module: &dyn Module) -> Signature {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64); 3]);
    sig
}

/// Emits a loop nest.
pub(crate) fn compile_loops(
    module: &mut dyn Module,
    helpers: &mut Helpers,
    ctx: &mut Context,
    k: &LoopKernel,
) -> Result<(), CodegenError> {
    ctx.func.signature = kernel_signature(module);
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    let (args, begin, end) = entry(&mut b);
    let pointer = |b: &mut FunctionBuilder, i: usize| {
        b.ins().load(I64, MemFlagsData::trusted().with_readonly(), args, 8 * i as i32)
    };
    let inputs: Vec<(Value, Storage)> =
        k.inputs.iter().enumerate().map(|(i, s)| (pointer(&mut b, i), s.clone())).collect();
    let output = pointer(&mut b, k.inputs.len());
    let mut nest = Nest { k, module, helpers, inputs, output };
    match jam(k) {
        Some((side, extent)) => jammed(&mut b, [begin, end], side, extent, &mut |b, unit, n| nest.unit(b, unit, n))?,
        None => counted(&mut b, begin, end, &mut |b, unit| nest.unit(b, unit, 1))?,
    }
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(nest.module.target_config());
    Ok(())
}

/// Emits the filling of everything but the elements of a blocked tensor. Within a plane the gaps are: before the first
/// row's elements, between the elements of neighbouring rows, and after the last row's.
pub(crate) fn compile_border(module: &mut dyn Module, ctx: &mut Context, s: &Storage) -> Result<(), CodegenError> {
    let (&[_, _, h, w], &[_, plane, row, pixel]) = (&s.dims[..], &s.strides[..]) else {
        return Err(CodegenError::Internal("a border around a tensor that is not of rank 4".into()));
    };
    ctx.func.signature = kernel_signature(module);
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    let (args, begin, end) = entry(&mut b);
    let base = b.ins().load(I64, MemFlagsData::trusted(), args, 0);
    let (first, last) = (s.offset, s.offset + (h.max(1) - 1) * row + w * pixel);
    let value = s.halo.fill;
    counted(&mut b, begin, end, &mut |b, unit| {
        let at = b.ins().imul_imm_s(unit, plane as i64);
        let at = b.ins().iadd(base, at);
        fill(b, value, at, 0, first)?;
        let gap = row - w * pixel;
        if gap > 0 && h > 1 {
            let zero_row = b.ins().iconst(I64, 0);
            let rows = b.ins().iconst(I64, h as i64 - 1);
            counted(b, zero_row, rows, &mut |b, r| {
                let by = b.ins().imul_imm_s(r, row as i64);
                let at = b.ins().iadd(at, by);
                fill(b, value, at, first + w * pixel, gap)
            })?;
        }
        fill(b, value, at, last, plane - last)
    })?;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(module.target_config());
    Ok(())
}

/// Fills `bytes` bytes from `at + offset` with a value; few of them by straight-line code.
fn fill(b: &mut FunctionBuilder, value: u8, at: Value, offset: usize, bytes: usize) -> Result<(), CodegenError> {
    let flags = MemFlagsData::trusted();
    let words = i64::from_ne_bytes([value; 8]);
    let (word, byte) = (b.ins().iconst(I64, words), b.ins().iconst(I8, i64::from(value)));
    let start = b.ins().iadd_imm_s(at, offset as i64);
    let words = bytes / 8;
    if words <= 16 {
        (0..words).for_each(|i| {
            b.ins().store(flags, word, start, 8 * i as i32);
        });
    } else {
        let none = b.ins().iconst(I64, 0);
        let count = b.ins().iconst(I64, words as i64);
        counted(b, none, count, &mut |b, i| {
            let by = b.ins().ishl_imm_u(i, 3);
            let at = b.ins().iadd(start, by);
            b.ins().store(flags, word, at, 0);
            Ok(())
        })?;
    }
    for i in 8 * words..bytes {
        b.ins().store(flags, byte, start, i as i32);
    }
    Ok(())
}

fn entry(b: &mut FunctionBuilder) -> (Value, Value, Value) {
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let p = b.block_params(block);
    (p[0], p[1], p[2])
}

pub(crate) type Body<'a> = dyn FnMut(&mut FunctionBuilder, Value) -> Result<(), CodegenError> + 'a;

/// `for i in begin..end`.
pub(crate) fn counted(b: &mut FunctionBuilder, begin: Value, end: Value, body: &mut Body) -> Result<(), CodegenError> {
    let (head, exit) = (b.create_block(), b.create_block());
    b.append_block_param(head, I64);
    let some = b.ins().icmp(IntCC::UnsignedLessThan, begin, end);
    b.ins().brif(some, head, &[begin.into()], exit, &[]);
    b.switch_to_block(head);
    let i = b.block_params(head)[0];
    body(b, i)?;
    let next = b.ins().iadd_imm_s(i, 1);
    let more = b.ins().icmp(IntCC::UnsignedLessThan, next, end);
    b.ins().brif(more, head, &[next.into()], exit, &[]);
    b.switch_to_block(exit);
    Ok(())
}

/// `for i in begin..end`, several at once where they are neighbours in the innermost dimension of the units, of `extent`.
/// `body` gets the first and how many.
fn jammed(
    b: &mut FunctionBuilder,
    [begin, end]: [Value; 2],
    several: usize,
    extent: usize,
    body: &mut dyn FnMut(&mut FunctionBuilder, Value, usize) -> Result<(), CodegenError>,
) -> Result<(), CodegenError> {
    let [head, some, many, one, exit] = [(); 5].map(|()| b.create_block());
    b.append_block_param(head, I64);
    b.ins().jump(head, &[begin.into()]);
    b.switch_to_block(head);
    let i = b.block_params(head)[0];
    let more = b.ins().icmp(IntCC::UnsignedLessThan, i, end);
    b.ins().brif(more, some, &[], exit, &[]);
    b.switch_to_block(some);
    let left = b.ins().isub(end, i);
    let enough = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, left, several as i64);
    let size = b.ins().iconst(I64, extent as i64);
    let at = b.ins().urem(i, size);
    let inside = b.ins().icmp_imm_u(IntCC::UnsignedLessThanOrEqual, at, (extent - several) as i64);
    let fits = b.ins().band(enough, inside);
    b.ins().brif(fits, many, &[], one, &[]);
    for (block, n) in [(many, several), (one, 1)] {
        b.switch_to_block(block);
        body(b, i, n)?;
        let next = b.ins().iadd_imm_s(i, n as i64);
        b.ins().jump(head, &[next.into()]);
    }
    b.switch_to_block(exit);
    Ok(())
}

/// `for i in 0..n`.
fn repeated(b: &mut FunctionBuilder, n: usize, body: &mut Body) -> Result<(), CodegenError> {
    if n == 0 {
        return Ok(());
    }
    let zero = b.ins().iconst(I64, 0);
    if n == 1 {
        return body(b, zero);
    }
    let (head, exit) = (b.create_block(), b.create_block());
    b.append_block_param(head, I64);
    b.ins().jump(head, &[zero.into()]);
    b.switch_to_block(head);
    let i = b.block_params(head)[0];
    body(b, i)?;
    let next = b.ins().iadd_imm_s(i, 1);
    let more = b.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, n as i64);
    b.ins().brif(more, head, &[next.into()], exit, &[]);
    b.switch_to_block(exit);
    Ok(())
}
