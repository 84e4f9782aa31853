//! Cranelift set up for a level of a target.

use crate::CodegenError;
use crate::target::{Level, Target};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

/// The instruction-set description that scalar code and drivers of `level` are compiled with.
///
/// # Errors
/// If Cranelift refuses a setting.
pub(crate) fn isa(target: &Target, level: Level, pic: bool) -> Result<OwnedTargetIsa, CodegenError> {
    let internal = |e: &dyn std::fmt::Display| CodegenError::Internal(format!("Cranelift settings: {e}"));
    let mut flags = settings::builder();
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    let common = [
        ("opt_level", "speed"),
        ("is_pic", if pic { "true" } else { "false" }),
        ("enable_verifier", verify),
        ("unwind_info", "false"),
        ("use_colocated_libcalls", "false"),
    ];
    for (k, v) in common {
        flags.set(k, v).map_err(|e| internal(&e))?;
    }
    let mut builder = isa::lookup(target.triple()).map_err(|e| internal(&e))?;
    for flag in level.cranelift_flags() {
        builder.enable(flag).map_err(|e| internal(&e))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| internal(&e))
}
