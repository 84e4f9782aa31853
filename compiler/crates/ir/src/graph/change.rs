//! Rewiring, renaming and erasing what is there; the invariants of [`Graph`] hold after every call.

use super::{Def, Graph, NodeId, RegionId, ValueId};
use crate::attr::Attrs;
use crate::types::TensorType;

impl Graph {
    /// Replaces one operand.
    pub fn set_input(&mut self, n: NodeId, i: usize, v: Option<ValueId>) {
        if let Some(old) = self.nodes[n].input(i) {
            let users = &mut self.values[old].users;
            if let Some(p) = users.iter().position(|&u| u == n) {
                users.remove(p);
            }
        }
        if let Some(new) = v {
            self.values[new].users.push(n);
        }
        let inputs = &mut self.nodes[n].inputs;
        if i >= inputs.len() {
            inputs.resize(i + 1, None);
        }
        inputs[i] = v;
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
    }
    /// Makes every reader of `old`, region results included, read `new`. If `old` is a graph output, `new` takes over
    /// its name, because outputs keep theirs.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        self.replace_uses_if(old, new, |_| true);
    }
    /// As [`replace_uses`](Self::replace_uses), for those nodes only that `wanted` accepts (and all results).
    pub fn replace_uses_if(&mut self, old: ValueId, new: ValueId, wanted: impl Fn(NodeId) -> bool) {
        if old == new {
            return;
        }
        let users = std::mem::take(&mut self.values[old].users);
        for n in users {
            let reader = if wanted(n) { new } else { old };
            for input in self.nodes[n].inputs.iter_mut().filter(|v| **v == Some(old)) {
                *input = Some(reader);
            }
            self.values[reader].users.push(n);
        }
        let was_output = self.is_output(old);
        if self.values[old].result_uses > 0 {
            for r in self.regions.keys() {
                for v in self.regions[r].results.iter_mut().filter(|v| **v == old) {
                    *v = new;
                }
            }
            self.values[new].result_uses += std::mem::take(&mut self.values[old].result_uses);
        }
        if was_output && matches!(self.values[new].def, Def::Node(..)) {
            self.swap_names(old, new);
        }
    }
    pub(crate) fn swap_names(&mut self, a: ValueId, b: ValueId) {
        let (x, y) = (self.values[a].name.clone(), self.values[b].name.clone());
        self.names.insert(x.clone(), b);
        self.names.insert(y.clone(), a);
        self.values[a].name = y;
        self.values[b].name = x;
    }
    /// Makes the name of an erased value available, unless a replacement has taken it over.
    fn free_name(&mut self, v: ValueId) {
        if self.names.get(&self.values[v].name) == Some(&v) {
            self.names.remove(&self.values[v].name);
        }
    }
    /// Renames a value; a taken name gets a suffix.
    pub fn rename_value(&mut self, v: ValueId, name: &str) {
        let old = std::mem::take(&mut self.values[v].name);
        self.names.remove(&old);
        let name = self.fresh_name(name);
        self.names.insert(name.clone(), v);
        self.values[v].name = name;
    }
    /// Gives a value a more precise or re-laid type. The caller keeps the verifier's invariants.
    pub fn set_type(&mut self, v: ValueId, ty: TensorType) {
        self.values[v].ty = ty;
    }
    /// Renames a node. Node names are for people and need not be unique.
    pub fn rename_node(&mut self, n: NodeId, name: impl Into<String>) {
        self.nodes[n].name = name.into();
    }
    /// Attributes of a node, for changing.
    pub fn attrs_mut(&mut self, n: NodeId) -> &mut Attrs {
        &mut self.nodes[n].attrs
    }
    /// Takes a node, and the nodes of its bodies, out of the graph. Its outputs must have no readers left.
    ///
    /// # Panics
    /// In debug builds, if an output is still read.
    pub fn erase_node(&mut self, n: NodeId) {
        for &v in &self.nodes[n].outputs {
            debug_assert_eq!(self.use_count(v), 0, "erased node {} still has readers", self.nodes[n].name);
        }
        for r in self.nodes[n].regions.clone() {
            self.set_results(r, Vec::new());
            for p in self.regions[r].params.clone() {
                self.free_name(p);
            }
            for inner in self.regions[r].nodes.clone().into_iter().rev() {
                self.erase_node(inner);
            }
        }
        let inputs = std::mem::take(&mut self.nodes[n].inputs);
        for v in inputs.into_iter().flatten() {
            let users = &mut self.values[v].users;
            if let Some(p) = users.iter().position(|&u| u == n) {
                users.remove(p);
            }
        }
        for v in self.nodes[n].outputs.clone() {
            self.free_name(v);
        }
        if let (Some(at), Some(r)) = (self.position(n), self.nodes[n].region) {
            self.regions[r].nodes.remove(at);
            self.nodes[n].region = None;
        }
    }
    /// Position of a node in its region. Searches outward from where the node was last placed, so that it costs no
    /// more than the number of edits since.
    pub fn position(&self, n: NodeId) -> Option<usize> {
        let nodes = &self.regions[self.nodes[n].region?].nodes;
        let hint = (self.nodes[n].hint as usize).min(nodes.len());
        let mut back = nodes[..hint].iter().rev();
        let mut ahead = nodes[hint..].iter();
        for step in 0.. {
            match (ahead.next(), back.next()) {
                (Some(&x), _) if x == n => return Some(hint + step),
                (_, Some(&x)) if x == n => return Some(hint - 1 - step),
                (None, None) => return None,
                _ => {}
            }
        }
        None
    }
    /// Puts the nodes of a region into topological order, changing the order no more than needed. Returns the nodes that
    /// are on a cycle (an empty list means success; on a cycle nothing changes).
    pub fn sort_region(&mut self, r: RegionId) -> Vec<NodeId> {
        crate::order::sort_region(self, r)
    }
    pub(crate) fn set_region_nodes(&mut self, r: RegionId, nodes: Vec<NodeId>) {
        for (i, &n) in nodes.iter().enumerate() {
            self.nodes[n].hint = i as u32;
        }
        self.regions[r].nodes = nodes;
    }
}
