//! Programs that tests start.

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether a program can be started; said aloud if not.
pub fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: no {program}");
    }
    found
}

/// What a program gave.
#[derive(Debug)]
pub struct Output {
    /// Its data.
    pub stdout: Vec<u8>,
    /// What it told.
    pub stderr: String,
}

/// Runs a program on the bytes of `stdin`.
///
/// # Errors
/// If it cannot be started or does not end well, with what it told.
pub fn run(command: &mut Command, stdin: &[u8]) -> Result<Output, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let mut pipe = child.stdin.take().ok_or("no pipe")?;
    let out = std::thread::scope(|s| {
        // A program that ends before it has read everything tells why itself.
        s.spawn(move || drop(pipe.write_all(stdin)));
        child.wait_with_output()
    });
    let out = out.map_err(|e| format!("{command:?}: {e}"))?;
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() {
        return Ok(Output { stdout: out.stdout, stderr });
    }
    Err(format!("{command:?}: {}: {stderr}", out.status))
}
