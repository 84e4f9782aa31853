//! A model in memory, ready to run on this machine.

use crate::emit::{Emitted, emit};
use crate::isa::isa;
use crate::model::Model;
use crate::subnormals;
use crate::{CodegenError, driver};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::entity::EntityId;
use mnnc_ir::{DType, Tensor};
use mnnc_kernel::plan::Base;
use mnnc_kernel::schedule::Subnormals;
use mnnc_kernel::weights::AlignedBytes;
use mnnc_kernel::{KernelCode, Schedule};
use mnnc_runtime::Pool;
use std::ffi::c_void;
use std::time::{Duration, Instant};

type Run = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8) -> i32;
type RunParallel = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8, *mut c_void) -> i32;
type KernelFn = unsafe extern "C" fn(*const *mut u8, usize, usize);

/// Address space reserved for code beside that of the finished kernels.
const ARENA: usize = 256 << 20;

/// A compiled model. Dropping it frees its code.
pub struct Jit {
    /// `None` only while dropping.
    module: Option<JITModule>,
    model: Model,
    run: Run,
    run_parallel: RunParallel,
    kernels: Vec<KernelFn>,
}

/// How long one step took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Name of the step: the graph node's.
    pub name: String,
    /// Name of its kernel.
    pub kernel: String,
    /// Time.
    pub time: Duration,
    /// Useful floating-point operations.
    pub flops: u64,
}

// SAFETY: the function pointers lead to code that nobody changes until the `Jit` is dropped, and that keeps all its state in
// the caller's workspace (but for words that remember the processor's features and the first call, and that all threads write alike).
unsafe impl Send for Jit {}
// SAFETY: as for `Send`; no method changes the `Jit`.
unsafe impl Sync for Jit {}

impl Jit {
    /// Compiles a model into memory. It keeps the model, whose weights the code reads in place.
    ///
    /// # Errors
    /// If this machine cannot run any of the model's variants.
    pub fn new(model: Model) -> Result<Jit, CodegenError> {
        let host = crate::Cpu::host();
        let strongest = (0..model.variants.len()).rev().find(|&i| model.variants[i].cpu.runs_here());
        let Some(strongest) = strongest else {
            let needs: Vec<String> = model.variants.iter().map(|v| v.cpu.to_string()).collect();
            return Err(CodegenError::Host(format!(
                "this machine ({host}) cannot run code for {}; compile with --cpu native",
                needs.join(" or ")
            )));
        };
        // Nothing touches it yet: this only asks whether the system would give so much.
        if AlignedBytes::in_large_pages_if_there(model.variants[strongest].plan.workspace).is_none() {
            return Err(CodegenError::Host(format!(
                "the workspace of {} MB exceeds what this machine can give; choose smaller shapes",
                model.variants[strongest].plan.workspace >> 20
            )));
        }
        let (mut model, cpu) = (model, host);
        let chosen = model.variants.swap_remove(strongest);
        model.variants = vec![chosen];
        let level = model.variants[0].cpu.level.min(cpu.level);
        let isa = isa(&model.target, level, false)?;
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        let code: usize = model.variants[0]
            .schedule
            .kernels
            .iter()
            .map(|(_, k)| match &k.code {
                KernelCode::Machine(c) => c.code.len() + 128,
                _ => 0,
            })
            .sum();
        let memory = ArenaMemoryProvider::new_with_size(ARENA + 2 * code)
            .map_err(|e| CodegenError::Host(format!("no memory for code: {e}")))?;
        builder.memory_provider(Box::new(memory));
        libm(&mut builder);
        let name = format!("{}.weights", model.interface.name);
        model.variants[0].weights.gather_in_large_pages();
        builder.symbol(&name, model.variants[0].weights.as_ptr());
        let mut module = JITModule::new(builder);
        let emitted: Emitted = emit(&mut module, &model, &mut |m: &mut dyn Module, _| {
            Ok(m.declare_data(&name, Linkage::Import, false, false)?)
        })?;
        module.finalize_definitions()?;
        let at = |id| module.get_finalized_function(id);
        // SAFETY: `emit` gave these functions the signatures that the types state.
        let (run, run_parallel, kernels) = unsafe {
            (
                std::mem::transmute::<*const u8, Run>(at(emitted.run)),
                std::mem::transmute::<*const u8, RunParallel>(at(emitted.run_parallel)),
                emitted.kernels[0].iter().map(|&k| std::mem::transmute::<*const u8, KernelFn>(at(k))).collect(),
            )
        };
        let _ = emitted.workspace_size;
        Ok(Jit { module: Some(module), model, run, run_parallel, kernels })
    }

    /// The model, with the one variant that this machine runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Memory for [`run_in`](Self::run_in): allocate once, use for any number of calls.
    pub fn workspace(&self) -> AlignedBytes {
        AlignedBytes::in_large_pages(self.model.workspace())
    }

    /// Runs the model once.
    ///
    /// # Errors
    /// If the inputs do not have the model's types and shapes.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, CodegenError> {
        self.run_in(&mut self.workspace(), inputs)
    }

    /// Runs the model once in the caller's workspace.
    ///
    /// # Errors
    /// If the inputs do not have the model's types and shapes, or the workspace is too small.
    pub fn run_in(&self, workspace: &mut AlignedBytes, inputs: &[Tensor]) -> Result<Vec<Tensor>, CodegenError> {
        self.call(workspace, inputs, &mut |i, o, w| {
            // SAFETY: `call` checked the operands' number and sizes.
            Ok(unsafe { (self.run)(i, o, w) })
        })
    }

    /// Runs the model once on a pool of threads.
    ///
    /// # Errors
    /// As [`run_in`](Self::run_in); if the pool fails.
    pub fn run_parallel(
        &self,
        workspace: &mut AlignedBytes,
        inputs: &[Tensor],
        pool: &mut Pool,
    ) -> Result<Vec<Tensor>, CodegenError> {
        self.call(workspace, inputs, &mut |i, o, w| {
            // SAFETY: `call` checked the operands' number and sizes; the pool is alive and idle, for it is borrowed.
            Ok(unsafe { (self.run_parallel)(i, o, w, pool.as_ptr().cast()) })
        })
    }

    /// Runs the model once on one thread, step by step, and times each step.
    ///
    /// # Errors
    /// As [`run_in`](Self::run_in).
    pub fn run_timed(
        &self,
        workspace: &mut AlignedBytes,
        inputs: &[Tensor],
    ) -> Result<(Vec<Tensor>, Vec<StepTime>), CodegenError> {
        let mut times = Vec::new();
        let v = &self.model.variants[0];
        let schedule: &Schedule = &v.schedule;
        let outputs = self.call(workspace, inputs, &mut |i, o, w| {
            for step in &schedule.steps {
                let address = |operand: &mnnc_kernel::Operand| {
                    let a = v.plan.address(schedule, operand.buffer, operand.offset);
                    // SAFETY: `call` made the arrays as long as the model has inputs and outputs.
                    let base = unsafe {
                        match a.base {
                            Base::Input(k) => (*i.add(k)).cast_mut(),
                            Base::Output(k) => *o.add(k),
                            Base::Workspace => w,
                            Base::Weights => v.weights.as_ptr().cast_mut(),
                        }
                    };
                    base.wrapping_add(a.offset)
                };
                let args: Vec<*mut u8> = step.operands.iter().map(address).collect();
                let kernel = self.kernels[step.kernel.index()];
                let flush = step.subnormals == Subnormals::Flush;
                let start = Instant::now();
                // SAFETY: the same call as the driver makes.
                subnormals::flushing(flush, || unsafe { kernel(args.as_ptr(), 0, step.units) });
                let time = start.elapsed();
                let kernel = schedule.kernels[step.kernel].name.clone();
                times.push(StepTime { name: step.name.clone(), kernel, time, flops: step.flops });
            }
            Ok(0)
        })?;
        Ok((outputs, times))
    }

    /// Checks the operands, makes room for the results, and calls `f` with their addresses.
    fn call(
        &self,
        workspace: &mut AlignedBytes,
        inputs: &[Tensor],
        f: &mut dyn FnMut(*const *const u8, *const *mut u8, *mut u8) -> Result<i32, CodegenError>,
    ) -> Result<Vec<Tensor>, CodegenError> {
        let i = &self.model.interface;
        if inputs.len() != i.inputs.len() {
            let (has, got) = (i.inputs.len(), inputs.len());
            return Err(CodegenError::Usage(format!("the model has {has} input(s), {got} given")));
        }
        for (t, p) in inputs.iter().zip(&i.inputs) {
            if t.dtype() != p.dtype || t.dims() != p.dims {
                let (name, d, dims) = (&p.name, p.dtype, &p.dims);
                return Err(CodegenError::Usage(format!(
                    "input {name} is {}{:?}, the model wants {d}{dims:?}",
                    t.dtype(),
                    t.dims()
                )));
            }
        }
        if workspace.len() < self.model.workspace() {
            return Err(CodegenError::Usage(format!("the workspace is smaller than {} bytes", self.model.workspace())));
        }
        let aligned: Vec<Option<AlignedBytes>> = inputs.iter().map(realigned).collect();
        let addresses: Vec<*const u8> = inputs
            .iter()
            .zip(&aligned)
            .map(|(t, copy)| copy.as_ref().map_or(t.bytes().as_ptr(), |c| c.as_ptr()))
            .collect();
        let mut results: Vec<AlignedBytes> = i.outputs.iter().map(|p| AlignedBytes::zeroed(p.bytes)).collect();
        let out: Vec<*mut u8> = results.iter_mut().map(|r| r.as_mut_ptr()).collect();
        match f(addresses.as_ptr(), out.as_ptr(), workspace.as_mut_ptr())? {
            0 => {}
            code if i64::from(code) == driver::ERROR_CPU => {
                return Err(CodegenError::Host("the processor lacks what the code was compiled for".into()));
            }
            code => return Err(CodegenError::Internal(format!("the model's run function returned {code}"))),
        }
        let tensor = |(r, p): (AlignedBytes, &crate::Port)| {
            Bytes::from_owner(std::sync::Arc::new(Owned(r)))
                .slice(0..p.bytes)
                .and_then(|b| Tensor::from_bytes(p.dtype, p.dims.clone(), b))
                .ok_or_else(|| CodegenError::Internal(format!("output {} does not fill its shape", p.name)))
        };
        results.into_iter().zip(&i.outputs).map(tensor).collect()
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the function pointers into this memory go with `self`.
            unsafe { module.free_memory() }
        }
    }
}

struct Owned(AlignedBytes);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A copy of the tensor's bytes, if they are not aligned to its elements. (Those of a mapped file need not be.)
fn realigned(t: &Tensor) -> Option<AlignedBytes> {
    let size = if t.dtype() == DType::Bool { 1 } else { t.dtype().size() };
    if (t.bytes().as_ptr() as usize).is_multiple_of(size) {
        return None;
    }
    let mut copy = AlignedBytes::zeroed(t.bytes().len());
    copy[..t.bytes().len()].copy_from_slice(t.bytes());
    Some(copy)
}

/// The C library's functions that generated code may call, by way of Rust's.
fn libm(builder: &mut JITBuilder) {
    unsafe extern "C" {
        safe fn erf(x: f64) -> f64;
    }
    macro_rules! functions {
        ($($name:literal $($x:ident)+ : $t:ty = $e:expr;)*) => {
            $({
                extern "C" fn f($($x: $t),+) -> $t {
                    $e
                }
                builder.symbol($name, f as *const u8);
            })*
        };
    }
    functions! {
        "exp" x: f64 = x.exp();
        "log" x: f64 = x.ln();
        "tanh" x: f64 = x.tanh();
        "erf" x: f64 = erf(x);
        "sin" x: f64 = x.sin();
        "cos" x: f64 = x.cos();
        "tan" x: f64 = x.tan();
        "asin" x: f64 = x.asin();
        "acos" x: f64 = x.acos();
        "atan" x: f64 = x.atan();
        "sinh" x: f64 = x.sinh();
        "cosh" x: f64 = x.cosh();
        "asinh" x: f64 = x.asinh();
        "acosh" x: f64 = x.acosh();
        "atanh" x: f64 = x.atanh();
        "fmod" x y: f64 = x % y;
        "pow" x y: f64 = x.powf(y);
        "floor" x: f64 = x.floor();
        "ceil" x: f64 = x.ceil();
        "trunc" x: f64 = x.trunc();
        "nearbyint" x: f64 = x.round_ties_even();
        "floorf" x: f32 = x.floor();
        "ceilf" x: f32 = x.ceil();
        "truncf" x: f32 = x.trunc();
        "nearbyintf" x: f32 = x.round_ties_even();
    }
}
