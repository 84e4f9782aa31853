//! A model's bytes: the file itself, mapped, and the external data files of its own folder.
//!
//! External data is contained: a relative path of plain names below the model's folder, no `..`, no symbolic link,
//! regular files only, and never more than the file holds.

use crate::limits::Limits;
use memmap2::Mmap;
use mnnc_ir::diag::Diagnostic;
use mnnc_schema::onnx::Bytes;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

/// A model file, or bytes that stand for one.
pub struct Source {
    path: PathBuf,
    folder: Option<PathBuf>,
    bytes: Bytes,
    limits: Limits,
    external: HashMap<String, Bytes>,
}

impl Source {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If it is missing, not a regular file, empty, or larger than the limit.
    pub fn open(path: &Path, limits: &Limits) -> Result<Source, Diagnostic> {
        let bytes =
            map_file(path, limits.max_model_bytes).map_err(|m| Diagnostic::bad_input(m).file(path.display()))?;
        if bytes.is_empty() {
            return Err(Diagnostic::bad_input("the file is empty").file(path.display()));
        }
        let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        Ok(Source {
            path: path.to_path_buf(),
            folder: folder.map(Path::to_path_buf),
            bytes,
            limits: *limits,
            external: HashMap::new(),
        })
    }
    /// A model in memory. It has no folder, hence no external data; `name` stands for the file in messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>, limits: &Limits) -> Result<Source, Diagnostic> {
        let path = PathBuf::from(name);
        let bytes = Bytes::from(bytes);
        if bytes.is_empty() {
            return Err(Diagnostic::bad_input("the model is empty").file(path.display()));
        }
        if bytes.len() as u64 > limits.max_model_bytes {
            return Err(
                Diagnostic::bad_input(too_large(bytes.len() as u64, limits.max_model_bytes)).file(path.display())
            );
        }
        Ok(Source { path, folder: None, bytes, limits: *limits, external: HashMap::new() })
    }
    /// The model's bytes; slices of them share the mapping.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// Size of the model file and of the external files read so far.
    pub fn total_bytes(&self) -> u64 {
        self.external.values().fold(self.bytes.len() as u64, |a, b| a + b.len() as u64)
    }
    /// Path of the model, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Bytes `offset .. offset + length` of the external file `location`; without `length`, to its end.
    ///
    /// # Errors
    /// A message if the location leaves the model's folder, or the file is missing or too short.
    pub fn external(&mut self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        let file = match self.external.get(location) {
            Some(b) => b.clone(),
            None => {
                let Some(folder) = &self.folder else {
                    return Err(format!("external data \"{location}\" cannot be read: the model is not a file"));
                };
                let path = contained(folder, location)?;
                let b = map_file(&path, self.limits.max_model_bytes)
                    .map_err(|m| format!("external data \"{location}\": {m}"))?;
                self.external.insert(location.to_string(), b.clone());
                b
            }
        };
        let have = file.len() as u64;
        let end = match length {
            Some(n) => offset.checked_add(n),
            None => Some(have.max(offset)),
        };
        match end {
            Some(end) if end <= have => Ok(file.slice(offset as usize..end as usize)),
            _ => Err(format!(
                "external data \"{location}\" is too short: offset {offset} and length {} asked for, the file has {have} bytes",
                length.map_or_else(|| "to the end".to_string(), |n| n.to_string())
            )),
        }
    }
}

fn too_large(have: u64, max: u64) -> String {
    format!("{have} bytes are more than the limit of {max}; raise it with --max-model-bytes")
}

/// Resolves `location` inside `folder`, refusing whatever could lead out of it.
fn contained(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let refuse = |why: &str| Err(format!("external data \"{location}\" is refused: {why}"));
    if location.is_empty() {
        return refuse("the location is empty");
    }
    if location.contains(['\\', '\0']) || location.as_bytes().get(1) == Some(&b':') {
        return refuse("the location is not a portable relative path");
    }
    let mut path = folder.to_path_buf();
    for part in Path::new(location).components() {
        match part {
            Component::Normal(p) => path.push(p),
            Component::CurDir => continue,
            Component::ParentDir => return refuse("the location has `..`; data must lie in the model's folder"),
            _ => return refuse("the location is an absolute path; data must lie in the model's folder"),
        }
        match fs::symlink_metadata(&path) {
            Ok(m) if m.file_type().is_symlink() => {
                return refuse("it is a symbolic link; put the file itself in the model's folder");
            }
            Ok(_) => {}
            Err(e) => return Err(format!("external data \"{location}\": {}", io_message(&e))),
        }
    }
    // The components are clean; this also catches what changed or was mounted in between.
    let inside = match (path.canonicalize(), folder.canonicalize()) {
        (Ok(p), Ok(f)) => p.starts_with(f),
        _ => false,
    };
    if inside { Ok(path) } else { refuse("it lies outside the model's folder") }
}

fn io_message(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => format!("cannot be read: {e}"),
    }
}

fn map_file(path: &Path, max: u64) -> Result<Bytes, String> {
    // Looked at before opening: opening a pipe would wait for ever.
    let meta = fs::metadata(path).map_err(|e| io_message(&e))?;
    if meta.is_dir() {
        return Err("is a folder, not a model file".to_string());
    }
    if !meta.is_file() {
        return Err("is not a regular file".to_string());
    }
    if meta.len() > max {
        return Err(too_large(meta.len(), max));
    }
    let file = File::open(path).map_err(|e| io_message(&e))?;
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and only read. A process that cuts the file short while we compile can make a
    // read fault, as with every program that maps its input; it cannot make us read other memory.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| io_message(&e))?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("mnnc-source-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("m.onnx"), b"model").unwrap();
        fs::write(dir.join("sub/w.bin"), [7u8; 16]).unwrap();
        dir
    }

    #[test]
    fn external_data_stays_in_the_folder() {
        let dir = folder();
        let mut s = Source::open(&dir.join("m.onnx"), &Limits::default()).unwrap();
        assert_eq!(s.external("sub/w.bin", 4, Some(12)).unwrap().len(), 12);
        assert_eq!(s.external("./sub/w.bin", 8, None).unwrap().len(), 8);
        for (location, part) in [
            ("../x", "`..`"),
            ("sub/../m.onnx", "`..`"),
            ("/etc/hostname", "absolute"),
            ("", "empty"),
            ("C:\\w.bin", "portable"),
            ("missing.bin", "no such file"),
            ("sub", "is a folder"),
        ] {
            let e = s.external(location, 0, None).unwrap_err();
            assert!(e.contains(part), "{location}: {e}");
        }
        for (offset, length) in [(10, Some(7)), (17, None), (u64::MAX, Some(2))] {
            let e = s.external("sub/w.bin", offset, length).unwrap_err();
            assert!(e.contains("too short"), "{e}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.join("sub/w.bin"), dir.join("link.bin")).unwrap();
            assert!(s.external("link.bin", 0, None).unwrap_err().contains("symbolic link"));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn model_files_are_checked_before_they_are_mapped() {
        let dir = folder();
        let small = Limits { max_model_bytes: 4, ..Limits::default() };
        let e = |p: &str, l: &Limits| Source::open(&dir.join(p), l).map(|_| ()).unwrap_err().message;
        assert!(e("m.onnx", &small).contains("--max-model-bytes"));
        assert!(e("none.onnx", &Limits::default()).contains("no such file"));
        assert!(e("sub", &Limits::default()).contains("folder"));
        fs::write(dir.join("empty.onnx"), b"").unwrap();
        assert!(e("empty.onnx", &Limits::default()).contains("empty"));
        fs::remove_dir_all(dir).unwrap();
    }
}
