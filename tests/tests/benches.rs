//! The comparison of engines in `benches/`: what it reads and computes, without an engine or a clock.

use std::path::Path;
use std::process::Command;

use mnnc_tests::python;

#[test]
fn the_harness_reads_and_computes_right() {
    let Some(python) = python() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/python");
    // No compiled files beside the sources.
    let arguments = ["-B", "-m", "unittest", "test_harness"];
    let output = Command::new(python).current_dir(folder).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Ran ") && !told.contains("Ran 0"), "{told}");
}
