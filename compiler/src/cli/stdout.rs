//! Data on stdout. A reader that has seen enough (`| head`) is no failure.

use std::io::Write;

/// Prints `text` as it is.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints a JSON value and a newline.
pub fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}\n"));
}
