//! What the tests of imports share.

#![allow(dead_code, reason = "each test uses its part")]

pub mod broken;
pub mod build;
pub mod cases;
pub mod wide;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder with ONNX's backend cases, written by the installed package; `None` without one.
pub fn onnx_cases() -> Option<PathBuf> {
    let python = mnnc_tests::python()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx_cases");
    let done = folder.join(".done");
    if !done.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/onnx_cases.py");
        let status = Command::new(python).arg(script).arg(&folder).status().ok()?;
        assert!(status.success(), "onnx_cases.py failed");
        std::fs::write(done, b"").unwrap();
    }
    Some(folder)
}
