//! Running a compiled shared library through its C interface, as an app would.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;

use mnnc_ir::bytes::Bytes;
use mnnc_ir::diag::Diagnostic;
use mnnc_ir::{Graph, Tensor, ValueId};
use mnnc_kernel::weights::AlignedBytes;

use crate::error::{self, Result};

type WorkspaceSize = unsafe extern "C" fn() -> usize;
type Run = unsafe extern "C" fn(*const *const c_void, *const *mut c_void, *mut c_void) -> c_int;

/// `mnnc_tensor` of `mnnc.h`.
#[repr(C)]
struct CTensor {
    name: *const c_char,
    dims: *const u64,
    scales: *const f32,
    zero_points: *const i32,
    bytes: u64,
    dtype: u32,
    rank: u32,
    num_scales: u32,
    quant_axis: i32,
}

/// The first fields of `mnnc_model` of `mnnc.h`.
#[repr(C)]
struct CModel {
    abi_version: u32,
    num_inputs: u32,
    num_outputs: u32,
    reserved: u32,
    name: *const c_char,
    inputs: *const CTensor,
    outputs: *const CTensor,
}

/// An open shared library of one model.
pub struct Library {
    handle: *mut c_void,
    /// Bytes of each input and of each output.
    sizes: [Vec<u64>; 2],
    workspace_size: WorkspaceSize,
    run: Run,
}

impl Library {
    /// Opens the library of the model `name` (the prefix of its symbols). This runs the library's own code: open only
    /// what was compiled here.
    ///
    /// # Errors
    /// The loader refuses the file, or it lacks the model's symbols.
    pub fn open(path: &Path, name: &str) -> Result<Library> {
        // The loader searches its own folders for a name without a slash.
        let path = std::fs::canonicalize(path).map_err(|e| error::file("read", path, &e))?;
        let refused = |why: String| -> error::Error { Diagnostic::bad_input(why).file(path.display()).into() };
        let text = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| refused(e.to_string()))?;
        // SAFETY: `text` is a C string; the caller answers for the library's initialisers, of which ours have none.
        let handle = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(refused(loader_message()));
        }
        let symbol = |suffix: &str| -> Result<*mut c_void> {
            let symbol = CString::new(format!("{name}_{suffix}")).map_err(|e| refused(e.to_string()))?;
            // SAFETY: `handle` is open and `symbol` a C string.
            let address = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if address.is_null() {
                let why = format!("it has no function {name}_{suffix}; is it a model compiled with --name {name}?");
                return Err(refused(why));
            }
            Ok(address)
        };
        let found = symbol("workspace_size").and_then(|size| Ok((size, symbol("run")?, symbol("model")?)));
        let (size, run, model) = match found {
            Ok(found) => found,
            Err(e) => {
                // SAFETY: opened above; nothing of it is in use.
                unsafe { libc::dlclose(handle) };
                return Err(e);
            }
        };
        // SAFETY: these names have these types in every artefact (mnnc.h).
        let (workspace_size, run) = unsafe {
            (std::mem::transmute::<*mut c_void, WorkspaceSize>(size), std::mem::transmute::<*mut c_void, Run>(run))
        };
        // SAFETY: `NAME_model` is an `mnnc_model`, constant data of the library.
        let model = unsafe { &*model.cast::<CModel>() };
        // SAFETY: the description has so many tensors at these addresses.
        let sizes = unsafe { [sizes(model.inputs, model.num_inputs), sizes(model.outputs, model.num_outputs)] };
        let library = Library { handle, sizes, workspace_size, run };
        if model.abi_version != mnnc_codegen::ABI_VERSION {
            return Err(refused(format!(
                "it is of ABI version {}, not {}",
                model.abi_version,
                mnnc_codegen::ABI_VERSION
            )));
        }
        Ok(library)
    }

    /// Bytes of workspace that a call needs.
    pub fn workspace_size(&self) -> usize {
        // SAFETY: it takes nothing and returns a constant.
        unsafe { (self.workspace_size)() }
    }

    /// Runs the model, whose interface is that of `graph`, on inputs in the model's order.
    ///
    /// # Errors
    /// Inputs that are not of the model's types and shapes, or a run that fails.
    pub fn run(&self, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let bytes = |values: &[ValueId]| -> Vec<u64> {
            values.iter().map(|&v| graph.ty(v).num_bytes().map_or(u64::MAX, |n| n as u64)).collect()
        };
        let interface = [bytes(graph.inputs()), bytes(graph.outputs())];
        if interface != self.sizes {
            return Err(Diagnostic::usage(format!(
                "the library is of another model: its inputs and outputs take {:?} bytes, the model's {interface:?}",
                self.sizes
            ))
            .into());
        }
        let fits_port = |(tensor, &v): (&Tensor, &ValueId)| {
            let ty = graph.ty(v);
            tensor.dtype() == ty.dtype && ty.static_dims().is_some_and(|dims| dims == tensor.dims())
        };
        let fits = inputs.len() == graph.inputs().len() && inputs.iter().zip(graph.inputs()).all(fits_port);
        let ports: Option<Vec<_>> =
            graph.outputs().iter().map(|&v| Some((graph.ty(v), graph.ty(v).num_bytes()?))).collect();
        let (true, Some(ports)) = (fits, ports) else {
            return Err(error::usage("the inputs do not fit the model"));
        };
        let inputs: Vec<AlignedBytes> = inputs.iter().map(|tensor| aligned(tensor.bytes())).collect();
        let mut outputs: Vec<AlignedBytes> = ports.iter().map(|&(_, bytes)| AlignedBytes::zeroed(bytes)).collect();
        let mut workspace = AlignedBytes::in_large_pages(self.workspace_size());
        let input_addresses: Vec<*const c_void> = inputs.iter().map(|i| i.as_ptr().cast()).collect();
        let output_addresses: Vec<*mut c_void> = outputs.iter_mut().map(|o| o.as_mut_ptr().cast()).collect();
        // SAFETY: number, sizes and alignment of the operands are those of the interface; the workspace is as large as
        // the library asks for.
        let code =
            unsafe { (self.run)(input_addresses.as_ptr(), output_addresses.as_ptr(), workspace.as_mut_ptr().cast()) };
        if code != 0 {
            return Err(error::internal(format!("the library's run function returned {code}")));
        }
        let tensor = |(bytes, (ty, size)): (AlignedBytes, (&mnnc_ir::TensorType, usize))| {
            let bytes = Bytes::from_vec(bytes[..size].to_vec());
            let dims = ty.static_dims().unwrap_or_default();
            Tensor::from_bytes(ty.dtype, dims, bytes)
                .ok_or_else(|| error::internal("an output does not fill its shape"))
        };
        outputs.into_iter().zip(ports).map(tensor).collect()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: opened by `open`; no function of it runs any more.
        unsafe { libc::dlclose(self.handle) };
    }
}

/// Bytes of each of `count` described tensors.
///
/// # Safety
/// `tensors` points to `count` tensors.
unsafe fn sizes(tensors: *const CTensor, count: u32) -> Vec<u64> {
    // SAFETY: the caller's promise.
    (0..count as usize).map(|i| unsafe { (*tensors.add(i)).bytes }).collect()
}

fn aligned(bytes: &[u8]) -> AlignedBytes {
    let mut copy = AlignedBytes::zeroed(bytes.len());
    copy[..bytes.len()].copy_from_slice(bytes);
    copy
}

fn loader_message() -> String {
    // SAFETY: returns null or a C string that lives until the next call of the loader on this thread.
    let message: *const c_char = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the loader refuses it".into();
    }
    // SAFETY: not null, see above.
    unsafe { std::ffi::CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

/// Links an object or archive into the shared library `to` with the system's C compiler (`CC`, else `cc`).
///
/// # Errors
/// There is no compiler, or it fails.
pub fn link(artefact: &Path, to: &Path) -> Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-shared", "-o"])
        .arg(to)
        .arg("-Wl,--whole-archive")
        .arg(artefact)
        .args(["-Wl,--no-whole-archive", "-lm"])
        .output()
        .map_err(|e| error::usage(format!("the C compiler {} cannot be run: {e}", compiler.to_string_lossy())))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Diagnostic::bad_input(format!("it does not link: {message}")).file(artefact.display()).into());
    }
    Ok(())
}
