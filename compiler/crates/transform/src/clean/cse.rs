//! `cse`: equal nodes on equal operands become one.

use crate::pass::{Pass, PassCx};
use mnnc_ir::decl::Traits;
use mnnc_ir::{Def, Diagnostic, Graph, NodeId, Patch, RegionId, ValueId};
use std::collections::HashMap;

/// The pass.
pub const PASS: Pass =
    Pass { name: "cse", doc: "merge nodes that compute the same from the same operands", options: &[], run };

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostic> {
    merge_constants(g, cx);
    region(g, g.main(), cx);
    Ok(())
}

/// Values of equal constants become one value. The pool holds equal contents once already.
fn merge_constants(g: &mut Graph, cx: &mut PassCx) {
    let mut first = HashMap::new();
    let mut pairs = Vec::new();
    for (v, value) in g.values() {
        if let (Def::Const(c), true) = (value.def, g.is_used(v)) {
            let known: ValueId = *first.entry(c).or_insert(v);
            if known != v && g.ty(known) == g.ty(v) && !g.is_output(v) {
                pairs.push((v, known));
            }
        }
    }
    for (v, known) in pairs {
        g.replace_uses(v, known);
        cx.count("constant");
    }
}

fn region(g: &mut Graph, r: RegionId, cx: &mut PassCx) {
    let mut seen: HashMap<String, NodeId> = HashMap::new();
    for n in g.region(r).nodes().to_vec() {
        for body in g.node(n).regions.clone() {
            region(g, body, cx);
        }
        let Some(key) = key(g, n) else { continue };
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, n);
            continue;
        };
        let mut p = Patch::at(g, n);
        for (&old, &new) in g.node(n).outputs().iter().zip(g.node(first).outputs()) {
            p.replace(old, new);
        }
        // Two graph outputs that are equal stay two: each has its name.
        if p.finish().apply(g).is_ok() {
            cx.count("node");
        }
    }
}

/// What makes two nodes equal: op, attributes, operands (in any order if they commute), number of outputs.
fn key(g: &Graph, n: NodeId) -> Option<String> {
    let node = g.node(n);
    if node.op.traits.contains(Traits::IMPURE) || !node.regions.is_empty() {
        return None;
    }
    let mut operands = node.inputs().to_vec();
    if node.op.traits.contains(Traits::COMMUTATIVE) {
        operands.sort();
    }
    let attrs: Vec<_> = node.attrs.iter().collect();
    Some(format!("{} {attrs:?} {operands:?} {}", node.op.name, node.outputs().len()))
}
