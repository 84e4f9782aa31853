//! The folder of models and pictures beside the project, for tests that use it when it is there.

use std::path::PathBuf;

/// The folder: `$MNNC_SHARED`, else `../shared` from the workspace's root.
pub fn folder() -> PathBuf {
    std::env::var_os("MNNC_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
}

/// A file of it, or `None`, said aloud, where it is absent.
pub fn file(path: &str) -> Option<PathBuf> {
    let file = folder().join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("skipped: {path} is not in {}", folder().display());
    None
}
