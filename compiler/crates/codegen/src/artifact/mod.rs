//! Files: objects, archives, shared libraries, with their C header and manifest. An output file is written whole or not at
//! all.

mod archive;
mod header;
mod manifest;
mod object;
mod shared;

use crate::CodegenError;
use crate::model::Model;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub use header::header;
pub use manifest::manifest;

/// A kind of file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A relocatable ELF object, `.o`.
    Object,
    /// A static library of that object, `.a`.
    Archive,
    /// A shared library, `.so`, linked by the system's C compiler.
    Shared,
}

impl Kind {
    /// By the extension of a file name.
    pub fn of(path: &Path) -> Option<Kind> {
        match path.extension()?.to_str()? {
            "o" => Some(Kind::Object),
            "a" => Some(Kind::Archive),
            "so" => Some(Kind::Shared),
            _ => None,
        }
    }
}

/// Writes the model as `path`, and beside it `NAME.h` and `NAME.json`. Returns the files written, `path` first.
///
/// # Errors
/// If a file cannot be written, or a shared library not be linked.
pub fn write(model: &Model, kind: Kind, path: &Path) -> Result<Vec<PathBuf>, CodegenError> {
    let dir = folder(path);
    let io = |e| CodegenError::Io(format!("cannot write {}", path.display()), e);
    let mut object = new_file(&dir, path)?;
    object::write_object(model, &mut BufWriter::new(&mut object))?;
    let whole = match kind {
        Kind::Object => object,
        Kind::Archive => {
            let mut out = new_file(&dir, path)?;
            archive::write_archive(model, &mut object, &mut BufWriter::new(&mut out)).map_err(io)?;
            out
        }
        Kind::Shared => {
            let out = new_file(&dir, path)?;
            shared::link(model, object.path(), out.path(), path)?;
            out
        }
    };
    let name = &model.interface.name;
    let mut files = vec![(whole, path.to_path_buf())];
    for (extension, text) in [("h", header(model)), ("json", manifest(model)?)] {
        let to = dir.join(format!("{name}.{extension}"));
        let mut file = new_file(&dir, &to)?;
        file.write_all(text.as_bytes()).map_err(|e| CodegenError::Io(format!("cannot write {}", to.display()), e))?;
        files.push((file, to));
    }
    let mut written = Vec::new();
    for (file, to) in files {
        make_readable(&file, kind == Kind::Shared && written.is_empty());
        file.persist(&to).map_err(|e| CodegenError::Io(format!("cannot write {}", to.display()), e.error))?;
        written.push(to);
    }
    Ok(written)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn new_file(dir: &Path, path: &Path) -> Result<NamedTempFile, CodegenError> {
    tempfile::Builder::new()
        .prefix(".mnnc-")
        .tempfile_in(dir)
        .map_err(|e| CodegenError::Io(format!("cannot write {}", path.display()), e))
}

/// Temporary files are private; outputs are as readable as other files.
fn make_readable(file: &NamedTempFile, executable: bool) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if executable { 0o755 } else { 0o644 };
        // A file system without permissions is no reason to fail.
        let _ = file.as_file().set_permissions(std::fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (file, executable);
}
