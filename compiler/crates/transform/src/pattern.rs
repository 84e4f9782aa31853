//! Small questions that rules ask.

use mnnc_ir::{Attrs, Graph, Node, NodeId, NodeSpec, OpDecl, Patch, Tensor, ValueId};

/// The declaration of an op. A rule that needs an op which does not exist does not fit.
pub fn op(name: &str) -> Option<&'static OpDecl> {
    mnnc_ops::lookup(name)
}

/// The value of a constant with one element, as `f64`.
pub fn scalar(g: &Graph, v: ValueId) -> Option<f64> {
    let t = g.constant(v)?;
    if t.len() == 1 { t.to_f64s().first().copied() } else { None }
}

/// Whether `v` is a constant all of whose elements are `x`.
pub fn is_all(g: &Graph, v: ValueId, x: f64) -> bool {
    g.constant(v).is_some_and(|t| !t.is_empty() && t.to_f64s().iter().all(|&e| e == x))
}

/// Whether `v` is one element within rounding of `x`: exporters round constants such as 1/√2 to f32 or f16.
pub fn is_about(g: &Graph, v: ValueId, x: f64) -> bool {
    scalar(g, v).is_some_and(|e| (e - x).abs() <= 1e-3 * x.abs())
}

/// Values of a constant integer operand.
pub fn ints(g: &Graph, v: ValueId) -> Option<Vec<i64>> {
    g.constant(v)?.to_i64s()
}

/// Both orders of a node's first two operands.
pub fn either(g: &Graph, n: NodeId) -> Option<[(ValueId, ValueId); 2]> {
    let (a, b) = (g.node(n).input(0)?, g.node(n).input(1)?);
    Some([(a, b), (b, a)])
}

/// The operand of a binary node that is one element and `x`; returns the other.
pub fn other_than(g: &Graph, n: NodeId, x: f64) -> Option<ValueId> {
    either(g, n)?.into_iter().find(|&(_, c)| is_about(g, c, x)).map(|(v, _)| v)
}

/// The only output of a node.
pub fn output(g: &Graph, n: NodeId) -> Option<ValueId> {
    match g.node(n).outputs() {
        [v] => Some(*v),
        _ => None,
    }
}

/// The node behind `v`, if it is of this op and `v` has no other reader.
pub fn sole(g: &Graph, v: ValueId, name: &str) -> Option<NodeId> {
    let n = g.producer_of(v, name)?;
    (g.use_count(v) == 1 && g.node(n).outputs().len() == 1).then_some(n)
}

/// Static shape of a value.
pub fn dims(g: &Graph, v: ValueId) -> Option<Vec<usize>> {
    g.ty(v).static_dims()
}

/// Whether two values are known to have one shape.
pub fn same_shape(g: &Graph, a: ValueId, b: ValueId) -> bool {
    g.ty(a).dims == g.ty(b).dims
}

/// An attribute, explicit or by default.
macro_rules! attr_reader {
    ($(#[$doc:meta])* $name:ident, $t:ty, $variant:ident) => {
        $(#[$doc])*
        pub fn $name(node: &Node, name: &str) -> Option<$t> {
            let default = || node.op.attr(name).and_then(|a| a.default).map(mnnc_ir::Attr::from);
            match node.attrs.get(name).cloned().or_else(default) {
                Some(mnnc_ir::Attr::$variant(x)) => Some(x),
                _ => None,
            }
        }
    };
}
attr_reader!(
    /// An integer attribute.
    int, i64, Int
);
attr_reader!(
    /// A float attribute.
    float, f32, Float
);
attr_reader!(
    /// An integer-list attribute.
    int_list, Vec<i64>, Ints
);
attr_reader!(
    /// A string attribute.
    string, String, Str
);
attr_reader!(
    /// A flag attribute.
    flag, bool, Bool
);
attr_reader!(
    /// An element-type attribute.
    dtype, mnnc_ir::DType, DType
);

/// A patch that replaces the only output of `n` by one new node.
pub fn replace_by(
    g: &Graph,
    n: NodeId,
    name: &str,
    inputs: impl IntoIterator<Item = ValueId>,
    attrs: Attrs,
) -> Option<mnnc_ir::Plan> {
    let mut p = Patch::at(g, n);
    let y = p.node(NodeSpec::new(op(name)?, inputs).attrs(attrs)).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}

/// A patch that replaces the only output of `n` by a value that is there already.
pub fn replace_with(g: &Graph, n: NodeId, v: ValueId) -> Option<mnnc_ir::Plan> {
    let mut p = Patch::at(g, n);
    p.replace(output(g, n)?, v);
    Some(p.finish())
}

/// A patch that replaces the only output of `n` by a constant.
pub fn replace_by_constant(g: &Graph, n: NodeId, t: Tensor) -> Option<mnnc_ir::Plan> {
    let y = output(g, n)?;
    let mut p = Patch::at(g, n);
    let c = p.constant(&g.value(y).name, t);
    p.replace(y, c);
    Some(p.finish())
}

/// A dimension number that may count from the end.
pub fn axis(i: i64, rank: usize) -> Option<usize> {
    let i = if i < 0 { i.checked_add(rank as i64)? } else { i };
    usize::try_from(i).ok().filter(|&a| a < rank)
}

/// The dimensions that a reduction runs over, sorted, and whether they stay.
pub fn reduced(g: &Graph, n: NodeId) -> Option<(Vec<usize>, bool)> {
    let node = g.node(n);
    let rank = g.ty(node.input(0)?).rank();
    let mut axes: Vec<usize> = match node.input(1) {
        Some(v) => ints(g, v)?.into_iter().map(|i| axis(i, rank)).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    if axes.is_empty() {
        if flag(node, "noop_with_empty_axes")? {
            return None;
        }
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    Some((axes, flag(node, "keepdims")?))
}

/// The operands of a node, each that is there replaced.
pub fn operands(
    p: &mut Patch,
    n: NodeId,
    mut replace: impl FnMut(&mut Patch, ValueId) -> Option<ValueId>,
) -> Option<Vec<Option<ValueId>>> {
    let own = p.graph().node(n).inputs();
    own.iter().map(|v| v.map_or(Some(None), |v| replace(p, v).map(Some))).collect()
}

/// A reshape of `x` to known sizes, or `x` itself if it has them.
pub fn reshaped(p: &mut Patch, x: ValueId, dims: &[usize]) -> Option<ValueId> {
    let shape: Vec<i64> = dims.iter().map(|&d| i64::try_from(d).ok()).collect::<Option<_>>()?;
    if p.ty(x).static_dims().as_deref() == Some(dims) {
        return Some(x);
    }
    let shape = p.constant("shape", Tensor::ints(&shape));
    // A size of 0 must not be read as "copy".
    let attrs = if dims.contains(&0) { Attrs::new().with("allowzero", true) } else { Attrs::new() };
    p.node(NodeSpec::new(op("reshape")?, [x, shape]).attrs(attrs)).ok()
}
