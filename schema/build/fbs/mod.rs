//! A compiler for the part of the FlatBuffers schema language that `mnn.fbs`
//! uses: enums, tables and one kind of union. It exists because flatc would
//! need CMake and a download on every machine that builds this crate; the
//! output needs nothing but the `flatbuffers` crate.

mod emit;
mod json;
mod parse;

/// Rust source for the schema text, or a message that names the line at fault.
pub fn compile(schema: &str) -> Result<String, String> {
    let schema = parse::parse(schema)?;
    emit::emit(&schema)
}
