//! `sink-view`: reshapes behind a matrix product move below the element-wise ops that read them, so that product, bias,
//! activation and residual sum stand together and become one kernel.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Graph, NodeId, NodeSpec, Patch, Plan, Traits, ValueId};

/// The pass.
pub const PASS: Pass = Pass {
    name: "sink-view",
    doc: "move reshapes behind products below what is element-wise (native code only)",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "sink below element-wise", roots: &[], rewrite }], cx);
        Ok(())
    },
};

/// f(reshape(x), y) = reshape(f(x, reshape(y)))
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    if !g.is_elementwise(n) || !node.regions.is_empty() {
        return None;
    }
    let y = output(g, n)?;
    let to = dims(g, y).filter(|d| !d.contains(&0))?;
    let (x, from) = node.inputs().iter().flatten().find_map(|&v| product_behind(g, v, &to))?;
    let mut p = Patch::at(g, n);
    let inputs = operands(&mut p, n, |p, v| seen_as(p, v, x, &to, &from))?;
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(node.attrs.clone()).named(node.name.clone()) };
    let z = p.node(spec).ok()?;
    if p.ty(z).static_dims()? != from {
        return None;
    }
    let z = reshaped(&mut p, z, &to)?;
    p.replace(y, z);
    Some(p.finish())
}

/// The operand of the reshape `v` to `to`, and its shape, if it comes from a product and nobody else reads either.
fn product_behind(g: &Graph, v: ValueId, to: &[usize]) -> Option<(ValueId, Vec<usize>)> {
    /// Element-wise ops between the product and the reshape.
    const LONGEST: usize = 8;
    let alone = |v: ValueId| g.use_count(v) == 1 && !g.is_result(v);
    let view = g.node(g.producer(v)?);
    let x = view.input(0)?;
    let from = dims(g, x)?;
    if !alone(v) || !view.op.traits.contains(Traits::VIEW) || dims(g, v)? != to || from == to || from.len() < 2 {
        return None;
    }
    let mut at = x;
    for _ in 0..LONGEST {
        let n = g.producer(at).filter(|_| alone(at))?;
        let node = g.node(n);
        if matches!(node.op.name, "matmul" | "gemm") {
            return Some((x, from));
        }
        if !g.is_elementwise(n) {
            return None;
        }
        at = node
            .inputs()
            .iter()
            .flatten()
            .copied()
            .find(|&v| g.producer(v).is_some() && dims(g, v).as_ref() == Some(&from))?;
    }
    None
}

/// An operand of the shape `to`, or broadcast to it along rows, under the shape `from`.
fn seen_as(p: &mut Patch, v: ValueId, x: ValueId, to: &[usize], from: &[usize]) -> Option<ValueId> {
    let g = p.graph();
    let own = dims(g, v)?;
    if g.producer(v).is_some_and(|n| g.node(n).input(0) == Some(x) && g.node(n).op.traits.contains(Traits::VIEW))
        && own == to
    {
        return Some(x);
    }
    if own.iter().all(|&d| d == 1) {
        // One number, which must not bring dimensions of its own.
        return if own.len() <= from.len() { Some(v) } else { None };
    }
    if own == to {
        return reshaped(p, v, from);
    }
    let (last, rest) = own.split_last()?;
    let row = rest.iter().all(|&d| d == 1) && to.last() == Some(last) && from.last() == Some(last);
    if row { reshaped(p, v, &[*last]) } else { None }
}
