//! `dce`: nodes that nobody reads.

use crate::pass::{Pass, PassCx};
use crate::rules;
use mnnc_ir::{Diagnostic, Graph};

/// The pass.
pub const PASS: Pass = Pass { name: "dce", doc: "erase nodes whose results nobody reads", options: &[], run };

fn run(g: &mut Graph, cx: &mut PassCx) -> Result<(), Diagnostic> {
    // Backwards, so that one sweep is enough.
    for n in rules::order(g).into_iter().rev() {
        let node = g.node(n);
        if node.region().is_some() && !node.outputs().iter().any(|&v| g.is_used(v)) {
            g.erase_node(n);
            cx.count("dead");
        }
    }
    Ok(())
}
