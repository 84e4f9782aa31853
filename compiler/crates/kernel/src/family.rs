//! The kernel families: who lowers which node, and what a family may ask of the lowering.

use crate::cost::Planner;
use crate::lowering::Lowering;
use crate::storage::Halo;
use mnnc_ir::scalar::ScalarFn;
use mnnc_ir::{Graph, Node, NodeId, OpError, ValueId};
use mnnc_vector::Target;

/// A node as a family sees it: an anchor (convolution, pooling, softmax, …) and the element-wise chain fused behind it, perhaps with
/// what dequantises its data in front.
/// A plain node is an anchor without an epilogue; an element-wise node, or a fused chain of such, is an epilogue alone.
/// Made by [`crate::view::view`].
pub struct View<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// Decides how products are computed; says for which core.
    pub planner: &'g Planner,
    /// The node of the main region.
    pub node: NodeId,
    /// The anchor: `node` itself, or the first node of its `fused` region.
    pub anchor: Option<&'g Node>,
    /// Id of the anchor.
    pub anchor_id: Option<NodeId>,
    /// Inputs of the anchor, as values of the main region; absent optional ones are `None`.
    pub inputs: Vec<Option<ValueId>>,
    /// What happens to each element of the first input before the anchor reads it: `Arg(0)` is the element. Only families that
    /// [say so](Family::reads_prologue) get to see such a node.
    pub prologue: Option<ScalarFn>,
    /// What happens to each element of the anchor's result.
    pub epilogue: Option<Epilogue>,
    /// Results of the node in the main region.
    pub outputs: Vec<ValueId>,
}

/// An element-wise chain as one formula. `Arg(0)` is the anchor's element (if there is an anchor), the following
/// arguments are the elements of `sides` at the same position, broadcast as ONNX does. Equal shape to the anchor's result.
#[derive(Clone, Debug)]
pub struct Epilogue {
    /// The formula.
    pub f: ScalarFn,
    /// Operands besides the anchor's result, as values of the main region. Constants of one element are literals of
    /// the formula and not listed.
    pub sides: Vec<ValueId>,
}

/// How a reader would like to find a value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Any storage will do.
    Any,
    /// Dense, row-major.
    Plain,
    /// In channel blocks of the target's lanes, with at least this border.
    Blocked(Halo),
    /// In blocks of twice as many channels rounded to bf16, with at least this zero border; what fills up the last block is zero.
    Reduced(Halo),
    /// The channels of a pixel together, in blocks of the target's lanes, with at least this border: what AMX tiles read of bytes. What is
    /// there as [`Wish::Blocked`] is not copied.
    Interleaved(Halo),
    /// In channel blocks, [`Wish::Blocked`], [`Wish::Reduced`] or [`Wish::Interleaved`], whichever is there.
    Image(Halo),
    /// Dense, row-major, rounded to bf16.
    PlainReduced,
    /// Channel by channel, each plane with at least this zero border: what a first layer with its few channels reads.
    Planar(Halo),
    /// The channels of a pixel together, in blocks of four, with at least this border: what a first layer on bytes reads.
    Pixels(Halo),
}

/// A family of kernels: one generator with its parameters.
pub trait Family: Sync {
    /// Name, first part of the names of its kernels.
    fn name(&self) -> &'static str;
    /// Whether this family knows of what may happen to the anchor's first input.
    fn reads_prologue(&self) -> bool {
        false
    }
    /// Whether this family lowers the node on this target, and if so in which form it wants which value. Values not
    /// listed are `Any`.
    fn take(&self, view: &View, target: &Target) -> Option<Vec<(ValueId, Wish)>>;
    /// Emits the steps of a node that [`take`](Self::take) accepted.
    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError>;
}
