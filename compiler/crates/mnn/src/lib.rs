//! `.mnn` files: a writer for graphs, and a summary of what a file holds. The reader is a frontend of `mnnc-import`.
//!
//! [`write`] takes the optimised float graph (plain layouts, no native fusions) to a file that MNN 3.6 loads:
//!
//! 1. [`lower`]: each node by the rule of its op ([`rules`], one family a file). An op that MNN lacks is decomposed;
//!    an element-wise one by its formula ([`scalar`]). What cannot be said is refused, all nodes at once.
//! 2. [`fuse`]: biases and activations go into convolutions, reshapes of reshapes become one, dead ops go.
//! 3. [`layout`]: where tensors are packed by channel, with explicit conversions.
//! 4. [`pack`]: the bytes. Defaults and unused fields take no room; equal constants are stored once; the model's id is
//!    a hash of the file, so equal models give equal bytes.
//!
//! Constants that the graph holds compressed stay so ([`weights`]).
//!
//! Run-time types in MNN are fewer than in the graph: `i64` and `bool` tensors are int32 there, at graph inputs and
//! outputs too (MNN's own converter has it so).

mod cx;
mod error;
mod external;
mod fuse;
mod int8;
mod layout;
mod lower;
mod net;
mod pack;
mod rules;
mod scalar;
mod summary;
mod weights;

pub use error::{Unsupported, WriteError};
pub use summary::{Port, Summary, SummaryError, summary};

use mnnc_ir::Graph;

/// What the file is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteOptions {
    /// What MNN's converter calls `--optimizeLevel`. 0: ops stand in the file as they stand in the graph. 1 and 2: biases and
    /// activations go into convolutions, and reshapes of reshapes become one.
    ///
    /// Every level is right for every input. MNN's level 2 takes indices computed at run time to be in range and drops
    /// the fix-up of negative ones; here it goes, at any level, where the graph shows that none is negative (`arg_max`,
    /// `shape` and their kin). The levels' graph rewrites happen before the writer.
    pub opt_level: u8,
    /// Whether the file should rather be small or fast.
    pub prefer: Prefer,
    /// Whether a product with constant weights may become a 1x1 convolution. Only as such are its weights compressed.
    pub products_as_convolutions: bool,
    /// Whether weights of convolutions that are no normal numbers become 0.
    pub flush_subnormals: bool,
    /// Whether weights go into a file of their own ([`File::weights`]).
    pub external_weights: bool,
    /// What the file says that it is for.
    pub biz_code: String,
    /// What it says of who may use it, if anything.
    pub auth_code: Option<String>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            opt_level: 1,
            prefer: Prefer::Normal,
            products_as_convolutions: true,
            flush_subnormals: false,
            external_weights: false,
            biz_code: "MNN".into(),
            auth_code: None,
        }
    }
}

/// How many readers a shared weight may have before it stays one constant instead of a copy in each reader.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Prefer {
    /// Up to four.
    #[default]
    Normal,
    /// One: no weight is stored twice.
    Size,
    /// Up to a hundred: every reader has its weight in the form that the engine packs once.
    Speed,
}

impl Prefer {
    /// The most readers for which a weight is copied.
    pub(crate) fn sharing_limit(self) -> usize {
        match self {
            Prefer::Normal => 4,
            Prefer::Size => 1,
            Prefer::Speed => 100,
        }
    }
}

/// A file of the format holds less than this: its offsets are 31 bits.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// What [`write_file`] made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// The `.mnn` file.
    pub model: Vec<u8>,
    /// The file of weights, which the engine looks for as `NAME.mnn.weight`; only with [`WriteOptions::external_weights`].
    pub weights: Option<Vec<u8>>,
    /// What the user should know: compressed weights that the format has no code for.
    pub notes: Vec<String>,
}

/// Writes `graph` as a `.mnn` file. Graph inputs and outputs keep name, order, element type (as far as MNN has it, see
/// the crate's documentation) and shape. Equal graphs and options give equal bytes.
///
/// Weights that the graph holds compressed are stored so: integer constants behind `dequantize_linear` in 2 to 8 bits, `f16`
/// constants behind `cast` in half precision.
///
/// A pair `quantize_linear`, `dequantize_linear` makes the tensor an `i8` one in the file, and convolutions between such tensors compute on
/// integers.
///
/// # Errors
/// [`WriteError::Unsupported`] lists every node that has no form in the format; [`WriteError::TooLarge`] if the
/// weights exceed what a file can hold.
pub fn write_file(graph: &Graph, options: &WriteOptions) -> Result<File, WriteError> {
    let mut net = lower::lower(graph, options)?;
    if options.opt_level > 0 {
        fuse::collapse_reshapes(&mut net);
        fuse::fuse_biases(&mut net);
        fuse::fuse_activations(&mut net);
    }
    fuse::drop_dead(&mut net);
    layout::assign(&mut net);
    int8::mark(&mut net);
    let notes = std::mem::take(&mut net.notes);
    let bytes = pack::weight_bytes(&net);
    if bytes >= MAX_BYTES && !options.external_weights {
        return Err(WriteError::TooLarge { bytes });
    }
    let (model, weights) = pack::pack(net, options, usize::try_from(bytes).unwrap_or(0));
    if model.len() as u64 >= MAX_BYTES {
        return Err(WriteError::TooLarge { bytes: model.len() as u64 });
    }
    Ok(File { model, weights, notes })
}

/// The `.mnn` file alone.
///
/// # Errors
/// As [`write_file`].
pub fn write(graph: &Graph, options: &WriteOptions) -> Result<Vec<u8>, WriteError> {
    let options = WriteOptions { external_weights: false, ..options.clone() };
    write_file(graph, &options).map(|file| file.model)
}
