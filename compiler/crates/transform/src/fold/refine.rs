//! Types as precise as inference can make them now.

use crate::pass::PassCx;
use crate::rules;
use mnnc_ir::dim::SymExpr;
use mnnc_ir::{Dim, Graph, TensorType};

/// Infers every node again, in order: operands that have become constants, and sizes that have become known upstream, say
/// more than they did. A size that is recorded is only ever replaced by a known one, or a nameless one by an expression.
pub fn types(g: &mut Graph, cx: &mut PassCx) {
    for n in rules::order(g) {
        let node = g.node(n);
        let vague = |&v: &mnnc_ir::ValueId| g.ty(v).dims.iter().any(|d| d.known().is_none());
        if !node.outputs().iter().any(vague) {
            continue;
        }
        let facts = g.facts(n);
        let mut ctx = facts.of(node);
        ctx.outputs = &[];
        // Symbols that inference interns come after those of the graph, and do no harm there.
        let mut syms = g.syms.clone();
        let inferred = ctx.infer(&mut syms);
        let outputs = node.outputs().to_vec();
        g.syms = syms;
        let Ok(inferred) = inferred else { continue };
        for (v, new) in outputs.into_iter().zip(inferred) {
            let old = g.ty(v);
            if old.rank() != new.rank() {
                continue;
            }
            let nameless = |d: &Dim| matches!(d, Dim::Sym(s) if matches!(g.syms.expr(*s), SymExpr::Fresh(_)));
            let better = |(old, new): (&Dim, &Dim)| match (old.known(), new.known()) {
                (None, Some(_)) => *new,
                (None, None) if nameless(old) && !nameless(new) => *new,
                _ => *old,
            };
            let ty = TensorType { dims: old.dims.iter().zip(&new.dims).map(better).collect(), ..old.clone() };
            if ty != *old {
                g.set_type(v, ty);
                cx.count("type");
            }
        }
    }
}
