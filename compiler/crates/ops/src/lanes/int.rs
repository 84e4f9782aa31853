//! Lane operations on integers and bool, which live in `i64` lanes wrapped to the width of their type.

use half::{bf16, f16};
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Cmp, Unary};

/// The value that type `d` keeps of `x`.
pub fn wrap(d: DType, x: i64) -> i64 {
    match d {
        DType::Bool => i64::from(x != 0),
        DType::I8 => i64::from(x as i8),
        DType::I16 => i64::from(x as i16),
        DType::I32 => i64::from(x as i32),
        DType::U8 => i64::from(x as u8),
        DType::U16 => i64::from(x as u16),
        DType::U32 => i64::from(x as u32),
        _ => x,
    }
}

fn map<U>(x: &[i64], o: &mut [U], f: impl Fn(i64) -> U) {
    for (o, &x) in o.iter_mut().zip(x) {
        *o = f(x);
    }
}

fn zip(x: &[i64], y: &[i64], o: &mut [i64], f: impl Fn(i64, i64) -> i64) {
    for ((o, &x), &y) in o.iter_mut().zip(x).zip(y) {
        *o = f(x, y);
    }
}

/// Functions of one integer or bool.
pub fn unary(f: Unary, d: DType, x: &[i64], o: &mut [i64]) {
    let unsigned = !d.is_signed_int();
    match f {
        Unary::Neg => map(x, o, |x| wrap(d, x.wrapping_neg())),
        Unary::Abs if unsigned => o.copy_from_slice(x),
        Unary::Abs => map(x, o, |x| wrap(d, x.wrapping_abs())),
        Unary::Sign if unsigned => map(x, o, |x| i64::from(x != 0)),
        Unary::Sign => map(x, o, i64::signum),
        Unary::Not if d == DType::Bool => map(x, o, |x| i64::from(x == 0)),
        Unary::Not => map(x, o, |x| wrap(d, !x)),
        _ => unreachable!("{f:?} is not for {d}"),
    }
}

/// Functions of two integers or bools.
pub fn binary(f: Binary, d: DType, x: &[i64], y: &[i64], o: &mut [i64]) {
    let wide = d == DType::U64;
    let bits = 8 * d.size() as i64;
    match f {
        Binary::Add => zip(x, y, o, |x, y| wrap(d, x.wrapping_add(y))),
        Binary::Sub => zip(x, y, o, |x, y| wrap(d, x.wrapping_sub(y))),
        Binary::Mul => zip(x, y, o, |x, y| wrap(d, x.wrapping_mul(y))),
        Binary::Div if wide => zip(x, y, o, |x, y| (x as u64).checked_div(y as u64).unwrap_or(0) as i64),
        Binary::Div => zip(x, y, o, |x, y| if y == 0 { 0 } else { wrap(d, x.wrapping_div(y)) }),
        Binary::Rem if wide => zip(x, y, o, |x, y| (x as u64).checked_rem(y as u64).unwrap_or(0) as i64),
        Binary::Rem => zip(x, y, o, |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
        Binary::Pow if wide => zip(x, y, o, |x, y| power(x, y as u64)),
        Binary::Pow => zip(x, y, o, |x, y| wrap(d, signed_power(x, y))),
        Binary::Min if wide => zip(x, y, o, |x, y| (x as u64).min(y as u64) as i64),
        Binary::Min => zip(x, y, o, i64::min),
        Binary::Max if wide => zip(x, y, o, |x, y| (x as u64).max(y as u64) as i64),
        Binary::Max => zip(x, y, o, i64::max),
        Binary::And => zip(x, y, o, |x, y| x & y),
        Binary::Or => zip(x, y, o, |x, y| x | y),
        Binary::Xor => zip(x, y, o, |x, y| x ^ y),
        Binary::Shl => zip(x, y, o, |x, y| if (0..bits).contains(&y) { wrap(d, x << y) } else { 0 }),
        Binary::Shr if wide => zip(x, y, o, |x, y| if (0..bits).contains(&y) { (x as u64 >> y) as i64 } else { 0 }),
        // Past the width only the sign is left.
        Binary::Shr => zip(x, y, o, |x, y| x >> if (0..bits).contains(&y) { y } else { 63 }),
    }
}

/// `x^n`, wrapping, by squaring.
fn power(mut x: i64, mut n: u64) -> i64 {
    let mut r = 1i64;
    while n > 0 {
        if n & 1 == 1 {
            r = r.wrapping_mul(x);
        }
        x = x.wrapping_mul(x);
        n >>= 1;
    }
    r
}

/// `x^n` truncated to an integer: a negative exponent leaves 0 unless `|x| = 1`.
fn signed_power(x: i64, n: i64) -> i64 {
    match (x, n) {
        (_, 0..) => power(x, n as u64),
        (1, _) => 1,
        (-1, _) => {
            if n % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    }
}

/// Comparisons of values of type `d`.
pub fn compare(r: Cmp, d: DType, x: &[i64], y: &[i64], o: &mut [i64]) {
    // Flipping the top bit orders u64 as i64.
    let flip = if d == DType::U64 { i64::MIN } else { 0 };
    match r {
        Cmp::Eq => zip(x, y, o, |x, y| i64::from(x == y)),
        Cmp::Ne => zip(x, y, o, |x, y| i64::from(x != y)),
        Cmp::Lt => zip(x, y, o, |x, y| i64::from(x ^ flip < y ^ flip)),
        Cmp::Le => zip(x, y, o, |x, y| i64::from(x ^ flip <= y ^ flip)),
        Cmp::Gt => zip(x, y, o, |x, y| i64::from(x ^ flip > y ^ flip)),
        Cmp::Ge => zip(x, y, o, |x, y| i64::from(x ^ flip >= y ^ flip)),
    }
}

/// Integer to integer or bool.
pub fn convert(to: DType, x: &[i64], o: &mut [i64]) {
    map(x, o, |x| wrap(to, x));
}

/// Integer to one of the types that live in `f32` lanes.
pub fn to_f32(from: DType, to: DType, x: &[i64], o: &mut [f32]) {
    match (to, from) {
        (DType::F16, DType::U64) => map(x, o, |x| f16::from_f64(x as u64 as f64).to_f32()),
        (DType::F16, _) => map(x, o, |x| f16::from_f64(x as f64).to_f32()),
        (DType::BF16, DType::U64) => map(x, o, |x| bf16::from_f64(x as u64 as f64).to_f32()),
        (DType::BF16, _) => map(x, o, |x| bf16::from_f64(x as f64).to_f32()),
        (_, DType::U64) => map(x, o, |x| x as u64 as f32),
        _ => map(x, o, |x| x as f32),
    }
}

/// Integer to `f64`.
pub fn to_f64(from: DType, x: &[i64], o: &mut [f64]) {
    if from == DType::U64 { map(x, o, |x| x as u64 as f64) } else { map(x, o, |x| x as f64) }
}
