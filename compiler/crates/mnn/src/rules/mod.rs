//! How each op of the graph is said in ops of MNN, one family a file.
//!
//! A rule gets the node and returns one tensor for each output that the node has. An element-wise op without a rule is
//! written by its formula; see [`crate::scalar`].

mod activation;
mod conv;
mod gather;
mod join;
mod matmul;
mod norm;
mod pad;
mod pool;
mod quant;
mod reduce;
mod resize;
mod shape;
mod slice;
mod softmax;
mod sort;
mod window;

use crate::cx::{Cx, Reason};
use crate::net::Tid;

/// Writes one node.
pub(crate) type Rule = fn(&mut Cx) -> Result<Vec<Tid>, Reason>;

/// A family's rules by op name.
type Family = &'static [(&'static str, Rule)];

const FAMILIES: &[Family] = &[
    activation::RULES,
    conv::RULES,
    gather::RULES,
    join::RULES,
    matmul::RULES,
    norm::RULES,
    pad::RULES,
    pool::RULES,
    quant::RULES,
    reduce::RULES,
    resize::RULES,
    shape::RULES,
    slice::RULES,
    softmax::RULES,
    sort::RULES,
];

/// The rule of an op, if it has one.
pub(crate) fn find(op: &str) -> Option<Rule> {
    FAMILIES.iter().copied().flatten().find(|(name, _)| *name == op).map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_of_an_op() {
        let mut seen = std::collections::HashSet::new();
        for (name, _) in FAMILIES.iter().copied().flatten() {
            assert!(mnnc_ops::lookup(name).is_some(), "no op is called {name}");
            assert!(seen.insert(name), "two rules for {name}");
        }
    }
}
