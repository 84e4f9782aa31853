//! What formulas can be emitted.

use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, ScalarFn, ScalarNode, Unary};

/// Whether [`emit`](super::emit) can do the formula with arguments and result in `f32`, as kernels on floats need it.
pub fn is_supported(f: &ScalarFn) -> bool {
    f.dtype(f.result) == DType::F32 && takes_floats(f)
}

/// As [`is_supported`], with a result of any type.
pub fn takes_floats(f: &ScalarFn) -> bool {
    let floats = |(node, d): &(ScalarNode, DType)| !matches!(node, ScalarNode::Arg(_)) || *d == DType::F32;
    f.nodes.iter().all(floats) && emits(f)
}

/// Whether [`emit`](super::emit) can do the formula: on `f32`, `i32` and 8-bit integers, truth values only inside.
pub fn emits(f: &ScalarFn) -> bool {
    is_number(f.dtype(f.result))
        && f.nodes.iter().all(|(node, dtype)| match node {
            ScalarNode::Arg(_) | ScalarNode::Const(_) => is_number(*dtype),
            ScalarNode::Unary(u, a) => match u {
                Unary::IsNan | Unary::IsInf => f.dtype(*a) == DType::F32,
                Unary::Not => *dtype == DType::Bool,
                Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => {
                    *dtype == DType::F32
                }
                Unary::Exp | Unary::Log | Unary::Tanh | Unary::Erf | Unary::Sign => *dtype == DType::F32,
                _ => false,
            },
            ScalarNode::Binary(op, ..) => match op {
                Binary::Add | Binary::Sub | Binary::Mul => matches!(dtype, DType::F32 | DType::I32),
                Binary::Min | Binary::Max => is_number(*dtype),
                Binary::Div => *dtype == DType::F32,
                Binary::And | Binary::Or | Binary::Xor => *dtype == DType::Bool,
                Binary::Pow | Binary::Rem | Binary::Shl | Binary::Shr => false,
            },
            ScalarNode::Compare(_, a, _) => is_number(f.dtype(*a)),
            ScalarNode::Select(..) => is_number(*dtype),
            ScalarNode::Cast(a) => is_number(*dtype) && (is_number(f.dtype(*a)) || f.dtype(*a) == DType::Bool),
            ScalarNode::Axis(_) | ScalarNode::Load { .. } => false,
        })
}

/// What a lane of 32 bits holds: `f32`, `i32`, or an 8-bit integer extended.
pub fn is_number(d: DType) -> bool {
    matches!(d, DType::F32 | DType::I32 | DType::U8 | DType::I8)
}
