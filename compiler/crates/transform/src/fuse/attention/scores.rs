//! What stands between the two products of an attention.

use crate::pattern::*;
use mnnc_ir::{DType, Graph, NodeId, Traits, ValueId};

/// The softmax and what it is of.
pub struct Scores {
    /// Left operand of the first product.
    pub q: ValueId,
    /// Its right operand.
    pub kt: ValueId,
    /// The first product.
    pub product: ValueId,
    /// Factor of the product, before the masks.
    pub scale: f64,
    /// Addends, and the shape that each is broadcast to.
    pub masks: Vec<(ValueId, Vec<usize>)>,
    /// Whether a row of NaN, that of a query that sees no key, becomes zeros.
    pub zero_blind: bool,
}

impl Scores {
    /// The scores behind the weights `p`, which nobody else reads.
    pub fn behind(g: &Graph, p: ValueId) -> Option<Scores> {
        let p = through_views(g, p)?;
        // The test for NaN reads the weights a second time.
        let (softmax, zero_blind) = match not_nan(g, p) {
            Some(inner) => (g.producer_of(inner, "softmax")?, true),
            None => (own(g, p)?, false),
        };
        let softmax = g.node(softmax);
        if softmax.op.name != "softmax" {
            return None;
        }
        let x = softmax.input(0)?;
        let rank = g.ty(x).rank();
        if axis(int(softmax, "axis")?, rank)? + 1 != rank || g.ty(x).dtype != DType::F32 {
            return None;
        }
        let mut s = of(g, x, 0)?;
        s.zero_blind = zero_blind;
        Some(s)
    }
}

/// The producer of a value that nobody else reads.
fn own(g: &Graph, v: ValueId) -> Option<NodeId> {
    (g.use_count(v) == 1 && !g.is_result(v)).then(|| g.producer(v))?
}

/// Through reshapes that leave the last two dimensions as they are, of values that nobody else reads.
fn through_views(g: &Graph, mut v: ValueId) -> Option<ValueId> {
    loop {
        let shape = dims(g, v)?;
        let n = own(g, v).map(|n| g.node(n)).filter(|n| n.op.traits.contains(Traits::VIEW));
        let Some(x) = n.and_then(|n| n.input(0)) else { return Some(v) };
        let from = dims(g, x)?;
        if from.len() < 2 || shape.len() < 2 || from[from.len() - 2..] != shape[shape.len() - 2..] {
            return Some(v);
        }
        v = x;
    }
}

/// `x`, if `v` is `where(isnan(x), 0, x)`.
fn not_nan(g: &Graph, v: ValueId) -> Option<ValueId> {
    let select = g.node(own(g, v).filter(|&n| g.node(n).op.name == "where")?);
    let (c, zero, x) = (select.input(0)?, select.input(1)?, select.input(2)?);
    let nan = g.node(g.producer_of(c, "is_nan")?);
    (nan.input(0)? == x && is_all(g, zero, 0.0) && g.use_count(x) == 2 && !g.is_result(x)).then_some(x)
}

fn of(g: &Graph, x: ValueId, depth: usize) -> Option<Scores> {
    /// More masks and factors do not occur.
    const DEEPEST: usize = 8;
    let x = if depth == 0 && g.use_count(x) != 1 { return None } else { through_views(g, x)? };
    let n = own(g, x).filter(|_| depth < DEEPEST)?;
    let node = g.node(n);
    let inner = |v: ValueId| if g.ty(v).dims == g.ty(x).dims { of(g, v, depth + 1) } else { None };
    match node.op.name {
        "matmul" => {
            let (q, kt) = (node.input(0)?, node.input(1)?);
            let matrices = g.ty(q).rank() >= 2 && g.ty(kt).rank() >= 2;
            matrices.then_some(Scores { q, kt, product: x, scale: 1.0, masks: Vec::new(), zero_blind: false })
        }
        "add" => {
            let (mut s, mask) = either(g, n)?.into_iter().find_map(|(v, m)| Some((inner(v)?, m)))?;
            s.masks.push((mask, dims(g, x)?));
            Some(s)
        }
        "mul" | "div" => {
            let (a, b) = (node.input(0)?, node.input(1)?);
            let (v, factor) = match (node.op.name, scalar(g, a), scalar(g, b)) {
                ("mul", _, Some(c)) => (a, c),
                ("mul", Some(c), _) => (b, c),
                ("div", _, Some(c)) if c != 0.0 => (a, 1.0 / c),
                _ => return None,
            };
            let mut s = inner(v).filter(|s| s.masks.is_empty() && factor.is_finite())?;
            s.scale *= factor;
            Some(s)
        }
        _ => None,
    }
}
