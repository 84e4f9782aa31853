//! The driver of rewrite rules.

use crate::pass::PassCx;
use mnnc_ir::patch::Applied;
use mnnc_ir::{Graph, NodeId, Plan};
use std::collections::{HashSet, VecDeque};

/// A rewrite rule: looks at one node and what stands around it.
#[derive(Copy, Clone)]
pub struct Rule {
    /// Name for the statistics.
    pub name: &'static str,
    /// Ops of the node that the rule is tried on; an empty list means any.
    pub roots: &'static [&'static str],
    /// The rewrite, or nothing if the rule does not fit.
    pub rewrite: fn(&Graph, NodeId, &PassCx) -> Option<Plan>,
}

/// Applies rules until none fits: every node once in order, then again whatever stands near a change. A refused patch
/// counts as a rule that does not fit. Rules that feed each other for ever are stopped by a bound that no honest
/// rewriting reaches.
pub fn apply(g: &mut Graph, rules: &[Rule], cx: &mut PassCx) {
    let mut queue: VecDeque<NodeId> = order(g).into();
    let mut queued: HashSet<NodeId> = queue.iter().copied().collect();
    let mut budget = 1000 + 20 * queue.len();
    while let Some(n) = queue.pop_front() {
        queued.remove(&n);
        if g.node(n).region().is_none() {
            continue;
        }
        let Some(done) = step(g, n, rules, cx) else { continue };
        budget -= 1;
        if budget == 0 {
            debug_assert!(false, "rules feed each other for ever: {:?}", cx.counts());
            return;
        }
        for near in neighbours(g, n, &done) {
            if queued.insert(near) {
                queue.push_back(near);
            }
        }
    }
}

fn step(g: &mut Graph, n: NodeId, rules: &[Rule], cx: &mut PassCx) -> Option<Applied> {
    for rule in rules {
        if !rule.roots.is_empty() && !rule.roots.contains(&g.node(n).op.name) {
            continue;
        }
        let Some(plan) = (rule.rewrite)(g, n, cx) else { continue };
        if let Ok(done) = plan.apply(g) {
            cx.count(rule.name);
            return Some(done);
        }
    }
    None
}

/// Nodes that a change may have made fit for a rule: the new ones, those that read something else, their readers, and
/// those whose results lost a reader.
fn neighbours(g: &Graph, n: NodeId, done: &Applied) -> Vec<NodeId> {
    let mut near = vec![n];
    near.extend(&done.added);
    near.extend(&done.readers);
    for &m in &done.added {
        for &v in g.node(m).outputs() {
            near.extend(g.value(v).users());
        }
        near.extend(g.node(m).inputs().iter().flatten().filter_map(|&v| g.producer(v)));
    }
    for &m in &done.readers {
        for &v in g.node(m).outputs() {
            near.extend(g.value(v).users());
        }
        near.extend(g.node(m).inputs().iter().flatten().filter_map(|&v| g.producer(v)));
    }
    near.retain(|&m| g.node(m).region().is_some());
    near
}

/// All nodes in order of execution, bodies before the node that holds them.
pub fn order(g: &Graph) -> Vec<NodeId> {
    let mut out = Vec::new();
    let mut stack: Vec<(NodeId, bool)> = g.schedule().iter().rev().map(|&n| (n, false)).collect();
    while let Some((n, opened)) = stack.pop() {
        if opened || g.node(n).regions.is_empty() {
            out.push(n);
            continue;
        }
        stack.push((n, true));
        for &r in g.node(n).regions.iter().rev() {
            stack.extend(g.region(r).nodes().iter().rev().map(|&m| (m, false)));
        }
    }
    out
}
