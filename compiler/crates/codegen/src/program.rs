//! Programs as Cranelift functions: loops over units and rounds around calls of finished kernels.

use crate::CodegenError;
use crate::loops::{counted, kernel_signature};
use cranelift_codegen::Context;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{FuncRef, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Module};
use mnnc_ir::entity::EntityId;
use mnnc_kernel::program::{Arg, Base, Call, Program, Run};
use mnnc_kernel::{KernelId, plan};
use std::collections::HashMap;

/// Emits a program. `kernels` are the functions of the kernels before it.
pub(crate) fn compile_program(
    module: &mut dyn Module,
    ctx: &mut Context,
    program: &Program,
    kernels: &[FuncId],
) -> Result<(), CodegenError> {
    ctx.func.signature = kernel_signature(module);
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let p = b.block_params(entry).to_vec();
    let mut emitter = Emitter::new(module, &mut b, program, kernels, p[0])?;
    let setup = Run { count: 1, calls: program.setup.clone() };
    emitter.run(&mut b, &setup, &[])?;
    counted(&mut b, p[1], p[2], &mut |b, unit| {
        let bases = emitter.bases(b, unit);
        program.body.iter().try_for_each(|run| emitter.run(b, run, &bases))
    })?;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(module.target_config());
    Ok(())
}

struct Emitter<'a> {
    program: &'a Program,
    refs: HashMap<KernelId, FuncRef>,
    /// The step's operands, where they begin.
    operands: Vec<Value>,
    scratch: Value,
    /// Addresses of the arguments of a call.
    slot: StackSlot,
}

impl<'a> Emitter<'a> {
    fn new(
        module: &mut dyn Module,
        b: &mut FunctionBuilder,
        program: &'a Program,
        kernels: &[FuncId],
        args: Value,
    ) -> Result<Emitter<'a>, CodegenError> {
        let calls = || program.setup.iter().chain(program.body.iter().flat_map(|r| &r.calls));
        let mut refs = HashMap::new();
        for call in calls() {
            let missing =
                || CodegenError::Internal(format!("a program calls kernel {}, which follows it", call.kernel));
            let id = *kernels.get(call.kernel.index()).ok_or_else(missing)?;
            refs.entry(call.kernel).or_insert_with(|| module.declare_func_in_func(id, b.func));
        }
        let most = calls().map(|c| c.args.len()).max().unwrap_or(0).max(1);
        let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * most as u32, 3));
        let flags = MemFlagsData::trusted();
        let operands = (0..program.strides.len()).map(|i| b.ins().load(I64, flags, args, 8 * i as i32)).collect();
        // Stack slots are aligned to 16 bytes at most.
        let room = (program.scratch + plan::ALIGN) as u32;
        let memory = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, room, 4));
        let address = b.ins().stack_addr(I64, memory, plan::ALIGN as i32 - 1);
        let scratch = b.ins().band_imm_s(address, -(plan::ALIGN as i64));
        Ok(Emitter { program, refs, operands, scratch, slot })
    }

    /// The operands at a unit.
    fn bases(&self, b: &mut FunctionBuilder, unit: Value) -> Vec<Value> {
        let panels = self.program.panels.max(1) as i64;
        let panels = b.ins().iconst(I64, panels);
        let image = b.ins().udiv(unit, panels);
        let before = b.ins().imul(image, panels);
        let panel = b.ins().isub(unit, before);
        let mut moved = |base: Value, index: Value, stride: usize| match stride {
            0 => base,
            _ => {
                let by = b.ins().imul_imm_s(index, stride as i64);
                b.ins().iadd(base, by)
            }
        };
        let strides = self.operands.iter().zip(&self.program.strides);
        strides
            .map(|(&base, &[per_image, per_panel])| {
                let at = moved(base, image, per_image);
                moved(at, panel, per_panel)
            })
            .collect()
    }

    fn run(&mut self, b: &mut FunctionBuilder, run: &Run, bases: &[Value]) -> Result<(), CodegenError> {
        if run.count == 1 {
            run.calls.iter().for_each(|c| self.call(b, c, bases, None));
            return Ok(());
        }
        let (zero, count) = (b.ins().iconst(I64, 0), b.ins().iconst(I64, run.count as i64));
        counted(b, zero, count, &mut |b, round| {
            run.calls.iter().for_each(|c| self.call(b, c, bases, Some(round)));
            Ok(())
        })
    }

    fn call(&self, b: &mut FunctionBuilder, call: &Call, bases: &[Value], round: Option<Value>) {
        for (i, arg) in call.args.iter().enumerate() {
            let address = self.address(b, arg, bases, round);
            b.ins().stack_store(I64, address, self.slot, 8 * i as i32);
        }
        let args = b.ins().stack_addr(I64, self.slot, 0);
        let (zero, units) = (b.ins().iconst(I64, 0), b.ins().iconst(I64, call.units as i64));
        b.ins().call(self.refs[&call.kernel], &[args, zero, units]);
    }

    fn address(&self, b: &mut FunctionBuilder, arg: &Arg, bases: &[Value], round: Option<Value>) -> Value {
        let base = match arg.base {
            Base::Operand(i) => bases[i],
            Base::Scratch => self.scratch,
        };
        let at = if arg.offset == 0 { base } else { b.ins().iadd_imm_s(base, arg.offset as i64) };
        match round {
            Some(round) if arg.step != 0 => {
                let by = b.ins().imul_imm_s(round, arg.step as i64);
                b.ins().iadd(at, by)
            }
            _ => at,
        }
    }
}
