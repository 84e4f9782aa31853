//! `fuse-attention`: scaled dot-product attention that was spelt out becomes one node, which reads the projections as they
//! lie.
//!
//! From the second product back: softmax along the last dimension, masks and factors in any order, the first product. Reshapes,
//! transposes, slices and expansions on the way to the operands and behind the result (splitting and merging of heads) become
//! strides ([`layout`]); factors of q and of k join that of the scores.

mod layout;
mod operand;
mod scores;

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use layout::{Layout, common_loops};
use mnnc_ir::{DType, Graph, NodeId, NodeSpec, Patch, Plan, Tensor, ValueId};
use mnnc_ops::family::attention::strided::{MatrixView, StridedAttention};
use operand::{Operand, Role};
use scores::Scores;

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-attention",
    doc: "recover attention that is spelt out, heads and all (native code only)",
    options: &[],
    run: |g, cx| {
        rules::apply(g, RULES, cx);
        Ok(())
    },
};

const RULES: &[Rule] = &[
    Rule { name: "mask by choice", roots: &["where"], rewrite: chosen },
    Rule { name: "attention", roots: &["matmul"], rewrite: spelt_out },
    Rule { name: "attention op", roots: &["attention"], rewrite: declared },
];

/// Everything about an attention, as values of the graph. All layouts have three dimensions: matrices, rows, columns.
struct Found {
    q: Operand,
    k: Operand,
    v: Operand,
    masks: Vec<Operand>,
    /// Number of matrices, queries, keys.
    sizes: [usize; 3],
    depth: usize,
    width: usize,
    scale: f64,
    causal: bool,
    zero_blind: bool,
    /// The product that gives the result, as `[matrices, queries, width]`, and its shape.
    y: ValueId,
}

/// softmax(q kᵀ · scale + mask) v
fn spelt_out(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (p, v, y) = (node.input(0)?, node.input(1)?, output(g, n)?);
    let s = Scores::behind(g, p)?;
    let (scores, out, values) = (layout::sized(g, s.product)?, layout::sized(g, y)?, layout::sized(g, v)?);
    let &[.., queries, keys] = &scores[..] else { return None };
    let (batch, width) = (&out[..out.len().checked_sub(2)?], *values.last()?);
    let count: usize = scores[..scores.len() - 2].iter().product();
    // v must not bring matrices of its own.
    if values.len() < 2 || batch.iter().product::<usize>() != count || g.ty(y).dtype != DType::F32 {
        return None;
    }
    let depth = *dims(g, s.q)?.last()?;
    let first = &scores[..scores.len() - 2];
    let [q, kt] = [(s.q, [queries, depth]), (s.kt, [depth, keys])].map(|(x, tail)| (x, [first, &tail[..]].concat()));
    let mut masks = Vec::new();
    for (mask, shape) in &s.masks {
        masks.push(Operand::find(g, *mask, shape, Role::Mask, [count, queries, keys])?);
    }
    let q = Operand::find(g, q.0, &q.1, Role::Query, [count, queries, depth])?;
    let k = Operand::find(g, kt.0, &kt.1, Role::TurnedKey, [count, keys, depth])?;
    let v = Operand::find(g, v, &[batch, &[keys, width]].concat(), Role::Value, [count, keys, width])?;
    let scale = s.scale * q.factor * k.factor;
    let found = Found {
        q,
        k,
        v,
        masks,
        sizes: [count, queries, keys],
        depth,
        width,
        scale,
        causal: false,
        zero_blind: s.zero_blind,
        y,
    };
    found.plan(g, n)
}

/// softmax(where(c, x, -∞)) = softmax(x + where(c, 0, -∞)), and the same for a number that swallows every score
fn chosen(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    const SWALLOWS: f64 = -1e30;
    let node = g.node(n);
    let (c, a, b, y) = (node.input(0)?, node.input(1)?, node.input(2)?, output(g, n)?);
    let &[user] = g.value(y).users() else { return None };
    if g.node(user).op.name != "softmax" || g.is_result(y) || g.ty(y).dtype != DType::F32 {
        return None;
    }
    let low = |v: ValueId| scalar(g, v).is_some_and(|x| x <= SWALLOWS);
    let (x, low, first) = if low(b) {
        (a, b, true)
    } else if low(a) {
        (b, a, false)
    } else {
        return None;
    };
    let scores = ["matmul", "mul", "div", "add"].iter().any(|name| sole(g, x, name).is_some());
    if !scores || !same_shape(g, x, y) {
        return None;
    }
    let mut p = Patch::at(g, n);
    let zero = p.constant("zero", Tensor::scalar(0f32));
    let pair = if first { [zero, low] } else { [low, zero] };
    let mask = p.node(NodeSpec::new(node.op, [c, pair[0], pair[1]])).ok()?;
    let sum = p.node(NodeSpec::new(op("add")?, [x, mask])).ok()?;
    p.replace(y, sum);
    Some(p.finish())
}

/// The op of this name, where it is no more than that
fn declared(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    let (q, k, v, y) = (node.input(0)?, node.input(1)?, node.input(2)?, output(g, n)?);
    let past = (4..7).any(|i| node.input(i).is_some());
    if past || g.ty(y).dtype != DType::F32 || float(node, "softcap")? != 0.0 {
        return None;
    }
    let heads = |v: ValueId, name: &str| -> Option<[usize; 4]> {
        match layout::sized(g, v)?[..] {
            [n, h, s, e] => Some([n, h, s, e]),
            [n, s, e] => {
                let h = usize::try_from(int(node, name)?).ok().filter(|&h| h > 0 && e % h == 0)?;
                Some([n, h, s, e / h])
            }
            _ => None,
        }
    };
    let ([n_, h, queries, depth], [_, groups, keys, _], [.., width]) =
        (heads(q, "q_num_heads")?, heads(k, "kv_num_heads")?, heads(v, "kv_num_heads")?);
    let count = n_ * h;
    if count == 0 || [groups, queries, keys, depth, width].contains(&0) {
        return None;
    }
    let of = |v: ValueId, own: usize, rows: usize, cols: usize, role: Role| {
        Operand::heads(g, v, [n_, h, own, rows, cols], role)
    };
    let mut masks = Vec::new();
    if let Some(mask) = node.input(3) {
        if g.ty(mask).dtype != DType::F32 {
            return None;
        }
        masks.push(Operand::find(g, mask, &[n_, h, queries, keys], Role::Mask, [count, queries, keys])?);
    }
    let found = Found {
        q: of(q, h, queries, depth, Role::Query)?,
        k: of(k, groups, keys, depth, Role::Key)?,
        v: of(v, groups, keys, width, Role::Value)?,
        masks,
        sizes: [count, queries, keys],
        depth,
        width,
        scale: node
            .attrs
            .get("scale")
            .map_or(Some(1.0 / (depth as f64).sqrt()), |_| Some(f64::from(float(node, "scale")?)))?,
        causal: flag(node, "is_causal")?,
        zero_blind: true,
        y,
    };
    found.plan(g, n)
}

impl Found {
    fn plan(mut self, g: &Graph, n: NodeId) -> Option<Plan> {
        let [count, queries, keys] = self.sizes;
        let mut p = Patch::at(g, n);
        self.masks.iter_mut().try_for_each(|m| m.turn_if_needed(&mut p))?;
        let (target, result) = self.result(g)?;
        let layouts: Vec<&Layout> =
            [&self.q, &self.k, &self.v].into_iter().chain(&self.masks).map(|o| &o.layout).chain([&result]).collect();
        let batch: Vec<Vec<layout::Factor>> = layouts.iter().map(|l| l.dims[0].clone()).collect();
        let (extents, steps) = common_loops(&batch)?;
        let mut views = Vec::new();
        for (l, batch) in layouts.iter().zip(steps) {
            views.push(MatrixView { offset: l.offset, batch, row: l.step(1)?, col: l.step(2)? });
        }
        let y = views.pop()?;
        let masks = views.split_off(3);
        let [q, k, v]: [MatrixView; 3] = views.try_into().ok()?;
        debug_assert_eq!(extents.iter().product::<usize>(), count);
        let attention = StridedAttention {
            batch: extents,
            queries,
            keys,
            depth: self.depth,
            width: self.width,
            q,
            k,
            v,
            masks,
            y,
            dims: dims(g, target)?,
            scale: self.scale as f32,
            causal: self.causal,
            zero_blind: self.zero_blind,
        };
        let inputs = [&self.q, &self.k, &self.v].into_iter().chain(&self.masks).map(|o| o.value);
        let spec = NodeSpec::new(op("multi_head_attention")?, inputs).attrs(attention.attrs());
        let new = p.node(spec.named(g.node(n).name.clone())).ok()?;
        p.replace(target, new);
        Some(p.finish())
    }

    /// The last value behind the product that only moves its elements and that the kernel can write, and where the
    /// product's elements lie in it.
    fn result(&self, g: &Graph) -> Option<(ValueId, Layout)> {
        let shape = layout::sized(g, self.y)?;
        let [count, queries, _] = self.sizes;
        let own = if g.node(g.producer(self.y)?).op.name == "attention" && shape.len() == 3 {
            // Heads side by side.
            let heads = count / shape[0];
            let split = Layout::dense(&shape).reshape(&[shape[0], queries, heads, self.width])?;
            let dims = [0, 2, 1, 3].map(|d| split.dims[d].clone()).to_vec();
            Layout { offset: 0, dims }.reshape(&[count, queries, self.width])?
        } else {
            Layout::dense(&shape).reshape(&[count, queries, self.width])?
        };
        let mut best = (self.y, own.clone());
        let (mut last, mut through) = (self.y, Layout::dense(&shape));
        while let [user] = g.value(last).users()[..] {
            let Some(next) = output(g, user).filter(|_| !g.is_result(last)) else { break };
            let Some((_, step)) = layout::moved(g, next).filter(|(x, _)| *x == last) else { break };
            let Some(moved) = step(&through) else { break };
            (last, through) = (next, moved);
            let inverse = through.inverse(&shape);
            if let Some(l) = inverse.and_then(|l| composed(&own, &shape, &l))
                && l.step(1).is_some()
                && (l.step(2) == Some(1) || self.width == 1)
            {
                best = (last, l);
            }
        }
        Some(best)
    }
}

/// `own` places the matrices in a dense tensor of `shape`, `l` the elements of that one in another: the matrices in the other.
fn composed(own: &Layout, shape: &[usize], l: &Layout) -> Option<Layout> {
    let sizes: Vec<usize> = own.dims.iter().map(|d| d.iter().map(|f| f.extent).product()).collect();
    if *own == Layout::dense(shape).reshape(&sizes)? {
        return l.reshape(&sizes);
    }
    // [N, S, H, F] dense, as [N, H, S, F].
    let &[n, s, _] = shape else { return None };
    let heads = sizes[0] / n;
    let split = l.reshape(&[n, s, heads, sizes[2]])?;
    let dims = [0, 2, 1, 3].map(|d| split.dims[d].clone()).to_vec();
    Layout { offset: l.offset, dims }.reshape(&sizes)
}
