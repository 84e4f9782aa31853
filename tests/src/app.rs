//! Compiled models in a C program that checks every promise of their header (`tests/c/artefact.c`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mnnc_codegen::Interface;
use mnnc_codegen::artifact::{self, Kind};
use mnnc_ir::Tensor;
use mnnc_ir::bytes::Bytes;

use crate::tools;

/// The machine that programs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// This one.
    Host,
    /// 64-bit ARM, emulated.
    Aarch64,
}

impl Machine {
    fn compiler(self) -> &'static str {
        match self {
            Machine::Host => "cc",
            Machine::Aarch64 => "aarch64-linux-gnu-gcc",
        }
    }

    fn start(self, program: &Path) -> Command {
        match self {
            Machine::Host => Command::new(program),
            Machine::Aarch64 => {
                let mut c = Command::new("qemu-aarch64");
                c.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
                c
            }
        }
    }

    /// Whether programs for it can be made and run here; said aloud if not.
    pub fn is_there(self) -> bool {
        tools::there(self.compiler()) && (self == Machine::Host || tools::there("qemu-aarch64"))
    }
}

/// Writes `model` as a file of this kind, links it with the program, and gives it the inputs. Returns the outputs.
///
/// # Errors
/// A file that cannot be written or linked, or a promise that is not kept.
pub fn run(
    model: &mnnc_codegen::Model,
    kind: Kind,
    machine: Machine,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let name = &model.interface.name;
    let file = folder.path().join(match kind {
        Kind::Object => format!("{name}.o"),
        Kind::Archive => format!("lib{name}.a"),
        Kind::Shared => format!("lib{name}.so"),
    });
    artifact::write(model, kind, &file).map_err(|e| e.to_string())?;
    let program = build(name, kind, machine, &file)?;
    let mut command = machine.start(&program);
    if kind == Kind::Shared {
        command.arg(&file);
    }
    let bytes: Vec<u8> = inputs.iter().flat_map(|t| t.bytes().to_vec()).collect();
    let out = tools::run(&mut command, &bytes)?;
    check_description(&out.stderr, &model.interface)?;
    outputs(&out.stdout, &model.interface)
}

/// Compiles the program beside the artefact and links the two; a shared library it loads when it runs.
fn build(name: &str, kind: Kind, machine: Machine, file: &Path) -> Result<PathBuf, String> {
    let folder = file.parent().ok_or("no folder")?;
    let program = folder.join("app");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut c = Command::new(machine.compiler());
    c.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg("-I").arg(folder);
    c.arg(format!("-DNAME={name}")).arg(format!("-DUPPER={}", name.to_uppercase()));
    c.arg(here.join("c/artefact.c"));
    match kind {
        Kind::Shared => c.arg("-DLOAD"),
        Kind::Object | Kind::Archive => c.arg(file),
    };
    if machine == Machine::Host {
        c.arg("-DPOOL").arg("-I").arg(here.join("../runtime-min/include")).arg(runtime()?);
    }
    tools::run(c.args(["-lm", "-lpthread", "-ldl"]), b"").map(|_| program)
}

/// The runtime as apps link it: a static library without Rust's standard library.
fn runtime() -> Result<&'static Path, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = root.join("target/runtime-min");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(&root).args(["build", "--quiet", "--package", "mnnc-runtime"]);
        cargo.args(["--features", "no_std", "--profile", "runtime", "--target-dir"]).arg(&target);
        tools::run(&mut cargo, b"")?;
        Ok(target.join("runtime/libmnnc_runtime.a"))
    });
    built.as_deref().map_err(Clone::clone)
}

/// What the program read in `NAME_model` against what was compiled.
fn check_description(text: &str, interface: &Interface) -> Result<(), String> {
    let line = |what: &str, p: &mnnc_codegen::Port| {
        let dtype = if p.dtype == mnnc_ir::DType::F32 { 1 } else { 8 };
        format!("{what} {dtype} {} {:?} {}\n", p.bytes, p.dims, p.name)
    };
    let inputs = interface.inputs.iter().map(|p| line("input", p));
    let want: String = inputs.chain(interface.outputs.iter().map(|p| line("output", p))).collect();
    if text == want { Ok(()) } else { Err(format!("the description reads\n{text}\nand should read\n{want}")) }
}

fn outputs(mut bytes: &[u8], interface: &Interface) -> Result<Vec<Tensor>, String> {
    let mut all = Vec::new();
    for port in &interface.outputs {
        let (part, rest) = bytes.split_at_checked(port.bytes).ok_or("the program wrote too little")?;
        let tensor = Tensor::from_bytes(port.dtype, port.dims.clone(), Bytes::from_vec(part.to_vec()));
        all.push(tensor.ok_or("an output does not fill its shape")?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(all) } else { Err("the program wrote too much".into()) }
}
