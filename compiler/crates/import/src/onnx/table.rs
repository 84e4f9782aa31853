//! Which IR op stands for which ONNX operator. The rows are in [`super::rows`], one family a file.

use super::node::{Converted, NodeCx};
use super::rows;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Versions of the standard operator set that are read.
#[derive(Copy, Clone, Debug)]
pub struct OpsetRange {
    /// The oldest.
    pub oldest: i64,
    /// The newest.
    pub newest: i64,
}

/// Versions of the standard operator set that are read.
pub const OPSETS: OpsetRange = OpsetRange { oldest: 7, newest: 28 };

/// Contributed operators of ONNX Runtime.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// How a node becomes IR.
#[derive(Copy, Clone)]
pub(crate) enum Convert {
    /// One node of this IR op with the same operands, and attributes of the same names.
    Plain(&'static str),
    /// By a function, where operands or attributes differ between versions or from the IR's.
    With(fn(&mut NodeCx) -> Converted),
}

/// One operator.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) domain: &'static str,
    pub(crate) convert: Convert,
}

/// A row that takes the node as it is.
pub(crate) const fn plain(name: &'static str, op: &'static str) -> Row {
    Row { name, domain: "", convert: Convert::Plain(op) }
}

/// A row with a function.
pub(crate) const fn with(name: &'static str, f: fn(&mut NodeCx) -> Converted) -> Row {
    Row { name, domain: "", convert: Convert::With(f) }
}

/// A row for an operator of ONNX Runtime's own.
pub(crate) const fn microsoft(name: &'static str, f: fn(&mut NodeCx) -> Converted) -> Row {
    Row { name, domain: MICROSOFT, convert: Convert::With(f) }
}

/// The row of an operator.
pub(crate) fn find(domain: &str, name: &str) -> Option<&'static Row> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), &'static Row>> = OnceLock::new();
    let table = TABLE.get_or_init(|| rows::ALL.iter().copied().flatten().map(|r| ((r.domain, r.name), r)).collect());
    table.get(&(domain, name)).copied()
}

/// Whether a domain has rows.
pub(crate) fn is_known_domain(domain: &str) -> bool {
    matches!(domain, "" | MICROSOFT)
}

/// The version of a domain that models may leave unstated, as its exporters do.
pub(crate) fn implied_version(domain: &str) -> Option<i64> {
    (domain == MICROSOFT).then_some(1)
}

/// The ONNX operators that have a row and, if that is all, the IR op of each.
pub fn coverage() -> Vec<(String, Option<&'static str>)> {
    let mut out: Vec<_> = rows::ALL
        .iter()
        .copied()
        .flatten()
        .map(|r| {
            let name = if r.domain.is_empty() { r.name.to_string() } else { format!("{}.{}", r.domain, r.name) };
            let op = match r.convert {
                Convert::Plain(op) => Some(op),
                Convert::With(_) => None,
            };
            (name, op)
        })
        .collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_one_row() {
        let all: Vec<_> = coverage();
        for pair in all.windows(2) {
            assert_ne!(pair[0].0, pair[1].0);
        }
        for (name, op) in all {
            assert!(op.is_none_or(|op| mnnc_ops::lookup(op).is_some()), "the row of {name} names no op");
        }
        assert!(find("", "Relu").is_some() && find("", "relu").is_none());
    }
}
