//! Compiled models in a C program that checks every promise of their header (`tests/c/artefact.c`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mnnc_codegen::artifact::{self, Kind};
use mnnc_codegen::{Interface, Model};
use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, Tensor};
use tempfile::TempDir;

use crate::machine::Machine;
use crate::tools;

/// A model as a file, and a program that uses it.
pub struct App {
    interface: Interface,
    kind: Kind,
    machine: Machine,
    folder: TempDir,
}

impl App {
    /// Writes `model` as a file of this kind and links it with the program, or lets the program load it.
    ///
    /// # Errors
    /// A file that cannot be written, compiled or linked.
    pub fn build(model: &Model, kind: Kind, machine: Machine) -> Result<App, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let app = App { interface: model.interface.clone(), kind, machine, folder };
        artifact::write(model, kind, &app.artefact()).map_err(|e| e.to_string())?;
        app.link()?;
        Ok(app)
    }

    /// The compiled model.
    pub fn artefact(&self) -> PathBuf {
        let name = &self.interface.name;
        self.folder.path().join(match self.kind {
            Kind::Object => format!("{name}.o"),
            Kind::Archive => format!("lib{name}.a"),
            Kind::Shared => format!("lib{name}.so"),
        })
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    fn link(&self) -> Result<(), String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let name = &self.interface.name;
        let mut c = Command::new(self.machine.compiler());
        c.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(self.program()).arg("-I").arg(self.folder.path());
        c.arg(format!("-DNAME={name}")).arg(format!("-DUPPER={}", name.to_uppercase()));
        c.arg(here.join("c/artefact.c"));
        match self.kind {
            Kind::Shared => c.arg("-DLOAD"),
            Kind::Object | Kind::Archive => c.arg(self.artefact()),
        };
        if !self.machine.is_foreign() {
            c.arg("-DPOOL").arg("-I").arg(here.join("../runtime-min/include")).arg(runtime()?);
        }
        tools::run(c.args(["-lm", "-lpthread", "-ldl"]), b"").map(drop)
    }

    fn command(&self) -> Command {
        let mut command = self.machine.start(&self.program());
        if self.kind == Kind::Shared {
            command.arg(self.artefact());
        }
        command
    }

    /// Runs the program on these inputs and returns the model's outputs.
    ///
    /// # Errors
    /// A promise that is not kept.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let out = tools::run(&mut self.command(), &bytes(inputs))?;
        check_description(&out.stderr, &self.interface)?;
        outputs(&out.stdout, &self.interface)
    }

    /// Runs the program where the processor lacks what the model needs.
    ///
    /// # Errors
    /// If the model does not say so.
    pub fn is_refused(&self, inputs: &[Tensor]) -> Result<(), String> {
        let out = tools::run(self.command().arg("lacking"), &bytes(inputs))?;
        if out.stdout.is_empty() { Ok(()) } else { Err("there are outputs".into()) }
    }
}

fn bytes(inputs: &[Tensor]) -> Vec<u8> {
    inputs.iter().flat_map(|t| t.bytes().to_vec()).collect()
}

/// The runtime as apps link it: a static library without Rust's standard library.
///
/// # Errors
/// If it does not build.
pub fn runtime() -> Result<&'static Path, String> {
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
        let dtype = match p.dtype {
            DType::F32 => 1,
            DType::I32 => 7,
            DType::I64 => 8,
            DType::Bool => 13,
            other => return format!("a model with {other} needs its number here\n"),
        };
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
