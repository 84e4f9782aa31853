//! The last line of defence: panics become internal errors.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Mutex;

use mnnc::{Error, ErrorKind};

/// Exit code for wrong use of the command line.
pub const WRONG_USE: u8 = 1;

/// The line or lines that end a failed run.
pub fn message(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Internal => format!(
            "internal error: {error}\nThis is a defect of mnnc {}, not of your model. Please report it with the \
             command line and, if you can, the model.",
            env!("CARGO_PKG_VERSION")
        ),
        // Findings about a model say for themselves what they are.
        _ if ["error: ", "unsupported: ", "warning: "]
            .iter()
            .any(|p| error.to_string().starts_with(p)) =>
        {
            error.to_string()
        }
        ErrorKind::Unsupported => format!("unsupported: {error}"),
        ErrorKind::Verification => format!("verification failed: {error}"),
        ErrorKind::Input => format!("error: {error}"),
    }
}

/// Runs `work`; a panic becomes an internal error with its place.
pub fn guarded(work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
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
        Err(Error::internal(message.unwrap_or_else(|| "panic".into())))
    })
}

#[cfg(test)]
mod tests {
    use mnnc::{Error, ErrorKind};

    use super::{guarded, message};

    #[test]
    fn a_panic_is_reported_with_its_place() {
        let error = guarded(|| panic!("index 7 of {}", 3)).unwrap_err();
        assert_eq!(error.kind().exit_code(), 4);
        let text = message(&error);
        assert!(
            text.starts_with("internal error: index 7 of 3 (at "),
            "{text}"
        );
        assert!(text.contains("failure.rs:"), "{text}");
        assert!(guarded(|| Ok(())).is_ok());
    }

    #[test]
    fn findings_are_not_announced_twice() {
        let error = Error::new(ErrorKind::Unsupported, "unsupported: m.onnx: node a (Foo)");
        assert_eq!(message(&error), "unsupported: m.onnx: node a (Foo)");
        assert_eq!(
            message(&Error::input("no such file")),
            "error: no such file"
        );
    }
}
