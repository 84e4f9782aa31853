//! Topological order of a region.

use crate::entity::SecondaryMap;
use crate::graph::{Graph, NodeId, RegionId};

/// Values of `r` that node `n` reads, those read inside its bodies included, as producing nodes of `r`.
fn producers(g: &Graph, r: RegionId, n: NodeId, out: &mut Vec<NodeId>) {
    for v in g.node(n).inputs().iter().flatten() {
        if let Some(p) = g.producer(*v)
            && g.node(p).region() == Some(r)
        {
            out.push(p);
        }
    }
    for &body in &g.node(n).regions {
        for &inner in g.region(body).nodes() {
            producers(g, r, inner, out);
        }
        for &v in g.region(body).results() {
            out.extend(g.producer(v).filter(|&p| g.node(p).region() == Some(r)));
        }
    }
}

/// See [`Graph::sort_region`]. Depth first from the present order with an explicit stack, because a hostile model can be
/// deeper than ours.
pub(crate) fn sort_region(g: &mut Graph, r: RegionId) -> Vec<NodeId> {
    #[derive(Copy, Clone, Default, PartialEq)]
    enum State {
        #[default]
        New,
        Open,
        Done,
    }
    let mut state: SecondaryMap<NodeId, State> = SecondaryMap::new();
    let mut order = Vec::with_capacity(g.region(r).nodes().len());
    for &root in g.region(r).nodes() {
        let mut stack = vec![(root, Vec::new(), false)];
        while let Some((n, deps, expanded)) = stack.last_mut() {
            let n = *n;
            if !*expanded {
                if state[n] == State::Done {
                    stack.pop();
                    continue;
                }
                state[n] = State::Open;
                producers(g, r, n, deps);
                deps.reverse();
                *expanded = true;
            }
            match deps.pop() {
                Some(d) if state[d] == State::Done => {}
                Some(d) if state[d] == State::Open => {
                    let from = stack.iter().position(|(x, ..)| *x == d).unwrap_or(0);
                    return stack[from..].iter().map(|(x, ..)| *x).collect();
                }
                Some(d) => stack.push((d, Vec::new(), false)),
                None => {
                    state[n] = State::Done;
                    order.push(n);
                    stack.pop();
                }
            }
        }
    }
    g.set_region_nodes(r, order);
    Vec::new()
}
