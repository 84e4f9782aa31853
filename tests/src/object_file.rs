//! What is in an object file.

use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

/// What is in an object file.
#[derive(Debug)]
pub struct Contents {
    /// Symbols that someone else has to define.
    pub undefined: Vec<String>,
    /// Bytes of code.
    pub code: u64,
}

/// Reads an object file or shared library.
///
/// # Panics
/// If it is none.
pub fn read(path: &Path) -> Contents {
    let bytes = std::fs::read(path).expect("the file is there");
    let file = object::File::parse(&*bytes).expect("an object file");
    let undefined = file.symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok()).filter(|n| !n.is_empty());
    let undefined = undefined.map(str::to_owned).collect();
    let code = file.sections().filter(|s| s.kind() == SectionKind::Text).map(|s| s.size()).sum();
    Contents { undefined, code }
}
