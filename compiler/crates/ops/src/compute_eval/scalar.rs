//! The scalar language on single values: floats in `f64`, rounded to `f32` after each step where the type says so;
//! integers in `i128`, wrapped.

use half::{bf16, f16};
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Unary};

/// A value; its type is that of the node it belongs to.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// A float.
    F(f64),
    /// An integer or bool.
    I(i128),
}

impl Scalar {
    pub fn float(self) -> f64 {
        match self {
            Scalar::F(x) => x,
            Scalar::I(x) => x as f64,
        }
    }
    pub fn int(self) -> i128 {
        match self {
            Scalar::F(x) => x as i128,
            Scalar::I(x) => x,
        }
    }
    /// The result of a step in type `d`: 16-bit floats are computed in `f32`.
    pub fn fit(self, d: DType) -> Scalar {
        match self {
            Scalar::F(x) if d == DType::F64 => Scalar::F(x),
            Scalar::F(x) => Scalar::F(f64::from(x as f32)),
            Scalar::I(x) => Scalar::I(wrap(d, x)),
        }
    }
    /// What a tensor of type `d` keeps.
    pub fn store(self, d: DType) -> Scalar {
        match (self, d) {
            (Scalar::F(x), DType::F16) => Scalar::F(f16::from_f64(x).to_f64()),
            (Scalar::F(x), DType::BF16) => Scalar::F(bf16::from_f64(x).to_f64()),
            _ => self.fit(d),
        }
    }
    /// Conversion.
    pub fn cast(self, from: DType, to: DType) -> Scalar {
        match self {
            _ if to.is_float() => Scalar::F(self.float()).store(to),
            Scalar::F(x) if to == DType::Bool => Scalar::I(i128::from(x != 0.0)),
            Scalar::F(x) => {
                let (low, high) = range(to);
                Scalar::I(if x.is_nan() { 0 } else { (x.trunc() as i128).clamp(low, high) })
            }
            Scalar::I(x) => {
                debug_assert!(!from.is_float());
                Scalar::I(wrap(to, x))
            }
        }
    }
}

/// The least and the greatest value of an integer type.
fn range(d: DType) -> (i128, i128) {
    let bits = 8 * d.size() as u32;
    match d {
        DType::Bool => (0, 1),
        _ if d.is_signed_int() => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        _ => (0, (1 << bits) - 1),
    }
}

fn wrap(d: DType, x: i128) -> i128 {
    if d == DType::Bool {
        return i128::from(x != 0);
    }
    let (low, high) = range(d);
    (x - low).rem_euclid(high - low + 1) + low
}

pub(super) fn unary(f: Unary, a: Scalar, d: DType) -> Scalar {
    let x = match a {
        Scalar::I(x) => {
            return Scalar::I(match f {
                Unary::Neg => -x,
                Unary::Abs => x.abs(),
                Unary::Sign => x.signum(),
                Unary::Not if d == DType::Bool => 1 - x,
                Unary::Not => -1 - x,
                _ => unreachable!("{f:?} on integers"),
            })
            .fit(d);
        }
        Scalar::F(x) => x,
    };
    Scalar::F(match f {
        Unary::IsNan => return Scalar::I(i128::from(x.is_nan())),
        Unary::IsInf => return Scalar::I(i128::from(x.is_infinite())),
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Sqrt => x.sqrt(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Tanh => x.tanh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => x.acosh(),
        Unary::Atanh => x.atanh(),
        Unary::Erf => libm::erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Trunc => x.trunc(),
        Unary::Round => x.round_ties_even(),
        Unary::Not => unreachable!("not on floats"),
    })
    .fit(d)
}

pub(super) fn add(a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::I(x), Scalar::I(y)) => Scalar::I(x + y),
        _ => Scalar::F(a.float() + b.float()),
    }
}

pub(super) fn multiply(a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::I(x), Scalar::I(y)) => Scalar::I(x.wrapping_mul(y)),
        _ => Scalar::F(a.float() * b.float()),
    }
}

pub(super) fn greater(a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::I(x), Scalar::I(y)) => Scalar::I(x.max(y)),
        (Scalar::F(x), Scalar::F(y)) if x.is_nan() || y.is_nan() => Scalar::F(f64::NAN),
        _ => Scalar::F(a.float().max(b.float())),
    }
}

pub(super) fn lesser(a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::I(x), Scalar::I(y)) => Scalar::I(x.min(y)),
        (Scalar::F(x), Scalar::F(y)) if x.is_nan() || y.is_nan() => Scalar::F(f64::NAN),
        _ => Scalar::F(a.float().min(b.float())),
    }
}

pub(super) fn binary(f: Binary, a: Scalar, b: Scalar, d: DType) -> Scalar {
    match f {
        Binary::Add => return add(a, b).fit(d),
        Binary::Mul => return multiply(a, b).fit(d),
        Binary::Max => return greater(a, b).fit(d),
        Binary::Min => return lesser(a, b).fit(d),
        _ => {}
    }
    let (Scalar::I(x), Scalar::I(y)) = (a, b) else {
        let (x, y) = (a.float(), b.float());
        return Scalar::F(match f {
            Binary::Sub => x - y,
            Binary::Div => x / y,
            Binary::Rem => x % y,
            Binary::Pow => x.powf(y),
            _ => unreachable!("{f:?} on floats"),
        })
        .fit(d);
    };
    let bits = 8 * d.size() as i128;
    Scalar::I(match f {
        Binary::Sub => x - y,
        Binary::Div | Binary::Rem if y == 0 => 0,
        Binary::Div => x / y,
        Binary::Rem => x % y,
        Binary::Pow if y < 0 => match x {
            1 => 1,
            -1 => 1 - 2 * (y % 2).abs(),
            _ => 0,
        },
        Binary::Pow => (0..y).fold(1, |p, _| wrap(d, p * x)),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl if (0..bits).contains(&y) => x << y,
        Binary::Shl => 0,
        Binary::Shr => x >> if (0..bits).contains(&y) { y } else { 127 },
        _ => unreachable!("done above"),
    })
    .fit(d)
}

pub(super) fn compare(r: Cmp, a: Scalar, b: Scalar) -> Scalar {
    let order = match (a, b) {
        (Scalar::I(x), Scalar::I(y)) => Some(x.cmp(&y)),
        _ => a.float().partial_cmp(&b.float()),
    };
    let holds = match r {
        Cmp::Eq => order.is_some_and(|o| o.is_eq()),
        Cmp::Ne => order.is_none_or(|o| o.is_ne()),
        Cmp::Lt => order.is_some_and(|o| o.is_lt()),
        Cmp::Le => order.is_some_and(|o| o.is_le()),
        Cmp::Gt => order.is_some_and(|o| o.is_gt()),
        Cmp::Ge => order.is_some_and(|o| o.is_ge()),
    };
    Scalar::I(i128::from(holds))
}
