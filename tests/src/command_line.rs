//! The command line program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::tools;

/// The `mnnc` that was built along with the tests (`cargo test --workspace` does); built now if it was not.
pub fn mnnc() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let test = std::env::current_exe().expect("a running program has a file");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
        let mnnc = profile.join(format!("mnnc{}", std::env::consts::EXE_SUFFIX));
        if !mnnc.exists() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "-p", "mnnc", "--bin", "mnnc"]);
            cargo.args((!cfg!(debug_assertions)).then_some("--release"));
            tools::run(&mut cargo, b"").unwrap_or_else(|e| panic!("{e}"));
        }
        mnnc
    })
}
