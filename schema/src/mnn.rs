//! `.mnn`: the tables of `schema/mnn.fbs`.
//!
//! For each table there is a view of a verified buffer ([`Net`]) and an owned
//! form ([`NetT`]) whose `pack` writes it. [`root`] is the only way to a view:
//! it runs the FlatBuffers verifier, so that a view never reads out of bounds.
//! Meaning is not checked here: an index may point nowhere, a constant may
//! hold fewer elements than its dims say.

// Generated; type names are the format's own.
#![allow(clippy::all, dead_code, non_camel_case_types)]

use flatbuffers::VerifierOptions;

include!(concat!(env!("OUT_DIR"), "/mnn.rs"));

/// The most tables that a file may hold; MNN's own loader has the same bound.
const MAX_TABLES: usize = 1_000_000;

/// The model in `bytes`.
///
/// # Errors
/// What the FlatBuffers verifier found: an offset out of bounds or out of
/// alignment, text that is not UTF-8, tables nested deeper than 64.
pub fn root(bytes: &[u8]) -> Result<Net<'_>, InvalidFlatbuffer> {
    let options = VerifierOptions {
        max_depth: 64,
        max_tables: MAX_TABLES,
        // Strings and tables may be shared: what they seem to take may exceed the file.
        max_apparent_size: 1 << 31,
        ignore_missing_null_terminator: false,
    };
    flatbuffers::root_with_opts::<Net>(&options, bytes)
}

/// `net` as the bytes of a file. `capacity` is a guess at their number.
pub fn finish(net: NetT, capacity: usize) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::with_capacity(capacity);
    let root = net.pack(&mut builder);
    builder.finish(root, None);
    let (mut buffer, head) = builder.collapse();
    buffer.drain(..head);
    buffer
}
