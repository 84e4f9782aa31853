//! Parts of formulas that the vector level has a function of its own for.

use super::{Val, source, vector};
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_vector::KernelBuilder;

/// Such a function.
#[derive(Copy, Clone)]
pub(super) enum Known {
    /// `a / (1 + e^-z)`.
    LogisticTimes,
    /// `1 + tanh z = 2 / (1 + e^-2z)`.
    OnePlusTanh,
    /// `1 + erf z`.
    OnePlusErf,
}

/// Recognises such a function, and what it is of.
pub(super) fn known(f: &ScalarFn, node: &ScalarNode) -> Option<(Known, Vec<Expr>)> {
    let is_one = |e: Expr| matches!(f.node(e), ScalarNode::Const(x) if *x == 1.0);
    let one_plus = |node: &ScalarNode| match *node {
        ScalarNode::Binary(Binary::Add, a, b) if is_one(a) => Some(b),
        ScalarNode::Binary(Binary::Add, a, b) if is_one(b) => Some(a),
        _ => None,
    };
    if let ScalarNode::Binary(Binary::Div, a, d) = *node {
        let ScalarNode::Unary(Unary::Exp, minus) = *f.node(one_plus(f.node(d))?) else { return None };
        let ScalarNode::Unary(Unary::Neg, z) = *f.node(minus) else { return None };
        return Some((Known::LogisticTimes, vec![a, z]));
    }
    match *f.node(one_plus(node)?) {
        ScalarNode::Unary(Unary::Tanh, z) => Some((Known::OnePlusTanh, vec![z])),
        ScalarNode::Unary(Unary::Erf, z) => Some((Known::OnePlusErf, vec![z])),
        _ => None,
    }
}

pub(super) fn emit_known(b: &mut KernelBuilder, what: Known, args: &[Val]) -> Val {
    Val::Vec(match what {
        Known::LogisticTimes => {
            let z = vector(b, args[1]);
            let y = b.logistic(z);
            match args[0] {
                Val::Float(1.0) => y,
                a => b.mul(y, source(a)),
            }
        }
        Known::OnePlusTanh => {
            let z = vector(b, args[0]);
            let z = b.add(z, z);
            let y = b.logistic(z);
            b.add(y, y)
        }
        Known::OnePlusErf => {
            let z = vector(b, args[0]);
            b.one_plus_erf(z)
        }
    })
}
