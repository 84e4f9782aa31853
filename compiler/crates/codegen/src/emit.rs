//! Assembly of a model in a Cranelift module: the same functions for the JIT and for objects.

use crate::CodegenError;
use crate::cpu;
use crate::describe::{define_constant_function, define_description};
use crate::driver::{Choice, Parts, define_entry, define_loaded, define_task, define_walk};
use crate::first_call;
use crate::loops::{compile_border, compile_loops, kernel_signature};
use crate::math::Helpers;
use crate::model::{Model, Variant};
use crate::program::compile_program;
use crate::subnormals::Switch;
use crate::target::Arch;
use cranelift_codegen::ir::{Signature, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataId, FuncId, Linkage, Module};
use mnnc_kernel::KernelCode;
use mnnc_kernel::schedule::Subnormals;

/// Alignment of the entry of a finished kernel: a cache line.
const KERNEL_ALIGN: u64 = 64;

/// What a module holds of a model.
pub(crate) struct Emitted {
    /// `NAME_workspace_size`.
    pub workspace_size: FuncId,
    /// `NAME_run`.
    pub run: FuncId,
    /// `NAME_run_parallel`.
    pub run_parallel: FuncId,
    /// Kernels of each variant.
    pub kernels: Vec<Vec<FuncId>>,
}

/// How the weights of variant `i` get into the module. The data object may be defined later, or elsewhere.
pub(crate) type Weights<'a> = dyn FnMut(&mut dyn Module, usize) -> Result<DataId, CodegenError> + 'a;

/// Emits a model. Its name is the prefix of every symbol.
pub(crate) fn emit(module: &mut dyn Module, model: &Model, weights: &mut Weights) -> Result<Emitted, CodegenError> {
    let name = &model.interface.name;
    let mut helpers = Helpers::new(name);
    let mut kernels = Vec::new();
    let mut choices = Vec::new();
    let outputs: Vec<usize> = model.interface.outputs.iter().map(|o| o.bytes).collect();
    let madvise = first_call::define_madvise(module, model.target.arch, name)?;
    for (i, v) in model.variants.iter().enumerate() {
        let tag = if model.variants.len() == 1 { name.clone() } else { format!("{name}.{}", v.cpu) };
        let ids = define_kernels(module, &mut helpers, v, &tag)?;
        let data = if v.weights.is_empty() { None } else { Some(weights(module, i)?) };
        let flushes = v.schedule.steps.iter().any(|s| s.subnormals == Subnormals::Flush);
        let switch = match model.target.arch {
            Arch::X64 if flushes => Some(Switch::define(module, &tag)?),
            _ => None,
        };
        let parts = Parts { variant: v, kernels: &ids, weights: data, switch };
        let walk = define_walk(module, &format!("{tag}.walk"), &parts)?;
        let task = define_task(module, &format!("{tag}.task"), &parts)?;
        let weights = data.map(|d| (d, v.weights.len()));
        let map = first_call::define_mapping(module, &format!("{tag}.map"), madvise, weights)?;
        let first = first_call::define(module, &format!("{tag}.first"), madvise, map, &outputs, v.plan.workspace)?;
        choices.push(Choice { needs: cpu::needs(v.cpu), map, first, walk, task });
        kernels.push(ids);
    }
    // The strongest first.
    choices.reverse();
    let cpu = match choices.iter().any(|c| c.needs != 0) {
        true => Some(cpu::define(module, &model.target, name)?),
        false => None,
    };
    let workspace_size = define_constant_function(module, &format!("{name}_workspace_size"), model.workspace())?;
    let run = define_entry(module, &format!("{name}_run"), cpu, &choices, false)?;
    let run_parallel = define_entry(module, &format!("{name}_run_parallel"), cpu, &choices, true)?;
    define_loaded(module, &loaded(name), cpu, &choices)?;
    define_description(module, model)?;
    Ok(Emitted { workspace_size, run, run_parallel, kernels })
}

/// The function that a shared library of the model runs when it is loaded.
pub(crate) fn loaded(name: &str) -> String {
    format!("{name}.loaded")
}

fn define_kernels(
    module: &mut dyn Module,
    helpers: &mut Helpers,
    v: &Variant,
    tag: &str,
) -> Result<Vec<FuncId>, CodegenError> {
    let sig = kernel_signature(module);
    let mut ids = Vec::new();
    let mut ctx = module.make_context();
    for (k, kernel) in v.schedule.kernels.iter() {
        // Two kernels may bear one name; the number tells them apart.
        let id = module.declare_function(&format!("{tag}.{k}.{}", kernel.name), Linkage::Local, &sig)?;
        match &kernel.code {
            KernelCode::Machine(code) => {
                module.define_function_bytes(id, KERNEL_ALIGN.max(code.align as u64), &code.code, &[])?;
            }
            KernelCode::Loops(l) => {
                compile_loops(module, helpers, &mut ctx, l)?;
                module.define_function(id, &mut ctx)?;
                module.clear_context(&mut ctx);
            }
            KernelCode::Program(p) => {
                compile_program(module, &mut ctx, p, &ids)?;
                module.define_function(id, &mut ctx)?;
                module.clear_context(&mut ctx);
            }
            KernelCode::Border(s) => {
                compile_border(module, &mut ctx, s)?;
                module.define_function(id, &mut ctx)?;
                module.clear_context(&mut ctx);
            }
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Defines a function. `body` ends every block that it makes.
pub(crate) fn function(
    module: &mut dyn Module,
    name: &str,
    linkage: Linkage,
    sig: Signature,
    body: impl FnOnce(&mut dyn Module, &mut FunctionBuilder, &[Value]) -> Result<(), CodegenError>,
) -> Result<FuncId, CodegenError> {
    let id = module.declare_function(name, linkage, &sig)?;
    let mut ctx = module.make_context();
    ctx.func.signature = sig;
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let p = b.block_params(entry).to_vec();
    body(module, &mut b, &p)?;
    b.seal_all_blocks();
    b.finalize(module.target_config());
    module.define_function(id, &mut ctx)?;
    Ok(id)
}
