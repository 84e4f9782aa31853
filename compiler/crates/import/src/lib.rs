//! Frontends: the bytes of a model file become a [`Graph`].
//!
//! [`load`] finds the format from the content ([`Format`]), maps the file ([`Source`]) within [`Limits`], and runs the
//! frontend. A file is hostile until checked: nothing in it makes an import panic, hang, or take more memory than the
//! limits say. Either the whole graph comes back, every value typed, or [`Diagnostics`] with everything that is wrong.
//!
//! ONNX has a frontend ([`onnx`]), and so has `.mnn` (`mnn`). The other formats are recognised, so that their files get a
//! fitting message; a frontend for one is a folder here, a variant of [`Format`] and an arm of [`load`]. What frontends
//! share is in `build`.

mod build;
mod format;
mod limits;
mod mnn;
pub mod onnx;
mod source;
mod warning;

pub use format::Format;
pub use limits::Limits;
pub use source::Source;
pub use warning::Warning;

use mnnc_ir::Graph;
use mnnc_ir::diag::{Diagnostic, Diagnostics};
use std::path::Path;

/// What a caller may ask of an import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The format; found from the content when `None`.
    pub format: Option<Format>,
    /// Shapes of inputs by name, for those that the model leaves open.
    pub shapes: Vec<(String, Vec<u64>)>,
    /// Bounds.
    pub limits: Limits,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// What is odd but does no harm.
    pub warnings: Vec<Warning>,
    /// BLAKE3 of the model file.
    pub source_hash: [u8; 32],
    /// Size in bytes of the model file and the external data that it uses.
    pub source_bytes: u64,
    /// The format that it was in.
    pub format: Format,
    /// Version of the standard operator set, where the format has such.
    pub opset: Option<i64>,
    /// The tool that wrote the model, as the model says.
    pub producer: String,
    /// How results of quantised ops are rounded.
    pub rounding: Rounding,
}

/// Whose arithmetic the quantised ops of a model mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Rounding {
    /// ONNX's: to the nearest, halves to even, of what `f32` gives.
    #[default]
    Onnx,
    /// That of MNN's kernels on integers.
    Mnn,
}

/// Imports the model at `path`.
///
/// # Errors
/// Everything that is wrong with the file, or everything in it that is not supported.
pub fn load(path: &Path, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    load_source(Source::open(path, &options.limits)?, options)
}

/// Imports an ONNX model in memory. External data is out of reach.
///
/// # Errors
/// As [`load`].
pub fn load_onnx_bytes(bytes: Vec<u8>, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let options = ImportOptions { format: Some(Format::Onnx), ..options.clone() };
    load_source(Source::from_bytes("model", bytes, &options.limits)?, &options)
}

/// Imports a `.mnn` file in memory. Weights beside it are out of reach.
///
/// # Errors
/// As [`load`].
pub fn load_mnn_bytes(bytes: Vec<u8>, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let options = ImportOptions { format: Some(Format::Mnn), ..options.clone() };
    load_source(Source::from_bytes("model", bytes, &options.limits)?, &options)
}

fn load_source(mut source: Source, options: &ImportOptions) -> Result<Imported, Diagnostics> {
    let path = source.path().to_path_buf();
    let format = match options.format {
        Some(f) => f,
        None => Format::detect(source.bytes()).map_err(|what| {
            Diagnostic::bad_input(format!("not a model: the file is {what}"))
                .file(path.display())
                .remedy("give an ONNX model or a .mnn file, or name its format with --from")
        })?,
    };
    match format {
        Format::Onnx => onnx::import(&mut source, options),
        Format::Mnn => mnn::import(&mut source, options),
        other => Err(Diagnostic::unsupported(format!("{} models cannot be read yet", other.name()))
            .file(path.display())
            .remedy("convert it to ONNX")
            .into()),
    }
}
