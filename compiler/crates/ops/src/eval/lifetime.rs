//! Last uses.

use mnnc_ir::{Graph, NodeId, RegionId, ValueId};
use std::collections::{HashMap, HashSet};

/// For each node of a region, the values of that region that nobody reads after it.
pub(super) struct Lifetimes {
    dead: Vec<Vec<ValueId>>,
}

impl Lifetimes {
    pub fn of(g: &Graph, r: RegionId) -> Lifetimes {
        let region = g.region(r);
        let mut last: HashMap<ValueId, usize> = HashMap::new();
        let mut own: HashSet<ValueId> = region.params.iter().copied().collect();
        if r == g.main() {
            own.extend(g.inputs());
        }
        for (i, &n) in region.nodes().iter().enumerate() {
            reads(g, n, &mut |v| {
                last.insert(v, i);
            });
            for &v in g.node(n).outputs() {
                own.insert(v);
                last.insert(v, i);
            }
        }
        let results: HashSet<ValueId> = region.results().iter().copied().collect();
        let mut dead = vec![Vec::new(); region.nodes().len()];
        for (v, i) in last {
            if own.contains(&v) && !results.contains(&v) {
                dead[i].push(v);
            }
        }
        Lifetimes { dead }
    }
    /// What can be freed after node number `i`.
    pub fn dead_after(&self, i: usize) -> &[ValueId] {
        &self.dead[i]
    }
}

/// Every value that a node reads, those that its bodies read included.
fn reads(g: &Graph, n: NodeId, see: &mut impl FnMut(ValueId)) {
    let mut stack = vec![n];
    while let Some(n) = stack.pop() {
        g.node(n).inputs().iter().flatten().for_each(|&v| see(v));
        for &body in &g.node(n).regions {
            g.region(body).results().iter().for_each(|&v| see(v));
            stack.extend(g.region(body).nodes());
        }
    }
}
