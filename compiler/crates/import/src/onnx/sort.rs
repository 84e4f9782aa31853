//! Order of nodes. ONNX asks for a topological one; files that lack it are sorted, cycles are reported.

use mnnc_schema::onnx::{GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Why the nodes have no order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Disorder {
    /// Indices of nodes that each need the next, the last one the first.
    Cycle(Vec<usize>),
    /// A name that two nodes define, and the second of them.
    Twice(String, usize),
}

/// How a node is called in messages: by its name, else its first output, else its op.
pub(crate) fn node_name(n: &NodeProto) -> &str {
    [&n.name].into_iter().chain(&n.output).find(|s| !s.is_empty()).unwrap_or(&n.op_type)
}

/// Names that `node` reads from outside itself, its sub-graphs' free names included.
pub(crate) fn reads<'a>(node: &'a NodeProto, out: &mut Vec<&'a str>) {
    out.extend(node.input.iter().filter(|s| !s.is_empty()).map(String::as_str));
    for a in &node.attribute {
        for g in a.g.iter().chain(&a.graphs) {
            free_names(g, out);
        }
    }
}

/// Names that a sub-graph takes from the graphs around it.
fn free_names<'a>(g: &'a GraphProto, out: &mut Vec<&'a str>) {
    let mut own: HashSet<&str> = g.input.iter().map(|v| v.name.as_str()).collect();
    own.extend(g.initializer.iter().map(|t| t.name.as_str()));
    own.extend(g.node.iter().flat_map(|n| &n.output).map(String::as_str));
    let mut used = Vec::new();
    for n in &g.node {
        reads(n, &mut used);
    }
    used.extend(g.output.iter().map(|v| v.name.as_str()));
    out.extend(used.into_iter().filter(|n| !own.contains(n)));
}

/// Indices of `nodes` in an order in which each follows those it reads from; the given order wherever that is one.
pub(crate) fn sort(nodes: &[NodeProto]) -> Result<Vec<usize>, Disorder> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    for (i, n) in nodes.iter().enumerate() {
        for o in n.output.iter().filter(|o| !o.is_empty()) {
            if producer.insert(o, i).is_some() {
                return Err(Disorder::Twice(o.clone(), i));
            }
        }
    }
    let needs = |i: usize| {
        let mut names = Vec::new();
        reads(&nodes[i], &mut names);
        let mut deps: Vec<usize> = names.iter().filter_map(|n| producer.get(n).copied()).collect();
        deps.sort_unstable_by(|a, b| b.cmp(a));
        deps.dedup();
        deps
    };
    #[derive(Copy, Clone, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    // Depth first with a stack of its own: a hostile chain can be longer than ours is deep.
    for root in 0..nodes.len() {
        if state[root] != State::New {
            continue;
        }
        state[root] = State::Open;
        let mut stack = vec![(root, needs(root))];
        while let Some((i, deps)) = stack.last_mut() {
            match deps.pop() {
                Some(d) if state[d] == State::New => {
                    state[d] = State::Open;
                    stack.push((d, needs(d)));
                }
                Some(d) if state[d] == State::Open => {
                    let from = stack.iter().position(|(x, _)| *x == d).unwrap_or(0);
                    return Err(Disorder::Cycle(stack[from..].iter().map(|(x, _)| *x).collect()));
                }
                Some(_) => {}
                None => {
                    state[*i] = State::Done;
                    order.push(*i);
                    stack.pop();
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let owned = |s: &[&str]| s.iter().map(|x| x.to_string()).collect();
        NodeProto { input: owned(inputs), output: owned(outputs), ..Default::default() }
    }

    #[test]
    fn order_is_kept_or_made() {
        let sorted = [node(&["x"], &["a"]), node(&["x"], &["b"]), node(&["b", "a"], &["c"])];
        assert_eq!(sort(&sorted), Ok(vec![0, 1, 2]));
        let unsorted = [node(&["b", "a"], &["c"]), node(&["x"], &["a"]), node(&["a"], &["b"])];
        assert_eq!(sort(&unsorted), Ok(vec![1, 2, 0]));
    }

    #[test]
    fn cycles_and_double_definitions_are_found() {
        let cycle = [node(&["x"], &["a"]), node(&["a", "c"], &["b"]), node(&["b"], &["c"])];
        assert_eq!(sort(&cycle), Err(Disorder::Cycle(vec![1, 2])));
        assert_eq!(sort(&[node(&["a"], &["a"])]), Err(Disorder::Cycle(vec![0])));
        assert_eq!(sort(&[node(&[], &["a"]), node(&[], &["a"])]), Err(Disorder::Twice("a".into(), 1)));
    }

    #[test]
    fn names_captured_by_sub_graphs_count() {
        let body = GraphProto { node: vec![node(&["late", "own"], &["r"])], ..Default::default() };
        let mut body = body;
        body.node.push(node(&[], &["own"]));
        let mut outer = node(&[], &["y"]);
        outer.attribute.push(mnnc_schema::onnx::AttributeProto { g: Some(body), ..Default::default() });
        assert_eq!(sort(&[outer, node(&["x"], &["late"])]), Ok(vec![1, 0]));
    }

    #[test]
    fn long_chains_do_not_overflow_the_stack() {
        let n = 50_000;
        let nodes: Vec<NodeProto> =
            (0..n).rev().map(|i| node(&[&format!("v{i}")], &[&format!("v{}", i + 1)])).collect();
        assert_eq!(sort(&nodes).map(|o| o[0]), Ok(n - 1));
    }
}
