//! `fuse`: groups for native kernels.
//!
//! A group is an anchor (convolution, matrix product, pooling, reduction, softmax, norm), or none, with the element-wise
//! nodes behind it. It becomes one `fused` node whose region holds the members in order, the anchor first. Parameters of the
//! region are the node's inputs in order; constants are read directly. Every member but the anchor has the group's shape,
//! and side operands broadcast to it; only the last member's result is seen outside, so a group can close no cycle.

use crate::pass::{Pass, PassCx, PassOption};
use crate::pattern::{op, string};
use crate::rules;
use mnnc_ir::{DType, Def, Diagnostic, Dim, Graph, NodeId, NodeSpec, Patch, RegionId, ValueId};
use std::collections::{HashMap, HashSet};

/// Ops that lead a group.
pub const ANCHORS: &[&str] = &[
    "conv_integer",
    "conv_transpose_integer",
    "matmul_integer",
    "conv",
    "conv_transpose",
    "matmul",
    "gemm",
    "max_pool",
    "average_pool",
    "lp_pool",
    "global_average_pool",
    "global_max_pool",
    "global_lp_pool",
    "reduce_mean",
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "reduce_prod",
    "reduce_l1",
    "reduce_l2",
    "reduce_sum_square",
    "reduce_log_sum",
    "reduce_log_sum_exp",
    "softmax",
    "log_softmax",
    "layer_normalization",
    "rms_normalization",
    "instance_normalization",
    "group_normalization",
];

/// Anchors whose kernels dequantise what they read and quantise what they write.
const POOLS: &[&str] = &["average_pool", "global_average_pool", "global_max_pool", "reduce_mean"];

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse",
    doc: "wrap an anchor and the element-wise nodes behind it into one `fused` node (native code only)",
    options: &[
        PassOption { name: "max-nodes", default: 32, doc: "members of a group" },
        PassOption {
            name: "max-sides",
            default: 6,
            doc: "operands of a group's element-wise part that are no single number",
        },
    ],
    run,
};

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostic> {
    let nodes: Vec<NodeId> = rules::order(g).into_iter().filter(|&n| !in_group(g, n)).collect();
    let mut taken: HashSet<NodeId> = HashSet::new();
    // From the end, so that of two convolutions that meet in a residual sum the later one takes the sum: the earlier
    // one's result waits either way, its input need not.
    let anchors = nodes.iter().rev().filter(|&&n| is_anchor(g, n)).copied();
    let mut groups: Vec<Group> = Vec::new();
    // Anchors that dequantise their data themselves, and the nodes that they have a copy of.
    let mut dequantising: HashSet<NodeId> = HashSet::new();
    let mut copied: HashSet<NodeId> = HashSet::new();
    for n in anchors {
        let mut group = Group::begin(g, n, true);
        group.dequantise();
        group.grow(cx, &taken, &copied);
        if let Some(p) = group.prologue {
            dequantising.insert(n);
            copied.insert(p);
        }
        if group.integer() {
            // A quantised residual is read as it is stored.
            group.absorb(cx, &taken, &dequantising);
        }
        group.keep(&mut taken, &mut groups);
    }
    for &n in nodes.iter().filter(|&&n| is_elementwise(g, n)) {
        if !taken.contains(&n) {
            let mut group = Group::begin(g, n, false);
            group.grow(cx, &taken, &copied);
            group.absorb(cx, &taken, &dequantising);
            group.keep(&mut taken, &mut groups);
        }
    }
    let members: Vec<_> = groups.into_iter().map(|g| (g.prologue, g.members, g.anchored)).collect();
    for (prologue, members, anchored) in members {
        if wrap(g, prologue, &members).is_some() {
            cx.count(if anchored { "anchored" } else { "element-wise" });
        }
    }
    Ok(())
}

fn in_group(g: &Graph, n: NodeId) -> bool {
    let owner = |n: NodeId| g.node(n).region().and_then(|r| g.region(r).owner());
    let mut at = owner(n);
    while let Some(o) = at {
        if g.node(o).op.name == "fused" {
            return true;
        }
        at = owner(o);
    }
    false
}

fn is_anchor(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    (ANCHORS.contains(&node.op.name) || interpolates(g, n)) && node.outputs().len() == 1
}

/// Whether the node interpolates images linearly: other resizes are copies, or have no kernel of their own.
fn interpolates(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    node.op.name == "resize" && string(node, "mode").as_deref() == Some("linear") && g.ty(node.outputs()[0]).rank() == 4
}

fn is_elementwise(g: &Graph, n: NodeId) -> bool {
    let node = g.node(n);
    g.is_elementwise(n) && node.regions.is_empty() && node.outputs().len() == 1
}

struct Group<'g> {
    g: &'g Graph,
    anchored: bool,
    /// What dequantises the anchor's first operand. Others may read its result, too: the group has a copy.
    prologue: Option<NodeId>,
    /// In order of execution.
    members: Vec<NodeId>,
    /// The result that is seen outside.
    tail: ValueId,
}

impl<'g> Group<'g> {
    fn begin(g: &'g Graph, n: NodeId, anchored: bool) -> Group<'g> {
        Group { g, anchored, prologue: None, members: vec![n], tail: g.node(n).outputs()[0] }
    }

    /// Whether the anchor's kernel dequantises: it pools images, of means those over whole planes, interpolates, or is a softmax.
    fn dequantises(&self) -> bool {
        if self.anchored && (interpolates(self.g, self.members[0]) || self.normalises()) {
            return true;
        }
        let name = self.g.node(self.members[0]).op.name;
        let dims = &self.g.ty(self.tail).dims;
        let whole = || dims[2..].iter().all(|d| d.known() == Some(1));
        self.anchored && POOLS.contains(&name) && dims.len() == 4 && (name != "reduce_mean" || whole())
    }

    /// Whether the anchor is a softmax, or the logarithm of one.
    fn normalises(&self) -> bool {
        matches!(self.g.node(self.members[0]).op.name, "softmax" | "log_softmax")
    }

    /// Takes in the node that dequantises what the anchor reads, so that bytes are read.
    fn dequantise(&mut self) {
        let g = self.g;
        let anchor = g.node(self.members[0]);
        let Some(p) = anchor.input(0).and_then(|x| g.producer(x)).filter(|_| self.dequantises()) else { return };
        let node = g.node(p);
        let ranked = |x: ValueId| g.ty(x).rank() == 4 || self.normalises();
        let bytes = node.input(0).is_some_and(|x| g.ty(x).dtype == DType::U8 && ranked(x));
        let numbers = node.inputs().iter().skip(1).flatten().all(|&v| g.constant(v).is_some());
        let same = node.region() == anchor.region() && !in_group(g, p);
        if node.op.name == "dequantize_linear" && g.is_elementwise(p) && bytes && numbers && same {
            self.prologue = Some(p);
        }
    }

    /// Whether the anchor sums integers.
    fn integer(&self) -> bool {
        matches!(self.g.node(self.members[0]).op.name, "conv_integer" | "conv_transpose_integer" | "matmul_integer")
    }

    /// Takes in readers of the tail for as long as the group keeps a single result.
    fn grow(&mut self, cx: &PassCx, taken: &HashSet<NodeId>, copied: &HashSet<NodeId>) {
        while let Some(more) = self.extension(taken, copied) {
            let Some(&last) = more.last() else { return };
            let mut members = self.members.clone();
            members.extend(&more);
            if !self.fits(cx, &members) {
                return;
            }
            self.members = members;
            self.tail = self.g.node(last).outputs()[0];
        }
    }

    /// The smallest set of nodes behind the tail, in order, of which only the last is read by others: one node, or a diamond
    /// such as `x * sigmoid(x)`. What a copied node reads is read by the copy, too.
    fn extension(&self, taken: &HashSet<NodeId>, copied: &HashSet<NodeId>) -> Option<Vec<NodeId>> {
        const MAX_DIAMOND: usize = 16;
        let g = self.g;
        let mut set: Vec<NodeId> = Vec::new();
        let mut open: Vec<ValueId> = vec![self.tail];
        while let Some(v) = open.pop() {
            if g.is_result(v) || g.value(v).users().is_empty() {
                return None;
            }
            for &u in g.value(v).users() {
                if set.contains(&u) {
                    continue;
                }
                let elsewhere = taken.contains(&u) || copied.contains(&u);
                if elsewhere || set.len() == MAX_DIAMOND || !self.may_join(u) {
                    return None;
                }
                set.push(u);
            }
            set.sort_by_key(|&n| g.position(n));
            // Whatever is not last must be read inside only.
            let inner = &set[..set.len() - 1];
            let escapes = |n: &NodeId| {
                let y = g.node(*n).outputs()[0];
                g.is_result(y) || g.value(y).users().iter().any(|u| !set.contains(u))
            };
            if let Some(n) = inner.iter().find(|n| escapes(n)) {
                open.push(g.node(*n).outputs()[0]);
            }
        }
        Some(set)
    }

    /// Whether a node fits behind the anchor by itself: element-wise, of the group's shape and region.
    fn may_join(&self, n: NodeId) -> bool {
        let g = self.g;
        if !is_elementwise(g, n) || g.node(n).region() != g.node(self.members[0]).region() {
            return false;
        }
        let (shape, y) = (g.ty(self.tail), g.ty(g.node(n).outputs()[0]));
        if y.dims != shape.dims || y.layout != shape.layout {
            return false;
        }
        // A tuned kernel computes its epilogue in the anchor's type, but for sums of integers, which go on in floats.
        !self.anchored
            || self.integer()
            || (self.dequantises() && y.dtype == DType::U8)
            || g.node(n).inputs().iter().flatten().all(|&v| g.ty(v).dtype == shape.dtype) && y.dtype == shape.dtype
    }

    /// Takes in what computes side operands of the group's shape for the group alone. What computes the anchor's own operands stays
    /// outside: the anchor reads many of their elements for one of its own.
    fn absorb(&mut self, cx: &PassCx, taken: &HashSet<NodeId>, dequantising: &HashSet<NodeId>) {
        let g = self.g;
        let first = usize::from(self.anchored);
        let mut at = first;
        while at < self.members.len() {
            let n = self.members[at];
            at += 1;
            for &v in g.node(n).inputs().iter().flatten() {
                let Some(p) = g.producer(v) else { continue };
                // What is rounded to bytes has fewer of them than what it is made of, and another anchor to be made behind.
                let stored = self.anchored && g.ty(v).dtype.size() == 1;
                let inside = |u: &NodeId| self.members.contains(u);
                if stored
                    || inside(&p)
                    || taken.contains(&p)
                    || g.is_result(v)
                    || !g.value(v).users().iter().all(|u| inside(u) || dequantising.contains(u))
                    || !self.may_join(p)
                {
                    continue;
                }
                let mut members = self.members.clone();
                members.push(p);
                let anchor = members.first().copied().filter(|_| self.anchored);
                members.sort_by_key(|&n| (Some(n) != anchor, g.position(n)));
                if self.fits(cx, &members) {
                    self.members = members;
                    at = first;
                    break;
                }
            }
        }
    }

    /// Whether the members keep within the limits, and side operands are such as a kernel can read.
    fn fits(&self, cx: &PassCx, members: &[NodeId]) -> bool {
        let g = self.g;
        let chain = if self.anchored { &members[1..] } else { members };
        let mut sides: Vec<ValueId> = Vec::new();
        for v in chain.iter().flat_map(|&n| g.node(n).inputs().iter().flatten().copied()) {
            let inside = g.producer(v).is_some_and(|p| members.contains(&p));
            let number = g.constant(v).is_some_and(|t| t.len() == 1);
            if !inside && !number && !sides.contains(&v) {
                sides.push(v);
            }
        }
        let readable = !self.anchored || sides.iter().all(|&v| self.broadcasts_plainly(v));
        members.len() <= cx.size("max-nodes") && sides.len() <= cx.size("max-sides") && readable
    }

    /// Whether a side operand of an anchored group is one number, one for each channel (dimension 1 of an image, the last
    /// of anything else), or of the group's shape. Products in integers are also multiplied by one number for all channels of a pixel or
    /// row, as activations quantised at run time want it.
    fn broadcasts_plainly(&self, v: ValueId) -> bool {
        let g = self.g;
        let (side, whole) = (&g.ty(v).dims, &g.ty(self.tail).dims);
        if side == whole {
            return true;
        }
        let image = matches!(
            g.node(self.members[0]).op.name,
            "conv"
                | "conv_integer"
                | "conv_transpose"
                | "conv_transpose_integer"
                | "max_pool"
                | "average_pool"
                | "lp_pool"
                | "instance_normalization"
                | "group_normalization"
        ) || g.node(self.members[0]).op.name.starts_with("global_");
        let channel = if image { 1 } else { whole.len().wrapping_sub(1) };
        let skip = whole.len() - side.len().min(whole.len());
        if self.integer() && side.len() == whole.len() {
            let fits = |(i, (d, all)): (usize, (&Dim, &Dim))| d == all || d.known() == Some(1) && i == channel;
            if side.iter().zip(whole).enumerate().all(fits) {
                return true;
            }
        }
        side.iter().enumerate().all(|(i, d)| d.known() == Some(1) || (skip + i == channel && *d == whole[channel]))
    }

    fn keep(self, taken: &mut HashSet<NodeId>, groups: &mut Vec<Group<'g>>) {
        if self.members.len() > 1 || self.prologue.is_some() {
            taken.extend(&self.members);
            groups.push(self);
        }
    }
}

/// Replaces the members by one `fused` node, with a copy of `prologue` in front.
fn wrap(g: &mut Graph, prologue: Option<NodeId>, members: &[NodeId]) -> Option<()> {
    let mut p = Patch::at(g, members[0]);
    let name = g.node(members[0]).name.clone();
    let all: Vec<NodeId> = prologue.into_iter().chain(members.iter().copied()).collect();
    let members = &all[..];
    let body: RegionId = p.region();
    let mut inner: HashMap<ValueId, ValueId> = HashMap::new();
    let mut inputs: Vec<ValueId> = Vec::new();
    for v in members.iter().flat_map(|&n| g.node(n).inputs().iter().flatten().copied()) {
        let own = g.producer(v).is_some_and(|n| members.contains(&n));
        if !own && !matches!(g.value(v).def, Def::Const(_)) && !inputs.contains(&v) {
            inputs.push(v);
            inner.insert(v, p.param(body, &g.value(v).name, g.ty(v).clone()));
        }
    }
    let mut names: Vec<(ValueId, String)> = Vec::new();
    for &n in members {
        let node = g.node(n);
        let operands = node.inputs().iter().map(|v| v.map(|v| inner.get(&v).copied().unwrap_or(v))).collect();
        let spec = NodeSpec {
            op: node.op,
            name: node.name.clone(),
            attrs: node.attrs.clone(),
            inputs: operands,
            outputs: vec![String::new()],
            regions: Vec::new(),
        };
        let y = p.node_in(body, spec).ok()?;
        let old = node.outputs()[0];
        inner.insert(old, y);
        names.push((y, g.value(old).name.clone()));
    }
    let old = g.node(*members.last()?).outputs()[0];
    p.results(body, vec![inner[&old]]);
    let y = p.node(NodeSpec::new(op("fused")?, inputs).regions([body]).named(name)).ok()?;
    p.replace(old, y);
    p.finish().apply(g).ok()?;
    // Results inside keep the names of the model; only the last one's stands outside.
    for (v, name) in names {
        if g.find_value(&name).is_none() {
            g.rename_value(v, &name);
        }
    }
    Some(())
}
