//! `lower-row`: windows over one dimension are windows over images of one row, which native code has kernels for.
//!
//! Every such op stands between two views. What is element-wise between two of them, and what joins channels, moves above the view, so that
//! the views meet and vanish, and a whole network of one dimension becomes one of images.

use crate::fuse::pool::pooling;
use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Attr, Attrs, Graph, Node, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "lower-row",
    doc: "turn convolutions, pools and resizes over one dimension into those of images of one row",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "window over images of one row", roots: WINDOWS, rewrite: window },
    Rule { name: "resize of images of one row", roots: &["resize"], rewrite: resize },
    Rule { name: "element-wise on images of one row", roots: &[], rewrite: elementwise },
    Rule { name: "concat of images of one row", roots: &["concat"], rewrite: concat },
    Rule { name: "reduction of images of one row", roots: &["reduce_mean", "reduce_max"], rewrite: reduction },
];

/// Ops over batch, channels and a window of further dimensions.
const WINDOWS: &[&str] = &[
    "conv",
    "conv_integer",
    "conv_transpose",
    "conv_transpose_integer",
    "average_pool",
    "max_pool",
    "global_average_pool",
    "global_max_pool",
    "instance_normalization",
];

/// Whether the second operand is a filter.
fn has_filter(node: &Node) -> bool {
    matches!(node.op.name, "conv" | "conv_integer" | "conv_transpose" | "conv_transpose_integer")
}

/// Where the dimension of size 1 stands.
const ROW: usize = 2;

/// The shape of images of one row, of a value of batch, channels and one dimension.
fn lifted(dims: &[usize]) -> Option<Vec<usize>> {
    let &[n, c, len] = dims else { return None };
    Some(vec![n, c, 1, len])
}

/// The value seen as images of one row.
fn image(p: &mut Patch, v: ValueId) -> Option<ValueId> {
    let dims = lifted(&dims(p.graph(), v)?)?;
    // The view's operand, where it is one of such images.
    match behind(p.graph(), v) {
        Some(x) => Some(x),
        None => reshaped(p, v, &dims),
    }
}

/// What `v` is a view of, if that is images of one row.
fn behind(g: &Graph, v: ValueId) -> Option<ValueId> {
    let x = g.node(g.producer_of(v, "reshape")?).input(0)?;
    (dims(g, x)? == lifted(&dims(g, v)?)?).then_some(x)
}

/// A copy of the node on other operands, its result seen as that of the node.
fn replaced(mut p: Patch, n: NodeId, inputs: Vec<Option<ValueId>>, attrs: Attrs) -> Option<Plan> {
    let g = p.graph();
    let (node, y) = (g.node(n), output(g, n)?);
    let to = dims(g, y)?;
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(attrs).named(node.name.clone()) };
    let z = p.node(spec).ok()?;
    if p.ty(z).static_dims()? != lifted(&to)? {
        return None;
    }
    let back = reshaped(&mut p, z, &to)?;
    p.replace(y, back);
    Some(p.finish())
}

/// window(x) = view(window(view(x))), with a window of one row
fn window(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    lifted(&dims(g, x)?)?;
    let mut attrs = node.attrs.clone();
    for (name, per_side, neutral) in [
        ("kernel_shape", 1, 1),
        ("strides", 1, 1),
        ("dilations", 1, 1),
        ("output_shape", 1, 1),
        ("pads", 2, 0),
        ("output_padding", 1, 0),
    ] {
        let Some(Attr::Ints(own)) = node.attrs.get(name) else { continue };
        if own.len() != per_side {
            return None;
        }
        attrs.set(name, own.iter().flat_map(|&i| [neutral, i]).collect::<Vec<i64>>());
    }
    let mut p = Patch::at(g, n);
    let mut inputs = node.inputs().to_vec();
    inputs[0] = Some(image(&mut p, x)?);
    if let Some(w) = node.input(1).filter(|_| has_filter(node)) {
        let shape = lifted(&dims(g, w)?)?;
        inputs[1] = Some(reshaped(&mut p, w, &shape)?);
    }
    replaced(p, n, inputs, attrs)
}

/// resize(x) = view(resize(view(x))), its row resized by 1
fn resize(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let x = node.input(0)?;
    lifted(&dims(g, x)?)?;
    if node.attrs.get("axes").is_some() || string(node, "coordinate_transformation_mode")? == "tf_crop_and_resize" {
        return None;
    }
    let mut p = Patch::at(g, n);
    let mut inputs = node.inputs().to_vec();
    inputs[0] = Some(image(&mut p, x)?);
    if let Some(region) = inputs.get_mut(1) {
        *region = None;
    }
    for i in 2..inputs.len() {
        let Some(v) = inputs[i] else { continue };
        let t = g.constant(v)?;
        if t.len() != 3 {
            return None;
        }
        let t = if i == 2 {
            let mut scales = t.to_vec::<f32>();
            scales.insert(ROW, 1.0);
            Tensor::new(vec![4], scales)
        } else {
            let mut sizes = t.to_i64s()?;
            sizes.insert(ROW, 1);
            Tensor::ints(&sizes)
        };
        inputs[i] = Some(p.constant(&g.value(v).name, t));
    }
    replaced(p, n, inputs, node.attrs.clone())
}

/// f(view(x), y) = view(f(x, view(y)))
fn elementwise(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    if !g.is_elementwise(n) || !node.regions.is_empty() {
        return None;
    }
    let to = dims(g, output(g, n)?)?;
    lifted(&to)?;
    let from_image = |v: &ValueId| dims(g, *v).as_ref() == Some(&to) && behind(g, *v).is_some();
    node.inputs().iter().flatten().find(|v| from_image(v))?;
    let mut p = Patch::at(g, n);
    let inputs = operands(&mut p, n, operand)?;
    replaced(p, n, inputs, node.attrs.clone())
}

/// An operand of an element-wise op: its last dimensions stay the last, a row stands before the last one.
fn operand(p: &mut Patch, v: ValueId) -> Option<ValueId> {
    let own = dims(p.graph(), v)?;
    match own[..] {
        [] | [_] => Some(v),
        [c, len] => reshaped(p, v, &[c, 1, len]),
        [_, _, _] => image(p, v),
        _ => None,
    }
}

/// reduce(view(x)) over all but batch and channels = view(pool(x))
fn reduction(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let y = output(g, n)?;
    let (axes, _) = reduced(g, n)?;
    let x = behind(g, g.node(n).input(0)?).filter(|&x| axes == [ROW] && g.ty(x).dtype.is_float())?;
    let mut p = Patch::at(g, n);
    let pooled = p.node(NodeSpec::new(op(pooling(g.node(n).op.name)?)?, [x]).named(g.node(n).name.clone())).ok()?;
    let back = reshaped(&mut p, pooled, &dims(g, y)?)?;
    p.replace(y, back);
    Some(p.finish())
}

/// concat(view(x), y) = view(concat(x, view(y)))
fn concat(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    lifted(&dims(g, output(g, n)?)?)?;
    let along = axis(int(node, "axis")?, ROW + 1)?;
    node.inputs().iter().flatten().find(|&&v| behind(g, v).is_some())?;
    let mut p = Patch::at(g, n);
    let inputs = operands(&mut p, n, image)?;
    let along = if along < ROW { along } else { along + 1 };
    replaced(p, n, inputs, Attrs::new().with("axis", along as i64))
}
