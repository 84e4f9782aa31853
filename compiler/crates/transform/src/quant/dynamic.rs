//! `dynamic-quant`: products with compressed weights in integers, activations quantised at run time.
//!
//! `conv(x, dequantize_linear(q, s))` becomes
//! `cast(conv_integer(y, q)) * s * t + bias` with `y, t = dynamic_quantize_rows(x)`, and a product of matrices likewise. An activation
//! has one scale a row; a 1x1 convolution one a pixel; any other convolution one an image, because the pixels under a filter share a sum.
//! Activations that cannot be negative use the whole range of a byte.
//!
//! What changes is the rounding of activations, to 7 or 8 bits of the largest in a row. Weights stay what they are.

use super::lower::centred;
use super::weight::{Quantised, compressed};
use crate::pass::{Pass, PassCx};
use crate::pattern::{self, op, output};
use mnnc_ir::{Attrs, DType, Diagnostic, Graph, Node, NodeId, NodeSpec, OpError, Patch, Tensor, ValueId};
use mnnc_ops::family::conv::{self, ConvShape};

/// The pass: every product that can be.
pub const PASS: Pass = Pass {
    name: "dynamic-quant",
    doc: "products with 8-bit weights in integers, activations quantised at run time by row, pixel or image",
    options: &[],
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostic> {
    for n in crate::rules::order(g) {
        let name = g.node(n).op.name;
        if Product::read(g, n).and_then(|p| p.rewrite(g, n)).is_some_and(|plan| plan.apply(g).is_ok()) {
            cx.count(name);
        }
    }
    Ok(())
}

/// Input channels that a group must have: fewer, as of a first layer or a depthwise convolution, do not fill what is multiplied at once.
const CHANNELS: usize = 8;
/// Pixels, or rows, that must share the weights: fewer wait for the weights, which are as many bytes either way.
const PIXELS: usize = 8;
/// Bytes that are multiplied at once, and that the length of a row must be a multiple of.
const TOGETHER: usize = 4;

/// A product with compressed weights.
struct Product {
    x: ValueId,
    /// Weights as signed bytes, less their zero points; of matrices `[depth, columns]`.
    weights: Tensor,
    /// A scale for each output channel.
    scales: Vec<f32>,
    bias: Option<Vec<f32>>,
    /// Dimensions of `x` whose elements share a scale.
    axes: Vec<i64>,
    convolution: bool,
}

impl Product {
    fn read(g: &Graph, n: NodeId) -> Option<Product> {
        let node = g.node(n);
        let (x, w) = (node.input(0)?, node.input(1)?);
        if g.ty(x).dtype != DType::F32 || g.constant(x).is_some() || output(g, n).is_none() {
            return None;
        }
        let rank = g.ty(x).rank();
        match node.op.name {
            "conv" => {
                let facts = g.facts(n);
                let shape = conv::shape(&facts.of(node), 0, 1).ok()?;
                let (weights, scales) = signed_bytes(g, w, 0)?;
                let pixels: usize = shape.axes.iter().map(|a| a.output).product();
                if rank != 4 || shape.inputs < CHANNELS || pixels < PIXELS {
                    return None;
                }
                let bias = match node.input(2) {
                    Some(b) => Some(g.constant(b).filter(|t| t.dtype() == DType::F32)?.to_vec()),
                    None => None,
                };
                let axes = if is_point(&shape) { vec![1] } else { vec![1, 2, 3] };
                Some(Product { x, weights, scales, bias, axes, convolution: true })
            }
            "matmul" | "gemm" => {
                let flag = |name| pattern::flag(node, name).unwrap_or(false);
                let [trans_a, transposed] = ["transA", "transB"].map(flag);
                if trans_a || rank < 2 || g.ty(w).rank() != 2 {
                    return None;
                }
                let dims = g.ty(x).static_dims()?;
                let (depth, rows) = dims.split_last()?;
                if rows.iter().product::<usize>() < PIXELS || !depth.is_multiple_of(TOGETHER) {
                    return None;
                }
                let (weights, mut scales) = signed_bytes(g, w, if transposed { 0 } else { 1 })?;
                let weights = if transposed { transpose(&weights) } else { weights };
                let factor = |name| pattern::float(node, name).unwrap_or(1.0);
                let mut bias = None;
                if node.op.name == "gemm" {
                    scales.iter_mut().for_each(|s| *s *= factor("alpha"));
                    if let Some(c) = node.input(2) {
                        let t = g.constant(c).filter(|t| t.dtype() == DType::F32)?;
                        let columns = scales.len();
                        let row = t.len() == 1 || (t.len() == columns && t.dims().last() == Some(&columns));
                        let values = row.then(|| t.view::<f32>())?;
                        bias = Some((0..columns).map(|j| factor("beta") * values[j % values.len()]).collect());
                    }
                }
                Some(Product { x, weights, scales, bias, axes: vec![-1], convolution: false })
            }
            _ => None,
        }
    }

    fn rewrite(self, g: &Graph, n: NodeId) -> Option<mnnc_ir::Plan> {
        let node = g.node(n);
        let y = output(g, n)?;
        let mut p = Patch::at(g, n);
        let new = self.nodes(g, node, &mut p).ok()?;
        p.replace(y, new);
        Some(p.finish())
    }

    fn nodes(self, g: &Graph, node: &Node, p: &mut Patch) -> Result<ValueId, OpError> {
        let lookup = |name: &str| op(name).ok_or_else(|| OpError::invalid(format!("there is no op {name}")));
        let name = &node.name;
        let zero = if is_nonnegative(g, self.x, DEPTH) { 0u8 } else { 128 };
        let attrs = Attrs::new().with("axes", self.axes).with("zero_point", i64::from(zero));
        let rows = NodeSpec::new(lookup("dynamic_quantize_rows")?, [self.x]).attrs(attrs).named(format!("{name}.rows"));
        let rows = p.nodes(rows.outputs(["", ""]))?;
        let &[q, scale] = &rows[..] else { return Err(OpError::invalid("two results expected")) };
        let weights = p.constant(&format!("{name}.weights"), self.weights);
        let zero = p.constant(&format!("{name}.zero_point"), Tensor::scalar(zero));
        let sums = match self.convolution {
            true => NodeSpec::new(lookup("conv_integer")?, [q, weights, zero]).attrs(node.attrs.clone()),
            false => NodeSpec::new(lookup("matmul_integer")?, [q, weights, zero]),
        };
        let sums = p.node(sums.named(name.clone()))?;
        // Along the channels: dimension 1 of an image, the last of anything else.
        let along = |values: Vec<f32>| {
            let n = values.len();
            if self.convolution { Tensor::new([n, 1, 1], values) } else { Tensor::new([n], values) }
        };
        let factors = p.constant(&format!("{name}.scales"), along(self.scales));
        let mut y = p.node(NodeSpec::new(lookup("cast")?, [sums]).attrs(Attrs::new().with("to", DType::F32)))?;
        y = p.node(NodeSpec::new(lookup("mul")?, [y, factors]))?;
        y = p.node(NodeSpec::new(lookup("mul")?, [y, scale]))?;
        if let Some(bias) = self.bias {
            let bias = p.constant(&format!("{name}.bias"), along(bias));
            y = p.node(NodeSpec::new(lookup("add")?, [y, bias]))?;
        }
        Ok(y)
    }
}

/// Whether every output pixel reads the input pixel at its own place.
fn is_point(shape: &ConvShape) -> bool {
    shape.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.begin == 0 && a.output == a.input)
}

/// Compressed weights as signed bytes less their zero points, with a scale for each index of dimension `output`. `None` where scales lie
/// otherwise, or a difference does not fit.
fn signed_bytes(g: &Graph, w: ValueId, output: usize) -> Option<(Tensor, Vec<f32>)> {
    let w = Quantised::of(g, compressed(g, w)?).filter(|w| w.scale.dtype() == DType::F32)?;
    let (scale, zero) = w.per_index(output)?;
    // Half bytes would become whole ones.
    let bytes =
        matches!(w.stored.dtype(), DType::I8 | DType::U8) && !matches!(pattern::int(w.node, "bits"), Some(1..=4));
    let signed = bytes.then(|| centred(w.stored, output, &zero))??;
    Some((signed, scale.into_iter().map(|s| s as f32).collect()))
}

fn transpose(t: &Tensor) -> Tensor {
    let (rows, cols) = (t.dims()[0], t.dims()[1]);
    let values = t.view::<i8>();
    Tensor::new([cols, rows], (0..rows * cols).map(|i| values[i % rows * cols + i / rows]).collect::<Vec<i8>>())
}

/// Nodes that are looked through.
const DEPTH: usize = 8;

/// Whether no element of the value is negative, whatever the input.
fn is_nonnegative(g: &Graph, v: ValueId, depth: usize) -> bool {
    let Some(n) = g.producer(v).filter(|_| depth > 0) else { return false };
    let node = g.node(n);
    let of = |i: usize| node.input(i).is_some_and(|x| is_nonnegative(g, x, depth - 1));
    match node.op.name {
        "relu" | "sigmoid" | "hard_sigmoid" | "softmax" | "abs" | "exp" | "sqrt" => true,
        "clip" => node.input(1).and_then(|c| pattern::scalar(g, c)).is_some_and(|low| low >= 0.0) || of(0),
        "max_pool"
        | "average_pool"
        | "global_average_pool"
        | "global_max_pool"
        | "reshape"
        | "flatten"
        | "transpose"
        | "identity"
        | "slice"
        | "squeeze"
        | "unsqueeze" => of(0),
        "add" | "mul" => of(0) && of(1),
        "concat" => !node.inputs().is_empty() && (0..node.inputs().len()).all(of),
        _ => false,
    }
}
