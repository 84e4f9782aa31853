//! The Python that runs the authorities: ONNX Runtime, and MNN itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the environment holds.
const PACKAGES: [&str; 5] = ["onnx==1.23.2", "onnxruntime==1.32.0", "MNN==3.6.1", "numpy==2.4.6", "pillow==13.0.0"];
/// The modules that must import before an environment counts as whole.
const IMPORTS: &str = "import onnx, onnxruntime, MNN, numpy, PIL";

/// An interpreter with the pinned packages: `$MNNC_PYTHON` if set, else that of an environment of the project's own under
/// `target`, made at the first call (one process makes it, others wait). `None`, said aloud once, where it cannot
/// be made, as without a network: the caller then skips its test.
pub fn python() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let found = find();
            if let Err(reason) = &found {
                eprintln!("skipped: no Python with ONNX Runtime and MNN: {reason}");
            }
            found.ok()
        })
        .as_deref()
}

fn find() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("MNNC_PYTHON") {
        let given = PathBuf::from(given);
        return run(Command::new(&given).args(["-c", IMPORTS])).map(|()| given);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    let lock = File::create(target.join("python.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let home = target.join("python");
    let python = home.join("bin/python");
    // Written last, and named for what it vouches for: an environment made halfway, or for other pins, is made anew.
    let stamp = home.join("packages");
    if fs::read_to_string(&stamp).is_ok_and(|packages| packages == PACKAGES.join(" ")) {
        return Ok(python);
    }
    eprintln!("installing {} into {}", PACKAGES.join(", "), home.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
    run(Command::new(&python).args(["-c", IMPORTS]))?;
    fs::write(&stamp, PACKAGES.join(" ")).map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?} ended with {}: {}", command.get_program(), output.status, stderr.lines().last().unwrap_or("")))
}
