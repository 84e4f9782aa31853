//! Lane operations on floats.

use half::{bf16, f16};
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Unary};

fn map<T: Copy, U>(x: &[T], o: &mut [U], f: impl Fn(T) -> U) {
    for (o, &x) in o.iter_mut().zip(x) {
        *o = f(x);
    }
}

fn zip<T: Copy, U>(x: &[T], y: &[T], o: &mut [U], f: impl Fn(T, T) -> U) {
    for ((o, &x), &y) in o.iter_mut().zip(x).zip(y) {
        *o = f(x, y);
    }
}

macro_rules! float_lanes {
    ($t:ty, $unary:ident, $binary:ident, $erf:path) => {
        /// Float to float functions.
        pub fn $unary(f: Unary, x: &[$t], o: &mut [$t]) {
            match f {
                Unary::Neg => map(x, o, |x| -x),
                Unary::Abs => map(x, o, <$t>::abs),
                // Zero and NaN are their own sign.
                Unary::Sign => map(x, o, |x| {
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x
                    }
                }),
                Unary::Sqrt => map(x, o, <$t>::sqrt),
                Unary::Exp => map(x, o, <$t>::exp),
                Unary::Log => map(x, o, <$t>::ln),
                Unary::Sin => map(x, o, <$t>::sin),
                Unary::Cos => map(x, o, <$t>::cos),
                Unary::Tan => map(x, o, <$t>::tan),
                Unary::Asin => map(x, o, <$t>::asin),
                Unary::Acos => map(x, o, <$t>::acos),
                Unary::Atan => map(x, o, <$t>::atan),
                Unary::Sinh => map(x, o, <$t>::sinh),
                Unary::Cosh => map(x, o, <$t>::cosh),
                Unary::Tanh => map(x, o, <$t>::tanh),
                Unary::Asinh => map(x, o, <$t>::asinh),
                Unary::Acosh => map(x, o, <$t>::acosh),
                Unary::Atanh => map(x, o, <$t>::atanh),
                Unary::Erf => map(x, o, $erf),
                Unary::Floor => map(x, o, <$t>::floor),
                Unary::Ceil => map(x, o, <$t>::ceil),
                Unary::Trunc => map(x, o, <$t>::trunc),
                Unary::Round => map(x, o, <$t>::round_ties_even),
                Unary::IsNan | Unary::IsInf | Unary::Not => unreachable!("{f:?} gives no float"),
            }
        }
        /// Float arithmetic.
        pub fn $binary(f: Binary, x: &[$t], y: &[$t], o: &mut [$t]) {
            match f {
                Binary::Add => zip(x, y, o, |x, y| x + y),
                Binary::Sub => zip(x, y, o, |x, y| x - y),
                Binary::Mul => zip(x, y, o, |x, y| x * y),
                Binary::Div => zip(x, y, o, |x, y| x / y),
                Binary::Rem => zip(x, y, o, |x, y| x % y),
                Binary::Pow => zip(x, y, o, <$t>::powf),
                // A NaN on either side comes through.
                Binary::Min => zip(x, y, o, |x, y| if x < y || x.is_nan() { x } else { y }),
                Binary::Max => zip(x, y, o, |x, y| if x > y || x.is_nan() { x } else { y }),
                Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => {
                    unreachable!("{f:?} is not for floats")
                }
            }
        }
    };
}
float_lanes!(f32, unary_f32, binary_f32, libm::erff);
float_lanes!(f64, unary_f64, binary_f64, libm::erf);

/// What the lane operations need of both float types.
pub trait Float: Copy + PartialOrd {
    /// As `f64`, exactly.
    fn wide(self) -> f64;
}
impl Float for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }
}
impl Float for f64 {
    fn wide(self) -> f64 {
        self
    }
}

/// Float to bool functions.
pub fn classify<T: Float>(f: Unary, x: &[T], o: &mut [i64]) {
    match f {
        Unary::IsNan => map(x, o, |x| i64::from(x.wide().is_nan())),
        Unary::IsInf => map(x, o, |x| i64::from(x.wide().is_infinite())),
        _ => unreachable!("{f:?} gives no bool"),
    }
}

/// Comparisons.
pub fn compare<T: Float>(r: Cmp, x: &[T], y: &[T], o: &mut [i64]) {
    match r {
        Cmp::Eq => zip(x, y, o, |x, y| i64::from(x == y)),
        Cmp::Ne => zip(x, y, o, |x, y| i64::from(x != y)),
        Cmp::Lt => zip(x, y, o, |x, y| i64::from(x < y)),
        Cmp::Le => zip(x, y, o, |x, y| i64::from(x <= y)),
        Cmp::Gt => zip(x, y, o, |x, y| i64::from(x > y)),
        Cmp::Ge => zip(x, y, o, |x, y| i64::from(x >= y)),
    }
}

/// Rounds to the precision of `to`, one of the types that live in `f32` lanes.
pub fn round_to(to: DType, x: &[f32], o: &mut [f32]) {
    match to {
        DType::F16 => map(x, o, |x| f16::from_f32(x).to_f32()),
        DType::BF16 => map(x, o, |x| bf16::from_f32(x).to_f32()),
        _ => o.copy_from_slice(x),
    }
}

/// `f64` to one of the types that live in `f32` lanes, rounded once.
pub fn narrow(to: DType, x: &[f64], o: &mut [f32]) {
    match to {
        DType::F16 => map(x, o, |x| f16::from_f64(x).to_f32()),
        DType::BF16 => map(x, o, |x| bf16::from_f64(x).to_f32()),
        _ => map(x, o, |x| x as f32),
    }
}

/// Truncates and saturates to an integer type; to bool is `!= 0`.
pub fn to_int<T: Float>(to: DType, x: &[T], o: &mut [i64]) {
    match to {
        DType::Bool => map(x, o, |x| i64::from(x.wide() != 0.0)),
        DType::I8 => map(x, o, |x| i64::from(x.wide() as i8)),
        DType::I16 => map(x, o, |x| i64::from(x.wide() as i16)),
        DType::I32 => map(x, o, |x| i64::from(x.wide() as i32)),
        DType::U8 => map(x, o, |x| i64::from(x.wide() as u8)),
        DType::U16 => map(x, o, |x| i64::from(x.wide() as u16)),
        DType::U32 => map(x, o, |x| i64::from(x.wide() as u32)),
        DType::U64 => map(x, o, |x| (x.wide() as u64) as i64),
        _ => map(x, o, |x| x.wide() as i64),
    }
}
