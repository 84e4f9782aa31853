//! Comparisons, logic, bits, and choosing by a condition.

use crate::define::{X_FLOAT, arg, elementwise, pair, same_type};
use crate::sample::{Gen, draft};
use mnnc_ir::decl::Sample;
use mnnc_ir::scalar::{Binary, Cmp, Unary};
use mnnc_ir::{AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, OpDecl, Operand, Tensor, Traits};

const FAMILY: &str = "logic";

/// A bool result.
const TRUTH: &[Operand] = &[Operand::required("output", DTypeSet::BOOL)];

const fn ab(dtypes: DTypeSet) -> [Operand; 2] {
    [Operand::required("a", dtypes), Operand::required("b", dtypes)]
}
const AB_ANY: &[Operand] = &ab(DTypeSet::ANY);
const AB_NUMERIC: &[Operand] = &ab(DTypeSet::NUMERIC);
const AB_BOOL: &[Operand] = &ab(DTypeSet::BOOL);
const AB_INT: &[Operand] = &ab(DTypeSet::INT);

macro_rules! comparisons {
    ($($name:ident = $op:literal, $inputs:ident, $rel:ident, $doc:literal, $traits:expr;)*) => { $(
        #[doc = concat!("`", $op, "`.")]
        pub static $name: OpDecl = OpDecl {
            doc: $doc,
            inputs: $inputs,
            outputs: TRUTH,
            traits: $traits,
            ..elementwise($op, FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.compare(Cmp::$rel, x, y)))
        };
    )* };
}
comparisons! {
    EQUAL = "equal", AB_ANY, Eq, "`a == b`.", Traits::COMMUTATIVE;
    LESS = "less", AB_NUMERIC, Lt, "`a < b`.", Traits::empty();
    LESS_OR_EQUAL = "less_or_equal", AB_NUMERIC, Le, "`a <= b`.", Traits::empty();
    GREATER = "greater", AB_NUMERIC, Gt, "`a > b`.", Traits::empty();
    GREATER_OR_EQUAL = "greater_or_equal", AB_NUMERIC, Ge, "`a >= b`.", Traits::empty();
}

macro_rules! connectives {
    ($($name:ident = $op:literal, $inputs:ident, $f:ident, $doc:literal;)*) => { $(
        #[doc = concat!("`", $op, "`.")]
        pub static $name: OpDecl = OpDecl {
            doc: $doc,
            inputs: $inputs,
            traits: Traits::COMMUTATIVE,
            ..elementwise($op, FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.binary(Binary::$f, x, y)))
        };
    )* };
}
connectives! {
    AND = "and", AB_BOOL, And, "Logical and.";
    OR = "or", AB_BOOL, Or, "Logical or.";
    XOR = "xor", AB_BOOL, Xor, "Logical exclusive or.";
    BITWISE_AND = "bitwise_and", AB_INT, And, "And of each bit.";
    BITWISE_OR = "bitwise_or", AB_INT, Or, "Or of each bit.";
    BITWISE_XOR = "bitwise_xor", AB_INT, Xor, "Exclusive or of each bit.";
}

/// `not`.
pub static NOT: OpDecl = OpDecl {
    doc: "Logical negation.",
    inputs: &[Operand::required("x", DTypeSet::BOOL)],
    ..elementwise("not", FAMILY, |_, b, a| arg(a, 0).map(|x| b.unary(Unary::Not, x)))
};

/// `bitwise_not`.
pub static BITWISE_NOT: OpDecl = OpDecl {
    doc: "Negation of each bit.",
    inputs: &[Operand::required("x", DTypeSet::INT)],
    ..elementwise("bitwise_not", FAMILY, |_, b, a| arg(a, 0).map(|x| b.unary(Unary::Not, x)))
};

/// `is_nan`.
pub static IS_NAN: OpDecl = OpDecl {
    doc: "Whether `x` is not a number.",
    inputs: X_FLOAT,
    outputs: TRUTH,
    samples: |seed| vec![draft().data(special(seed)).done()],
    ..elementwise("is_nan", FAMILY, |_, b, a| arg(a, 0).map(|x| b.unary(Unary::IsNan, x)))
};

/// `is_inf`.
pub static IS_INF: OpDecl = OpDecl {
    doc: "Whether `x` is infinite, of a sign that is to be detected.",
    inputs: X_FLOAT,
    outputs: TRUTH,
    attrs: &[
        AttrDecl::with_default("detect_negative", AttrKind::Bool, AttrDefault::Bool(true), "Detect minus infinity."),
        AttrDecl::with_default("detect_positive", AttrKind::Bool, AttrDefault::Bool(true), "Detect plus infinity."),
    ],
    samples: |seed| {
        let mut out = Vec::new();
        for (negative, positive) in [(true, true), (true, false), (false, true), (false, false)] {
            let d = draft().attr("detect_negative", negative).attr("detect_positive", positive);
            out.push(d.data(special(seed)).done());
        }
        out
    },
    ..elementwise("is_inf", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let infinite = b.unary(Unary::IsInf, x);
        let zero = b.lit(0.0, x);
        Ok(match (ctx.flag("detect_negative"), ctx.flag("detect_positive")) {
            (true, true) => infinite,
            (false, false) => b.constant(0.0, DType::Bool),
            (negative, _) => {
                let sign = b.compare(if negative { Cmp::Lt } else { Cmp::Gt }, x, zero);
                b.binary(Binary::And, infinite, sign)
            }
        })
    })
};

/// `where`.
pub static WHERE: OpDecl = OpDecl {
    doc: "`condition ? x : y`, with broadcasting.",
    inputs: &[
        Operand::required("condition", DTypeSet::BOOL),
        Operand::required("x", DTypeSet::ANY),
        Operand::required("y", DTypeSet::ANY),
    ],
    samples: where_samples,
    ..elementwise("where", FAMILY, |_, b, a| {
        let (c, x, y) = (arg(a, 0)?, arg(a, 1)?, arg(a, 2)?);
        same_type(b, x, y)?;
        Ok(b.select(c, x, y))
    })
};

/// Numbers with NaN and both infinities among them.
fn special(seed: u64) -> Tensor {
    let mut g = Gen::new(seed);
    let mut v = g.f32s(&[12]).to_vec::<f32>();
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let i = g.below(v.len());
        v[i] = x;
    }
    v.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
    Tensor::new(vec![4, 4], v)
}

fn where_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for (c, x, y) in [
        (&[2usize, 3][..], &[2usize, 3][..], &[2usize, 3][..]),
        (&[3], &[2, 1], &[]),
        (&[], &[4], &[2, 4]),
        (&[2, 1, 4], &[3, 1], &[1]),
    ] {
        for d in [DType::F32, DType::I64, DType::U8] {
            let c = g.tensor(DType::Bool, c, 0.0, 1.0);
            out.push(draft().data(c).data(g.tensor(d, x, -5.0, 5.0)).data(g.tensor(d, y, -5.0, 5.0)).done());
        }
    }
    out
}
