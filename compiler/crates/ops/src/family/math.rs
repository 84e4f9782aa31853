//! Functions of one number.

use crate::define::{X_NUMERIC, X_SIGNED, arg, unary};
use mnnc_ir::scalar::Unary;
use mnnc_ir::{OpDecl, Traits};

const FAMILY: &str = "math";

/// Ops that are one function of the scalar language. Fields after the documentation update the declaration.
macro_rules! functions {
    ($($name:ident = $op:literal, $f:ident, $doc:literal $(, $field:ident: $value:expr)*;)*) => { $(
        #[doc = concat!("`", $op, "`.")]
        pub static $name: OpDecl = OpDecl {
            doc: $doc,
            $($field: $value,)*
            ..unary($op, FAMILY, |_, b, a| {
                let x = arg(a, 0)?;
                Ok(b.unary(Unary::$f, x))
            })
        };
    )* };
}

functions! {
    NEG = "neg", Neg, "`-x`.", inputs: X_SIGNED;
    ABS = "abs", Abs, "`|x|`.", inputs: X_NUMERIC, traits: Traits::IDEMPOTENT;
    SIGN = "sign", Sign, "-1, 0 or 1.", inputs: X_NUMERIC, traits: Traits::IDEMPOTENT;
    SQRT = "sqrt", Sqrt, "Square root.";
    EXP = "exp", Exp, "`e^x`.";
    LOG = "log", Log, "Natural logarithm.";
    SIN = "sin", Sin, "Sine.";
    COS = "cos", Cos, "Cosine.";
    TAN = "tan", Tan, "Tangent.";
    ASIN = "asin", Asin, "Inverse sine.";
    ACOS = "acos", Acos, "Inverse cosine.";
    ATAN = "atan", Atan, "Inverse tangent.";
    SINH = "sinh", Sinh, "Hyperbolic sine.";
    COSH = "cosh", Cosh, "Hyperbolic cosine.";
    TANH = "tanh", Tanh, "Hyperbolic tangent.";
    ASINH = "asinh", Asinh, "Inverse hyperbolic sine.";
    ACOSH = "acosh", Acosh, "Inverse hyperbolic cosine.";
    ATANH = "atanh", Atanh, "Inverse hyperbolic tangent.";
    ERF = "erf", Erf, "The error function.";
    FLOOR = "floor", Floor, "The greatest integer not above `x`.", traits: Traits::IDEMPOTENT;
    CEIL = "ceil", Ceil, "The least integer not below `x`.", traits: Traits::IDEMPOTENT;
    ROUND = "round", Round, "The nearest integer, halves to even.", traits: Traits::IDEMPOTENT;
}

/// `reciprocal`.
pub static RECIPROCAL: OpDecl = OpDecl {
    doc: "`1 / x`.",
    ..unary("reciprocal", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let one = b.lit(1.0, x);
        Ok(b.div(one, x))
    })
};
