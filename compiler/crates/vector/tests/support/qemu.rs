//! Runs AArch64 kernels through a small C program under qemu.

use mnnc_vector::CompiledKernel;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The runner, compiled once for each test binary; `None` where the tools are missing.
pub fn runner() -> Option<&'static PathBuf> {
    static RUNNER: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let made = RUNNER.get_or_init(|| {
        Command::new("qemu-aarch64").arg("--version").output().ok()?;
        let dir = tempfile::tempdir().ok()?;
        let program = dir.path().join("runner");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/runner.c");
        let gcc =
            Command::new("aarch64-linux-gnu-gcc").args(["-O1", "-static", source, "-o"]).arg(&program).output().ok()?;
        assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
        Some((dir, program))
    });
    made.as_ref().map(|(_, program)| program)
}

/// Runs a kernel; see [`super::run`].
pub fn run(kernel: &CompiledKernel, buffers: &mut [Vec<u32>], begin: usize, end: usize) {
    let runner = runner().expect("tools checked by the caller");
    let dir = tempfile::tempdir().expect("temporary folder");
    let (job, result) = (dir.path().join("job"), dir.path().join("result"));
    let mut bytes = Vec::new();
    let head = [kernel.code.len(), buffers.len(), begin, end];
    let sizes = buffers.iter().map(|b| b.len() * 4);
    head.into_iter().chain(sizes).for_each(|n| bytes.extend((n as u64).to_le_bytes()));
    bytes.extend(&kernel.code);
    buffers.iter().flatten().for_each(|w| bytes.extend(w.to_le_bytes()));
    std::fs::write(&job, bytes).expect("job file");
    let out = Command::new("qemu-aarch64").arg(runner).arg(&job).arg(&result).output().expect("qemu runs");
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    let bytes = std::fs::read(&result).expect("result file");
    let mut words = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    for word in buffers.iter_mut().flatten() {
        *word = words.next().expect("a word for each word");
    }
}
