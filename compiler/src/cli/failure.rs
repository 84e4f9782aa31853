//! Why a verb ended early, as an exit code and a message.

use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

/// Exit code for wrong use of the command line and for bad input.
pub const WRONG_USE: u8 = 1;

/// A verb's failure; the message is complete and for people.
#[derive(Debug)]
pub enum Failure {
    /// Wrong use or bad input.
    Input(String),
    /// The compiler is at fault.
    Internal(String),
}

impl Failure {
    /// A file that cannot be read or written.
    pub fn file(verb: &str, path: &Path, error: &std::io::Error) -> Self {
        Failure::Input(format!("cannot {verb} {}: {error}", path.display()))
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Input(_) => WRONG_USE,
            Failure::Internal(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(message) => write!(f, "error: {message}"),
            Failure::Internal(message) => write!(
                f,
                "internal error: {message}\nThis is a defect of mnnc {}, not of your model. \
                 Please report it with the command line and, if you can, the model.",
                env!("CARGO_PKG_VERSION")
            ),
        }
    }
}

/// Runs `work`; a panic becomes an internal error with its place.
pub fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
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
        Err(Failure::Internal(message.unwrap_or_else(|| "panic".into())))
    })
}

#[cfg(test)]
mod tests {
    use super::{Failure, guarded};

    #[test]
    fn a_panic_is_reported_with_its_place() {
        let failure = guarded(|| panic!("index 7 of {}", 3)).unwrap_err();
        assert_eq!(failure.code(), 4);
        let text = failure.to_string();
        assert!(
            text.starts_with("internal error: index 7 of 3 (at "),
            "{text}"
        );
        assert!(text.contains("failure.rs:"), "{text}");
        assert!(matches!(guarded(|| Ok(())), Ok(())));
    }
}
