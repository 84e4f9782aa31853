//! Shared libraries, linked by the system's C compiler.

use crate::CodegenError;
use crate::model::Model;
use crate::target::Arch;
use std::path::Path;
use std::process::Command;

/// The C compiler for a family: the environment's choice, else the usual name.
fn compiler(arch: Arch) -> String {
    let host = if cfg!(target_arch = "aarch64") { Arch::A64 } else { Arch::X64 };
    let (variable, cross) = match arch {
        Arch::X64 => ("CC_x86_64_unknown_linux_gnu", "x86_64-linux-gnu-gcc"),
        Arch::A64 => ("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc"),
    };
    let own = if arch == host { "CC" } else { variable };
    let usual = if arch == host { "cc" } else { cross };
    [variable, own].iter().find_map(|v| std::env::var(v).ok().filter(|s| !s.is_empty())).unwrap_or(usual.into())
}

/// Links `object` into the shared library `out`, which will be called `path`.
pub(super) fn link(model: &Model, object: &Path, out: &Path, path: &Path) -> Result<(), CodegenError> {
    let cc = compiler(model.target.arch);
    let soname = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let loaded = crate::emit::loaded(&model.interface.name);
    let result = Command::new(&cc)
        .args(["-shared", "-nostartfiles", "-Wl,--no-undefined", "-Wl,--build-id=none", "-Wl,-z,text"])
        .args(["-Wl,-z,noexecstack", &format!("-Wl,-soname,{soname}"), &format!("-Wl,-init,{loaded}"), "-o"])
        .arg(out)
        .args(["-x", "none"])
        .arg(object)
        .args(["-Wl,--as-needed", "-lm", "-lc"])
        .output();
    let output = result.map_err(|e| {
        CodegenError::Linker(format!(
            "a shared library needs a C compiler, and {cc} cannot be run ({e}); install one, set CC, or emit an object"
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(CodegenError::Linker(format!("{cc} could not link the shared library:\n{}", text.trim())))
}
