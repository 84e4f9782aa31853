//! The C header of a model: the whole contract, without another file.

use crate::describe::target_text;
use crate::model::{Model, Port};
use mnnc_ir::DType;
use std::fmt::Write;

/// The runtime's header, whose ABI types every model's header repeats.
const RUNTIME: &str = include_str!("../../../../../runtime-min/include/mnnc.h");

fn abi_types() -> &'static str {
    let start = RUNTIME.find("#ifndef MNNC_ABI_TYPES").unwrap_or(0);
    let end = RUNTIME.find("/* --- end of the ABI types --- */").unwrap_or(RUNTIME.len());
    RUNTIME[start..end].trim_end()
}

/// How C spells the element type.
fn c_type(d: DType) -> &'static str {
    match d {
        DType::F32 => "float",
        DType::F64 => "double",
        DType::F16 | DType::BF16 | DType::U16 => "uint16_t",
        DType::I8 => "int8_t",
        DType::I16 => "int16_t",
        DType::I32 => "int32_t",
        DType::I64 => "int64_t",
        DType::U8 | DType::Bool => "uint8_t",
        DType::U32 => "uint32_t",
        DType::U64 => "uint64_t",
    }
}

/// Text that cannot end a comment or break a line.
fn comment(s: &str) -> String {
    s.replace("*/", "* /").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn ports(out: &mut String, name: &str, what: &str, ports: &[Port]) -> std::fmt::Result {
    let upper = name.to_uppercase();
    writeln!(out, "#define {upper}_NUM_{what}S {}", ports.len())?;
    for (i, p) in ports.iter().enumerate() {
        let dims: Vec<String> = p.dims.iter().map(usize::to_string).collect();
        writeln!(
            out,
            "/* {} {i}: {}, {}[{}] */",
            what.to_lowercase(),
            comment(&p.name),
            c_type(p.dtype),
            dims.join("][")
        )?;
        writeln!(out, "#define {upper}_{what}_{i}_BYTES {}u", p.bytes)?;
        writeln!(out, "#define {upper}_{what}_{i}_ELEMENTS {}u", p.bytes / p.dtype.size())?;
    }
    Ok(())
}

/// The text of `NAME.h`.
pub fn header(model: &Model) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_header(&mut out, model);
    out
}

fn write_header(out: &mut String, model: &Model) -> std::fmt::Result {
    let i = &model.interface;
    let (name, upper) = (&i.name, i.name.to_uppercase());
    writeln!(out, "/* {name}: a neural network as native code, made by mnnc {}.", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, " * For {}. ABI version {}.", target_text(model), crate::ABI_VERSION)?;
    writeln!(out, " *")?;
    writeln!(out, " *   void *workspace = aligned_alloc(64, {name}_workspace_size());")?;
    writeln!(out, " *   const void *inputs[] = {{ … }};   (one for each input, in order)")?;
    writeln!(out, " *   void *outputs[] = {{ … }};        (one for each output, in order)")?;
    writeln!(out, " *   if ({name}_run(inputs, outputs, workspace) != MNNC_OK) …")?;
    writeln!(out, " *")?;
    writeln!(out, " * Link with the object, archive or library that came with this file, and with -lm.")?;
    writeln!(out, " */")?;
    writeln!(out, "#ifndef MNNC_MODEL_{upper}_H\n#define MNNC_MODEL_{upper}_H\n")?;
    writeln!(out, "#include <stddef.h>\n#include <stdint.h>\n")?;
    writeln!(out, "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n")?;
    writeln!(out, "{}\n", abi_types())?;
    ports(out, name, "INPUT", &i.inputs)?;
    ports(out, name, "OUTPUT", &i.outputs)?;
    writeln!(out, "/* Bytes of workspace that a call needs. */")?;
    writeln!(out, "#define {upper}_WORKSPACE_BYTES {}u\n", model.workspace())?;
    writeln!(out, "/* The same at run time. */\nsize_t {name}_workspace_size(void);\n")?;
    writeln!(
        out,
        "/* Runs the model once on the calling thread. Inputs and outputs are dense, row-major, aligned to their elements, in\n \
         * the model's order; they must not overlap. The workspace is aligned to 64 bytes; what it holds before does not\n \
         * matter. No memory is allocated and no state kept: one call per workspace at a time, any number of workspaces.\n \
         * The first call has the system provide workspace and outputs at once, in large pages where they fill them, and\n \
         * map the weights unless loading the shared library did, by madvise, where it can.\n \
         * Returns MNNC_OK, MNNC_ERROR_CPU or MNNC_ERROR_ARGUMENT. */"
    )?;
    writeln!(out, "int {name}_run(const void *const *inputs, void *const *outputs, void *workspace);\n")?;
    writeln!(
        out,
        "/* The same on the threads of a pool; NULL runs on the calling thread. Also returns MNNC_ERROR_POOL. */"
    )?;
    writeln!(
        out,
        "int {name}_run_parallel(const void *const *inputs, void *const *outputs, void *workspace,\n    \
         mnnc_parallel *pool);\n"
    )?;
    writeln!(out, "/* Names, types, shapes, sizes, quantisation, ABI version, hash of the source model. */")?;
    writeln!(out, "extern const mnnc_model {name}_model;\n")?;
    writeln!(out, "#ifdef __cplusplus\n}}\n#endif\n\n#endif")
}
