//! The zoo: standard image networks with seeded weights, written as ONNX.
//!
//! Each network has the structure that `torch.onnx.export` (opset 17) gives for
//! torchvision's model of the same name: the same nodes in the same order, the
//! same widths and attributes, the same weight names, one input `input`
//! f32\[N,3,H,W\] and one output `output` f32\[N,1000\]. The weights are random but
//! sane: every batch norm's running statistics match what its convolution
//! produces, so that activations neither vanish nor explode and the output
//! depends on the picture. Same name, same options: same bytes.
//!
//! ```
//! let options = mnnc::zoo::Options { size: (64, 64), ..Default::default() };
//! let model = mnnc::zoo::build("squeezenet1_1", &options)?;
//! assert_eq!(model.graph.unwrap().output[0].name, "output");
//! # Ok::<(), mnnc::zoo::ZooError>(())
//! ```

mod efficientnet;
mod encode;
mod layers;
mod mobilenet_v2;
mod mobilenet_v3;
mod normal;
mod probe;
mod resnet;
mod shapes;
mod shufflenet;
mod squeezenet;
mod vit;
mod weights;
mod writer;

pub use encode::write;

use mnnc_schema::onnx::ModelProto;

use layers::{Net, Value};

/// How to build a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of all weights.
    pub seed: u64,
    /// N of the input.
    pub batch: usize,
    /// Declare N as the symbol `batch`; shapes are then computed in the graph.
    pub dynamic_batch: bool,
    /// Height and width of the input, in pixels.
    pub size: (usize, usize),
    /// Write what an export without constant folding has: batch norms as nodes,
    /// transposed weights and shape arithmetic.
    pub unfolded: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { seed: 0, batch: 1, dynamic_batch: false, size: (224, 224), unfolded: false }
    }
}

/// Why a network was not built.
#[derive(Debug, PartialEq, Eq)]
pub enum ZooError {
    /// No network has this name.
    UnknownName(String),
    /// The network cannot take this input.
    Input(String),
}

impl std::error::Error for ZooError {}

impl std::fmt::Display for ZooError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ZooError::UnknownName(name) => {
                write!(f, "no network `{name}` in the zoo; there are: {}", names().join(", "))
            }
            ZooError::Input(reason) => f.write_str(reason),
        }
    }
}

type Architecture = fn(&mut Net, Value) -> Value;

/// Name, smallest height and width, architecture.
const NETWORKS: [(&str, usize, Architecture); 8] = [
    ("mobilenet_v2", 1, mobilenet_v2::network),
    ("mobilenet_v3_large", 1, mobilenet_v3::large),
    ("efficientnet_b0", 1, efficientnet::b0),
    ("shufflenet_v2_x1_0", 1, shufflenet::x1_0),
    ("squeezenet1_1", 17, squeezenet::v1_1),
    ("resnet18", 1, resnet::resnet18),
    ("resnet50", 1, resnet::resnet50),
    ("vit_b_32", 32, vit::b_32),
];

/// The names that [`build`] knows.
pub fn names() -> Vec<&'static str> {
    NETWORKS.iter().map(|&(name, ..)| name).collect()
}

/// Builds the network `name`.
///
/// # Errors
/// The name is unknown, or the network cannot take the input that `options` asks for.
pub fn build(name: &str, options: &Options) -> Result<ModelProto, ZooError> {
    let &(_, smallest, architecture) =
        NETWORKS.iter().find(|&&(known, ..)| known == name).ok_or_else(|| ZooError::UnknownName(name.into()))?;
    check_input(name, smallest, options)?;
    let mut net = Net::new(options);
    let input = net.input();
    let output = architecture(&mut net, input);
    Ok(net.finish(output))
}

/// Largest extent that the zoo writes: far beyond use, and no size overflows.
const MAX_EXTENT: usize = 1 << 14;

fn check_input(name: &str, smallest: usize, options: &Options) -> Result<(), ZooError> {
    let (height, width) = options.size;
    if options.batch == 0 || options.batch > MAX_EXTENT {
        return Err(ZooError::Input(format!("batch must be 1 to {MAX_EXTENT}, not {}", options.batch)));
    }
    for extent in [height, width] {
        if extent < smallest || extent > MAX_EXTENT {
            return Err(ZooError::Input(format!(
                "{name} takes pictures of {smallest} to {MAX_EXTENT} pixels a side, not {height}x{width}"
            )));
        }
    }
    if name == "vit_b_32" && (height % 32 != 0 || width % 32 != 0) {
        return Err(ZooError::Input(format!(
            "vit_b_32 cuts the picture into patches of 32x32: {height}x{width} is not a multiple"
        )));
    }
    Ok(())
}
