//! Static libraries of one object, in the System V format with a symbol index, which GNU ld demands. Owner, time and mode
//! are fixed, so that equal models give equal bytes.

use crate::model::Model;
use std::io::{self, Read, Seek, SeekFrom, Write};

const MAGIC: &[u8] = b"!<arch>\n";
/// Size of a member's header.
const HEADER: usize = 60;

/// The global symbols of a model.
fn symbols(name: &str) -> [String; 4] {
    ["_model", "_run", "_run_parallel", "_workspace_size"].map(|s| format!("{name}{s}"))
}

/// Writes an archive of the object in `object`.
pub(super) fn write_archive(model: &Model, object: &mut (impl Read + Seek), to: &mut dyn Write) -> io::Result<()> {
    let name = &model.interface.name;
    let size = object.seek(SeekFrom::End(0))?;
    object.seek(SeekFrom::Start(0))?;
    // The member's name, too long for its header, stands in the table `//`.
    let names = even(format!("{name}.o/\n").into_bytes());
    let symbols = symbols(name);
    let texts: usize = symbols.iter().map(|s| s.len() + 1).sum();
    let index_len = (4 + 4 * symbols.len() + texts).next_multiple_of(2);
    let member = MAGIC.len() + HEADER + index_len + HEADER + names.len();
    let member = u32::try_from(member).map_err(io::Error::other)?;
    let mut index = (symbols.len() as u32).to_be_bytes().to_vec();
    index.extend(symbols.iter().flat_map(|_| member.to_be_bytes()));
    index.extend(symbols.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()));
    let index = even(index);
    to.write_all(MAGIC)?;
    write_header(to, "/", index.len() as u64)?;
    to.write_all(&index)?;
    write_header(to, "//", names.len() as u64)?;
    to.write_all(&names)?;
    write_header(to, "/0", size)?;
    io::copy(object, to)?;
    if size % 2 == 1 {
        to.write_all(b"\n")?;
    }
    to.flush()
}

fn even(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() % 2 == 1 {
        bytes.push(if bytes.ends_with(b"\n") { b'\n' } else { 0 });
    }
    bytes
}

fn write_header(to: &mut dyn Write, name: &str, size: u64) -> io::Result<()> {
    writeln!(to, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 644)
}
