//! Integer lanes: arithmetic, casts, and the rounding that requantises.

use super::quotient::Quotient;
use super::{Val, source, vector};
use mnnc_ir::DType;
use mnnc_ir::scalar::{Binary, Expr, ScalarFn, ScalarNode, Unary};
use mnnc_vector::{KernelBuilder, Src, Vector};

/// Arithmetic on integers: `i32` wraps; of narrower ones only what cannot leave their range is asked for.
pub(super) fn binary(b: &mut KernelBuilder, op: Binary, x: Val, y: Val) -> Val {
    let (x, y) = match (op, x, y) {
        (Binary::Sub, ..) | (_, Val::Vec(_), _) => (x, y),
        _ => (y, x),
    };
    let x = vector(b, x);
    let y = source(y);
    Val::Vec(match op {
        Binary::Add => b.add_i32(x, y),
        Binary::Sub => b.sub_i32(x, y),
        Binary::Mul => b.mul_i32(x, y),
        Binary::Min => b.min_i32(x, y),
        Binary::Max => b.max_i32(x, y),
        _ => panic!("{op:?} has no vector form on integers"),
    })
}

/// A conversion, but for those from `f32` to an integer: they are [`Conversion`]s.
pub(super) fn cast(b: &mut KernelBuilder, v: Val, from: DType, to: DType) -> Val {
    match (v, from, to) {
        (Val::Mask(m), ..) => {
            let one = if to == DType::F32 { Src::from(1.0f32) } else { Src::from(1i32) };
            let (one, zero) = (b.splat(one), b.zero());
            Val::Vec(b.select(m, one, zero))
        }
        (Val::Less(v, by, DType::U8 | DType::I8), _, DType::F32) => Val::Less(b.i32_to_f32(v), by, DType::F32),
        (v @ Val::Less(..), ..) => {
            let whole = vector(b, v);
            cast(b, Val::Vec(whole), from, to)
        }
        (Val::Int(x), _, DType::F32) => Val::Float(x as f32),
        (Val::Int(x), _, DType::U8) => Val::Int(i32::from(x as u8)),
        (Val::Int(x), _, DType::I8) => Val::Int(i32::from(x as i8)),
        (Val::Vec(v), DType::I32 | DType::U8 | DType::I8, DType::F32) => Val::Vec(b.i32_to_f32(v)),
        // Narrower integers wrap.
        (Val::Vec(v), DType::I32 | DType::I8, DType::U8) => Val::Vec(b.and(v, 0xff)),
        (Val::Vec(v), DType::I32 | DType::U8, DType::I8) => {
            let v = b.shl_i32(v, 24);
            Val::Vec(b.shr_i32(v, 24))
        }
        (v, ..) => v,
    }
}

/// What is known of the numbers of a conversion, and asked of it.
#[derive(Copy, Clone)]
pub(super) struct Range {
    /// They are numbers well within `i32`.
    pub bounded: bool,
    /// The result must lie in its type's range; else whoever stores it saturates.
    pub saturated: bool,
}

/// `clamp(round(of / divisor) + zero)` or `clamp(trunc(of))` as an integer of a type.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(super) struct Conversion {
    pub of: Expr,
    /// 1 if nothing is divided.
    pub divisor: f32,
    /// To the nearest, ties to even; else towards zero.
    nearest: bool,
    /// Added after rounding.
    zero: i32,
    /// Least and greatest result.
    limits: [i32; 2],
    to: DType,
}

/// Recognises the conversion of an `f32` to an integer: the cast itself, with a rounding, a zero point and limits under it.
pub(super) fn conversion(f: &ScalarFn, e: Expr) -> Option<Conversion> {
    let ScalarNode::Cast(inner) = *f.node(e) else { return None };
    let to = f.dtype(e);
    if f.dtype(inner) != DType::F32 || matches!(to, DType::F32 | DType::Bool) {
        return None;
    }
    let whole = limits(to);
    let plain = Conversion { of: inner, divisor: 1.0, nearest: false, zero: 0, limits: whole, to };
    // Whole numbers up to 2^24 are exact in `f32`, so that what is done to them may be done in `i32`.
    let integer = |e: Expr| {
        let e = if let ScalarNode::Cast(stored) = *f.node(e) { stored } else { e };
        match f.node(e) {
            ScalarNode::Const(x) if x.fract() == 0.0 && x.abs() <= f64::from(1 << 24) => Some(*x as i32),
            _ => None,
        }
    };
    let (mut at, mut limits) = (inner, whole);
    while let ScalarNode::Binary(op @ (Binary::Min | Binary::Max), x, y) = *f.node(at) {
        let (x, limit) = match (integer(x), integer(y)) {
            (None, Some(n)) => (x, n),
            (Some(n), None) => (y, n),
            _ => break,
        };
        // The limits outside act last; those inside act on what is left.
        limits = if op == Binary::Min {
            [limits[0], limits[1].min(limit.max(limits[0]))]
        } else {
            [limits[0].max(limit.min(limits[1])), limits[1]]
        };
        at = x;
    }
    let (rounded, zero) = match *f.node(at) {
        ScalarNode::Binary(Binary::Add, x, y) => match (integer(x), integer(y)) {
            (None, Some(z)) => (x, z),
            (Some(z), None) => (y, z),
            _ => return Some(plain),
        },
        _ => (at, 0),
    };
    // Beyond 2^24 sums round, but narrow results have long been at their limits there.
    match *f.node(rounded) {
        ScalarNode::Unary(Unary::Round, of) if to != DType::I32 => {
            let (of, divisor) = match *f.node(of) {
                ScalarNode::Binary(Binary::Div, x, d) => match *f.node(d) {
                    ScalarNode::Const(d) if d as f32 > 0.0 => (x, d as f32),
                    _ => (of, 1.0),
                },
                _ => (of, 1.0),
            };
            Some(Conversion { of, divisor, nearest: true, zero, limits, to })
        }
        _ => Some(plain),
    }
}

fn limits(d: DType) -> [i32; 2] {
    match d {
        DType::U8 => [0, 255],
        DType::I8 => [-128, 127],
        _ => [i32::MIN, i32::MAX],
    }
}

impl Conversion {
    pub fn emit(self, b: &mut KernelBuilder, vals: &[Option<Val>], range: Range) -> Val {
        let x = vals[self.of.0 as usize].expect("operands come first");
        let x = vector(b, x);
        if self.to == DType::I32 {
            return Val::Vec(self.wide(b, x, range));
        }
        if self.zero != 0 && range.bounded && range.saturated {
            let less = Conversion { zero: 0, limits: self.limits.map(|l| l - self.zero), ..self };
            return Val::Less(less.narrow(b, x, range), self.zero, self.to);
        }
        Val::Vec(self.narrow(b, x, range))
    }

    fn convert(self, b: &mut KernelBuilder, x: Vector) -> Vector {
        if self.nearest { b.f32_to_i32_nearest(x) } else { b.f32_to_i32_trunc(x) }
    }

    /// To `i32`, saturating; NaN becomes 0.
    fn wide(self, b: &mut KernelBuilder, x: Vector, range: Range) -> Vector {
        let y = self.convert(b, x);
        if range.bounded || !b.target().is_x64() {
            return y;
        }
        let high = b.ge(x, 2_147_483_648.0f32);
        let most = b.splat(i32::MAX);
        let y = b.select(high, most, y);
        self.nan_as_zero(b, x, y)
    }

    /// To 8 bits. On x64 what is out of range of `i32` becomes its least number, which is right from below but not from above.
    fn narrow(self, b: &mut KernelBuilder, x: Vector, range: Range) -> Vector {
        let [least, most] = self.limits;
        let of_type = limits(self.to);
        // The second operand survives where it is NaN.
        let at_most = |b: &mut KernelBuilder, limit: f32, v: Vector| {
            if range.bounded {
                return v;
            }
            let limit = b.splat(limit);
            b.min(limit, v)
        };
        let limit = (most - self.zero) as f32;
        let v = match Quotient::new(self.divisor, least - self.zero, most - self.zero) {
            Quotient::Fused { factor, rest, largest } => {
                let v = at_most(b, largest, x);
                let small = b.mul(v, rest);
                b.fma(small, v, factor)
            }
            Quotient::Product(1.0) => at_most(b, limit, x),
            Quotient::Product(factor) => {
                let v = b.mul(x, factor);
                at_most(b, limit, v)
            }
            Quotient::Divide => {
                let v = b.div(x, self.divisor);
                at_most(b, limit, v)
            }
        };
        let mut y = self.convert(b, v);
        if self.zero < 0 && !range.bounded {
            y = b.max_i32(y, -(1 << 30));
        }
        if self.zero != 0 {
            y = b.add_i32(y, self.zero);
        }
        if range.saturated || least > of_type[0] {
            y = b.max_i32(y, least);
        }
        if range.saturated || most < of_type[1] {
            y = b.min_i32(y, most);
        }
        // Where it is not, a number that is none has become the least `i32` and then 0, as it should.
        let elsewhere = self.to == DType::I8 || least > of_type[0] || !b.target().is_x64();
        if !range.bounded && elsewhere { self.nan_as_zero(b, x, y) } else { y }
    }

    /// `y` where `x` is a number, else 0.
    fn nan_as_zero(self, b: &mut KernelBuilder, x: Vector, y: Vector) -> Vector {
        let (number, zero) = (b.eq(x, x), b.zero());
        b.select(number, y, zero)
    }
}
