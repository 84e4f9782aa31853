//! Drivers: the functions that walk the steps of a variant.

use crate::CodegenError;
use crate::emit::function;
use crate::model::Variant;
use crate::phases::{Share, phases};
use crate::subnormals::{Mode, Switch};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, FuncRef, GlobalValue, InstBuilder, MemFlagsData, SigRef, StackSlot, StackSlotData, StackSlotKind, Value,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{DataId, FuncId, Linkage, Module};
use mnnc_kernel::plan::Base;
use mnnc_kernel::{KernelId, Step};
use std::collections::HashMap;

/// Offsets in `mnnc_parallel`.
pub(crate) mod parallel {
    pub(crate) const THREADS: i32 = 0;
    pub(crate) const RUN: i32 = 8;
    pub(crate) const BARRIER: i32 = 16;
}

/// Offsets in the context that the tasks of one parallel run share.
pub(crate) mod task {
    pub(crate) const INPUTS: i32 = 0;
    pub(crate) const OUTPUTS: i32 = 8;
    pub(crate) const WORKSPACE: i32 = 16;
    pub(crate) const POOL: i32 = 24;
    pub(crate) const BYTES: u32 = 32;
}

/// What the drivers of a variant call.
pub(crate) struct Parts<'a> {
    pub variant: &'a Variant,
    /// By kernel.
    pub kernels: &'a [FuncId],
    /// The weights, if there are any.
    pub weights: Option<DataId>,
    /// Where steps differ in what they do with subnormal numbers.
    pub switch: Option<Switch>,
}

/// Emits `void NAME(inputs, outputs, workspace)`: every step on the calling thread.
pub(crate) fn define_walk(module: &mut dyn Module, name: &str, parts: &Parts) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64); 3]);
    function(module, name, Linkage::Local, sig, |module, b, p| {
        let mut walk = Walk::new(module, b, parts, [p[0], p[1], p[2]]);
        let mut mode = parts.switch.map(|s| Mode::begin(module, b, s));
        for step in &parts.variant.schedule.steps {
            if let Some(mode) = &mut mode {
                mode.want(b, step.subnormals);
            }
            let args = walk.arguments(b, step)?;
            let kernel = walk.kernel(module, b, step.kernel)?;
            let zero = b.ins().iconst(I64, 0);
            let units = b.ins().iconst(I64, step.units as i64);
            b.ins().call(kernel, &[args, zero, units]);
        }
        if let Some(mode) = &mut mode {
            mode.end(b);
        }
        b.ins().return_(&[]);
        Ok(())
    })
}

/// Emits `void NAME(task *context, size_t index)`: the share of thread `index` in every step, with a barrier after each
/// phase but the last.
pub(crate) fn define_task(module: &mut dyn Module, name: &str, parts: &Parts) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64); 2]);
    function(module, name, Linkage::Local, sig, |module, b, p| {
        let (context, index) = (p[0], p[1]);
        let flags = MemFlagsData::trusted();
        let get = |b: &mut FunctionBuilder, at: Value, offset: i32| b.ins().load(I64, flags, at, offset);
        let inputs = get(b, context, task::INPUTS);
        let outputs = get(b, context, task::OUTPUTS);
        let workspace = get(b, context, task::WORKSPACE);
        let pool = get(b, context, task::POOL);
        let threads = get(b, pool, parallel::THREADS);
        let barrier = get(b, pool, parallel::BARRIER);
        let mut sig = module.make_signature();
        sig.params.push(AbiParam::new(I64));
        let barrier_sig: SigRef = b.import_signature(sig);
        let next = b.ins().iadd_imm_s(index, 1);
        let mut walk = Walk::new(module, b, parts, [inputs, outputs, workspace]);
        let steps = &parts.variant.schedule.steps;
        let mut mode = parts.switch.map(|s| Mode::begin(module, b, s));
        for phase in phases(&parts.variant.schedule, &parts.variant.plan) {
            for (step, &share) in steps[phase.steps.clone()].iter().zip(&phase.shares) {
                if let Some(mode) = &mut mode {
                    mode.want(b, step.subnormals);
                }
                let [begin, end] = [index, next].map(|i| first_unit(b, share, step.units, i, threads));
                let (work, done) = (b.create_block(), b.create_block());
                let some = b.ins().icmp(IntCC::UnsignedLessThan, begin, end);
                b.ins().brif(some, work, &[], done, &[]);
                b.switch_to_block(work);
                let args = walk.arguments(b, step)?;
                let kernel = walk.kernel(module, b, step.kernel)?;
                b.ins().call(kernel, &[args, begin, end]);
                b.ins().jump(done, &[]);
                b.switch_to_block(done);
            }
            if phase.steps.end < steps.len() {
                b.ins().call_indirect(barrier_sig, barrier, &[pool]);
            }
        }
        if let Some(mode) = &mut mode {
            mode.end(b);
        }
        b.ins().return_(&[]);
        Ok(())
    })
}

/// The first of a step's `units` that does not belong to the threads before `index`: their number if there is none.
fn first_unit(b: &mut FunctionBuilder, share: Share, units: usize, index: Value, threads: Value) -> Value {
    let part_of = |b: &mut FunctionBuilder, whole: u64| {
        let whole = b.ins().iconst(I64, whole as i64);
        let part = b.ins().imul(whole, index);
        b.ins().udiv(part, threads)
    };
    match share {
        Share::Even => part_of(b, units as u64),
        Share::Line { at, unit, line, common } => {
            let even = part_of(b, units as u64);
            let here = part_of(b, line);
            // To the nearest unit; what lies before the step's begin is none of its units.
            let past = b.ins().iadd_imm_s(here, (unit / 2) as i64 - at as i64);
            let zero = b.ins().iconst(I64, 0);
            let past = b.ins().smax(past, zero);
            let unit = b.ins().iconst(I64, unit as i64);
            let count = b.ins().udiv(past, unit);
            let units = b.ins().iconst(I64, units as i64);
            let cut = b.ins().umin(count, units);
            let common = b.ins().iconst(I64, common as i64);
            let rest = b.ins().urem(common, threads);
            b.ins().select(rest, cut, even)
        }
    }
}

struct Walk<'a> {
    parts: &'a Parts<'a>,
    inputs: Value,
    outputs: Value,
    workspace: Value,
    weights: Option<GlobalValue>,
    slot: StackSlot,
    refs: HashMap<KernelId, FuncRef>,
}

impl<'a> Walk<'a> {
    fn new(module: &mut dyn Module, b: &mut FunctionBuilder, parts: &'a Parts<'a>, bases: [Value; 3]) -> Walk<'a> {
        let most = parts.variant.schedule.steps.iter().map(|s| s.operands.len()).max().unwrap_or(0);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * most.max(1) as u32, 3);
        let [inputs, outputs, workspace] = bases;
        Walk {
            parts,
            inputs,
            outputs,
            workspace,
            weights: parts.weights.map(|w| module.declare_data_in_func(w, b.func)),
            slot: b.create_sized_stack_slot(slot),
            refs: HashMap::new(),
        }
    }

    fn kernel(
        &mut self,
        module: &mut dyn Module,
        b: &mut FunctionBuilder,
        k: KernelId,
    ) -> Result<FuncRef, CodegenError> {
        use mnnc_ir::entity::EntityId;
        let missing = || CodegenError::Internal(format!("kernel {k} was not emitted"));
        let id = *self.parts.kernels.get(k.index()).ok_or_else(missing)?;
        Ok(*self.refs.entry(k).or_insert_with(|| module.declare_func_in_func(id, b.func)))
    }

    /// Stores the operands' addresses and returns the address of their array.
    fn arguments(&mut self, b: &mut FunctionBuilder, step: &Step) -> Result<Value, CodegenError> {
        let Variant { schedule, plan, .. } = self.parts.variant;
        let flags = MemFlagsData::trusted();
        for (i, o) in step.operands.iter().enumerate() {
            let address = plan.address(schedule, o.buffer, o.offset);
            let base = match address.base {
                Base::Workspace => self.workspace,
                Base::Input(k) => b.ins().load(I64, flags, self.inputs, 8 * k as i32),
                Base::Output(k) => b.ins().load(I64, flags, self.outputs, 8 * k as i32),
                Base::Weights => match self.weights {
                    Some(w) => b.ins().symbol_value(I64, w),
                    // An empty constant: its address is never used.
                    None => self.workspace,
                },
            };
            let at = if address.offset == 0 { base } else { b.ins().iadd_imm_s(base, address.offset as i64) };
            b.ins().stack_store(I64, at, self.slot, 8 * i as i32);
        }
        Ok(b.ins().stack_addr(I64, self.slot, 0))
    }
}

/// A variant as the entry points see it.
pub(crate) struct Choice {
    /// Capabilities that it needs.
    pub needs: u32,
    /// From [`crate::first_call::define_mapping`].
    pub map: FuncId,
    /// From [`crate::first_call::define`].
    pub first: FuncId,
    /// From [`define_walk`].
    pub walk: FuncId,
    /// From [`define_task`].
    pub task: FuncId,
}

/// Return codes of the entry points; `mnnc.h` has them too.
pub(crate) const OK: i64 = 0;
pub(crate) const ERROR_CPU: i64 = 1;
pub(crate) const ERROR_ARGUMENT: i64 = 2;
pub(crate) const ERROR_POOL: i64 = 3;

/// Emits an entry point, `int NAME(inputs, outputs, workspace[, pool])`. `choices` are in order of preference.
pub(crate) fn define_entry(
    module: &mut dyn Module,
    name: &str,
    cpu: Option<FuncId>,
    choices: &[Choice],
    on_pool: bool,
) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.params.extend((0..if on_pool { 4 } else { 3 }).map(|_| AbiParam::new(I64)));
    sig.returns.push(AbiParam::new(I32));
    function(module, name, Linkage::Export, sig, |module, b, p| {
        let misaligned = b.ins().band_imm_s(p[2], mnnc_kernel::plan::ALIGN as i64 - 1);
        let (bad, good) = (b.create_block(), b.create_block());
        b.ins().brif(misaligned, bad, &[], good, &[]);
        b.switch_to_block(bad);
        leave(b, ERROR_ARGUMENT);
        b.switch_to_block(good);
        let open = by_cpu(module, b, cpu, choices, |module, b, choice| {
            let first = module.declare_func_in_func(choice.first, b.func);
            b.ins().call(first, &p[1..3]);
            let walk = module.declare_func_in_func(choice.walk, b.func);
            if on_pool {
                let task = module.declare_func_in_func(choice.task, b.func);
                run_on_pool(module, b, walk, task, p);
            } else {
                b.ins().call(walk, p);
                leave(b, OK);
            }
        });
        if open {
            leave(b, ERROR_CPU);
        }
        Ok(())
    })
}

/// Emits `void NAME()`, which a shared library runs when it is loaded: it maps the weights of the level that will run.
pub(crate) fn define_loaded(
    module: &mut dyn Module,
    name: &str,
    cpu: Option<FuncId>,
    choices: &[Choice],
) -> Result<FuncId, CodegenError> {
    let sig = module.make_signature();
    function(module, name, Linkage::Hidden, sig, |module, b, _| {
        let open = by_cpu(module, b, cpu, choices, |module, b, choice| {
            let map = module.declare_func_in_func(choice.map, b.func);
            b.ins().call(map, &[]);
            b.ins().return_(&[]);
        });
        if open {
            b.ins().return_(&[]);
        }
        Ok(())
    })
}

/// Emits `take`, which ends its block, for the first choice that the processor can run. True if a block is left open, for none of
/// them may fit.
fn by_cpu(
    module: &mut dyn Module,
    b: &mut FunctionBuilder,
    cpu: Option<FuncId>,
    choices: &[Choice],
    mut take: impl FnMut(&mut dyn Module, &mut FunctionBuilder, &Choice),
) -> bool {
    let word = cpu.map(|cpu| {
        let cpu = module.declare_func_in_func(cpu, b.func);
        let call = b.ins().call(cpu, &[]);
        b.inst_results(call)[0]
    });
    for choice in choices {
        let next = match (word, choice.needs) {
            (Some(word), needs) if needs != 0 => {
                let has = b.ins().band_imm_s(word, i64::from(needs));
                let fits = b.ins().icmp_imm_s(IntCC::Equal, has, i64::from(needs));
                let (fitting, next) = (b.create_block(), b.create_block());
                b.ins().brif(fits, fitting, &[], next, &[]);
                b.switch_to_block(fitting);
                Some(next)
            }
            _ => None,
        };
        take(module, b, choice);
        match next {
            Some(next) => b.switch_to_block(next),
            // It needs nothing: there is no other case.
            None => return false,
        }
    }
    true
}

fn leave(b: &mut FunctionBuilder, code: i64) {
    let code = b.ins().iconst(I32, code);
    b.ins().return_(&[code]);
}

/// Hands the task to the pool, or walks alone if there is none or it has but one thread.
fn run_on_pool(module: &dyn Module, b: &mut FunctionBuilder, walk: FuncRef, task: FuncRef, p: &[Value]) {
    let flags = MemFlagsData::trusted();
    let pool = p[3];
    let (ask, alone, many) = (b.create_block(), b.create_block(), b.create_block());
    b.ins().brif(pool, ask, &[], alone, &[]);
    b.switch_to_block(ask);
    let threads = b.ins().load(I64, flags, pool, parallel::THREADS);
    let several = b.ins().icmp_imm_u(IntCC::UnsignedGreaterThan, threads, 1);
    b.ins().brif(several, many, &[], alone, &[]);
    b.switch_to_block(alone);
    b.ins().call(walk, &p[..3]);
    leave(b, OK);
    b.switch_to_block(many);
    let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, task::BYTES, 3));
    for (x, at) in p.iter().zip([task::INPUTS, task::OUTPUTS, task::WORKSPACE, task::POOL]) {
        b.ins().stack_store(I64, *x, slot, at);
    }
    let context = b.ins().stack_addr(I64, slot, 0);
    let run = b.ins().load(I64, flags, pool, parallel::RUN);
    let mut sig = module.make_signature();
    sig.params.extend([AbiParam::new(I64); 3]);
    sig.returns.push(AbiParam::new(I32));
    let sig = b.import_signature(sig);
    let task = b.ins().func_addr(I64, task);
    let call = b.ins().call_indirect(sig, run, &[pool, task, context]);
    let failed = b.inst_results(call)[0];
    let (ok, error) = (b.ins().iconst(I32, OK), b.ins().iconst(I32, ERROR_POOL));
    let code = b.ins().select(failed, error, ok);
    b.ins().return_(&[code]);
}
