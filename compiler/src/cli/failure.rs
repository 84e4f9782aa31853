//! The last line of defence: panics become internal errors.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Mutex;

use mnnc::Result;
use mnnc_ir::diag::Diagnostic;

/// Exit code for wrong use of the command line.
pub const WRONG_USE: u8 = 1;

/// Runs `work`; a panic becomes an internal error with its place.
pub fn guarded(work: impl FnOnce() -> Result<()>) -> Result<()> {
    static PANIC: Mutex<Option<String>> = Mutex::new(None);
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let mut message = info.payload_as_str().unwrap_or("panic").to_owned();
        if let Some(place) = info.location() {
            message.push_str(&format!(" (at {}:{})", place.file(), place.line()));
        }
        // The first panic is the cause; those of other threads follow from it.
        if let Ok(mut slot) = PANIC.lock() {
            slot.get_or_insert(message);
        }
    }));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let _ = std::panic::take_hook();
    outcome.unwrap_or_else(|_| {
        let message = PANIC.lock().ok().and_then(|mut slot| slot.take());
        let remedy = concat!(
            "this is a defect of mnnc ",
            env!("CARGO_PKG_VERSION"),
            ", not of the model; please report it with the command line and, if possible, the model"
        );
        Err(Diagnostic::internal(message.unwrap_or_else(|| "panic".into())).remedy(remedy).into())
    })
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_reported_with_its_place() {
        let error = guarded(|| panic!("index 7 of {}", 3)).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(text.starts_with("error: internal error: index 7 of 3 (at "), "{text}");
        assert!(text.contains("failure.rs:"), "{text}");
        assert!(guarded(|| Ok(())).is_ok());
    }
}
