//! `fold-pad`: padding by a constant goes into the window op behind it.

use crate::pass::{Pass, PassCx};
use crate::pattern::*;
use crate::rules::{self, Rule};
use mnnc_ir::{Graph, NodeId, NodeSpec, Patch, Plan};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fold-pad",
    doc: "fold padding into the convolution or pooling behind it",
    options: &[],
    run: |g, cx| {
        rules::apply(g, &[Rule { name: "pad into window", roots: &["conv", "average_pool", "max_pool"], rewrite }], cx);
        Ok(())
    },
};

/// window(pad(x, a); b) = window(x; a + b) where the padding is what the window op pads with
fn rewrite(g: &Graph, n: NodeId, _: &PassCx) -> Option<Plan> {
    let node = g.node(n);
    // The pad may have other readers: each takes its own share.
    let pad = g.node(g.producer_of(node.input(0)?, "pad")?);
    let x = pad.input(0)?;
    let rank = g.ty(x).rank();
    let spatial = rank.checked_sub(2)?;
    let mut amounts = vec![0i64; 2 * rank];
    let given = ints(g, pad.input(1)?)?;
    let axes = match pad.input(3) {
        None => (0..rank).collect::<Vec<_>>(),
        Some(v) => ints(g, v)?.into_iter().map(|i| axis(i, rank)).collect::<Option<_>>()?,
    };
    if given.len() != 2 * axes.len() {
        return None;
    }
    for (i, &a) in axes.iter().enumerate() {
        amounts[a] = given[i];
        amounts[rank + a] = given[axes.len() + i];
    }
    let others = amounts[..2].iter().chain(&amounts[rank..rank + 2]).any(|&a| a != 0);
    if others || amounts.iter().any(|&a| a < 0) || string(pad, "mode")? != "constant" {
        return None;
    }
    let value = pad.input(2).map_or(Some(0.0), |v| scalar(g, v))?;
    let own = match string(node, "auto_pad").as_deref() {
        None | Some("NOTSET" | "") => int_list(node, "pads").unwrap_or_else(|| vec![0; 2 * spatial]),
        Some("VALID") => vec![0; 2 * spatial],
        _ => return None,
    };
    let mut attrs = node.attrs.clone();
    match node.op.name {
        "conv" if value == 0.0 => {}
        "max_pool" if value == f64::NEG_INFINITY && node.outputs().len() == 1 && !flag(node, "ceil_mode")? => {}
        // The average counts the zeros only if it counts all padding.
        "average_pool" if value == 0.0 && !flag(node, "ceil_mode")? => {
            if own.iter().any(|&p| p != 0) && !flag(node, "count_include_pad")? {
                return None;
            }
            attrs.set("count_include_pad", true);
        }
        _ => return None,
    }
    if own.len() != 2 * spatial {
        return None;
    }
    let sum: Vec<i64> =
        (0..2 * spatial).map(|i| own[i] + amounts[if i < spatial { 2 + i } else { rank + 2 + i - spatial }]).collect();
    attrs.remove("auto_pad");
    attrs.set("pads", sum);
    let mut inputs = node.inputs().to_vec();
    inputs[0] = Some(x);
    let mut p = Patch::at(g, n);
    let spec = NodeSpec { inputs, ..NodeSpec::new(node.op, []).attrs(attrs).named(node.name.clone()) };
    let y = p.node(spec).ok()?;
    p.replace(output(g, n)?, y);
    Some(p.finish())
}
