//! Arithmetic of several operands with broadcasting.

use crate::define::{arg, binary, elementwise, pair, same_type};
use crate::sample::{Gen, draft};
use mnnc_ir::decl::Sample;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder};
use mnnc_ir::{AttrDecl, AttrDefault, AttrKind, DType, DTypeSet, OpCtx, OpDecl, OpError, Operand, Tensor, Traits};

const FAMILY: &str = "arithmetic";

/// `add`.
pub static ADD: OpDecl = OpDecl {
    doc: "`a + b`.",
    traits: Traits::COMMUTATIVE,
    ..binary("add", FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.add(x, y)))
};

/// `sub`.
pub static SUB: OpDecl =
    OpDecl { doc: "`a - b`.", ..binary("sub", FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.sub(x, y))) };

/// `mul`.
pub static MUL: OpDecl = OpDecl {
    doc: "`a * b`.",
    traits: Traits::COMMUTATIVE,
    ..binary("mul", FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.mul(x, y)))
};

/// `div`.
pub static DIV: OpDecl = OpDecl {
    doc: "`a / b`; integers truncate, a zero divisor gives 0.",
    samples: |seed| divisions(seed, draft(), &DTYPES_ALL),
    ..binary("div", FAMILY, |_, b, a| pair(b, a).map(|(x, y)| b.div(x, y)))
};

/// `mod`.
pub static MOD: OpDecl = OpDecl {
    doc: "The remainder of `a / b`: with `fmod`, of the dividend's sign as in C; without, of the divisor's as in \
          Python.",
    attrs: &[AttrDecl::with_default("fmod", AttrKind::Bool, AttrDefault::Bool(false), "C's `fmod`.")],
    samples: |seed| {
        let mut out = divisions(seed, draft(), &[DType::F32, DType::I32, DType::I64, DType::I8, DType::U8]);
        out.extend(divisions(seed + 1, draft().attr("fmod", true), &[DType::F32, DType::F64, DType::I32, DType::U16]));
        out
    },
    ..binary("mod", FAMILY, |ctx, b, a| {
        let (x, y) = pair(b, a)?;
        let rem = b.binary(Binary::Rem, x, y);
        if ctx.flag("fmod") {
            return Ok(rem);
        }
        let zero = b.lit(0.0, x);
        let moved = b.add(rem, y);
        let differ = {
            let (r, d) = (b.compare(Cmp::Lt, rem, zero), b.compare(Cmp::Lt, y, zero));
            b.binary(Binary::Xor, r, d)
        };
        let nonzero = b.compare(Cmp::Ne, rem, zero);
        let adjust = b.binary(Binary::And, differ, nonzero);
        Ok(b.select(adjust, moved, rem))
    })
};

/// `pow`.
pub static POW: OpDecl = OpDecl {
    doc: "`a ^ b` in the type of `a`; `b` may be of another type.",
    samples: pow_samples,
    ..binary("pow", FAMILY, |_, b, a| {
        let (x, y) = (arg(a, 0)?, arg(a, 1)?);
        let d = b.dtype(x);
        match (d.is_float(), b.dtype(y).is_float()) {
            // A root of an integer is taken in floats.
            (false, true) => {
                let (fx, fy) = (b.cast(x, DType::F64), b.cast(y, DType::F64));
                let p = b.binary(Binary::Pow, fx, fy);
                Ok(b.cast(p, d))
            }
            // A narrow base must not narrow the exponent before the power is taken.
            (true, true) if d.size() < b.dtype(y).size() => {
                let wide = b.dtype(y);
                let fx = b.cast(x, wide);
                let p = b.binary(Binary::Pow, fx, y);
                Ok(b.cast(p, d))
            }
            _ => {
                let y = b.cast(y, d);
                Ok(b.binary(Binary::Pow, x, y))
            }
        }
    })
};

/// Any number of numeric operands.
const NUMBERS: &[Operand] = &[Operand::variadic("data", DTypeSet::NUMERIC)];
/// Any number of float operands.
const FLOATS: &[Operand] = &[Operand::variadic("data", DTypeSet::FLOAT)];

/// `max`.
pub static MAX: OpDecl = OpDecl {
    doc: "The greatest of the operands, with broadcasting; NaN if one is NaN.",
    inputs: NUMBERS,
    ..elementwise("max", FAMILY, |_, b, a| fold(b, a, Binary::Max))
};

/// `min`.
pub static MIN: OpDecl = OpDecl {
    doc: "The least of the operands, with broadcasting; NaN if one is NaN.",
    inputs: NUMBERS,
    ..elementwise("min", FAMILY, |_, b, a| fold(b, a, Binary::Min))
};

/// `sum`.
pub static SUM: OpDecl = OpDecl {
    doc: "The sum of the operands, with broadcasting.",
    inputs: FLOATS,
    ..elementwise("sum", FAMILY, |_, b, a| fold(b, a, Binary::Add))
};

/// `mean`.
pub static MEAN: OpDecl = OpDecl {
    doc: "The mean of the operands, with broadcasting.",
    inputs: FLOATS,
    ..elementwise("mean", FAMILY, |_, b, a| {
        let s = fold(b, a, Binary::Add)?;
        let n = b.lit(a.iter().flatten().count() as f64, s);
        Ok(b.div(s, n))
    })
};

/// `bit_shift`.
pub static BIT_SHIFT: OpDecl = OpDecl {
    doc: "`a << b` or `a >> b`, arithmetic for signed `a`. Distances below 0 or beyond the width leave the sign for a \
          shift to the right, 0 for one to the left.",
    inputs: &[Operand::required("a", DTypeSet::INT), Operand::required("b", DTypeSet::INT)],
    attrs: &[AttrDecl::optional("direction", AttrKind::Str, "`LEFT` or `RIGHT`.")],
    samples: shift_samples,
    ..elementwise("bit_shift", FAMILY, |ctx: &OpCtx, b, a| {
        let (x, y) = pair(b, a)?;
        match ctx.string("direction").as_deref() {
            Some("LEFT") => Ok(b.binary(Binary::Shl, x, y)),
            Some("RIGHT") => Ok(b.binary(Binary::Shr, x, y)),
            other => {
                let other = other.unwrap_or_default();
                Err(OpError::invalid(format!("direction is \"{other}\", it must be \"LEFT\" or \"RIGHT\"")))
            }
        }
    })
};

/// Combines all operands, which have to be of one type.
fn fold(b: &mut ScalarBuilder, args: &[Option<Expr>], op: Binary) -> Result<Expr, OpError> {
    let mut acc = arg(args, 0)?;
    for i in 1..args.len() {
        let x = arg(args, i)?;
        same_type(b, acc, x)?;
        acc = b.binary(op, acc, x);
    }
    Ok(acc)
}

const DTYPES_ALL: [DType; 6] = [DType::F32, DType::F64, DType::I32, DType::I64, DType::I8, DType::U8];

/// Operands whose divisor is never 0: what engines do for integers then differs.
fn divisions(seed: u64, base: crate::sample::Draft, dtypes: &[DType]) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for &d in dtypes {
        let divisor = |g: &mut Gen, dims: &[usize]| {
            let t = g.tensor(d, dims, 1.0, 9.0);
            if d.is_signed_int() && g.coin() { negated(&t) } else { t }
        };
        let (x, y) = (g.tensor(d, &[2, 3, 4], -50.0, 50.0), divisor(&mut g, &[2, 3, 4]));
        out.push(base.clone().data(x).data(y).done());
        let (x, y) = (g.tensor(d, &[3, 1], -50.0, 50.0), divisor(&mut g, &[2, 1, 4]));
        out.push(base.clone().data(x).data(y).done());
    }
    out
}

fn negated(t: &Tensor) -> Tensor {
    match t.dtype() {
        DType::I8 => Tensor::new(t.dims(), t.view::<i8>().iter().map(|x| -x).collect::<Vec<_>>()),
        DType::I32 => Tensor::new(t.dims(), t.view::<i32>().iter().map(|x| -x).collect::<Vec<_>>()),
        DType::I64 => Tensor::new(t.dims(), t.view::<i64>().iter().map(|x| -x).collect::<Vec<_>>()),
        _ => t.clone(),
    }
}

fn pow_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    let mut push = |x: Tensor, y: Tensor| out.push(draft().data(x).data(y).done());
    push(g.tensor(DType::F32, &[2, 3], 0.1, 3.0), g.f32s(&[2, 3]));
    push(g.f32s(&[2, 3]), Tensor::scalar(2.0f32));
    push(g.tensor(DType::F32, &[4], 0.1, 3.0), Tensor::scalar(0.5f32));
    push(g.f32s(&[2, 3]), g.tensor(DType::I64, &[3], -2.0, 3.0));
    push(g.f32s(&[2, 3]), g.tensor(DType::I32, &[3], -2.0, 3.0));
    push(g.tensor(DType::F32, &[5], 0.1, 3.0), g.tensor(DType::F64, &[5], -2.0, 2.0));
    push(g.tensor(DType::F64, &[5], 0.1, 3.0), g.tensor(DType::F32, &[5], -2.0, 2.0));
    push(g.tensor(DType::I32, &[2, 3], -5.0, 5.0), g.tensor(DType::I32, &[3], 0.0, 5.0));
    push(g.tensor(DType::I64, &[2, 3], -5.0, 5.0), g.tensor(DType::I64, &[3], 0.0, 9.0));
    push(g.tensor(DType::I32, &[2, 3], 1.0, 9.0), g.tensor(DType::F32, &[3], 0.0, 3.0));
    out
}

fn shift_samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    let mut out = Vec::new();
    for direction in ["LEFT", "RIGHT"] {
        for d in [DType::U8, DType::U16, DType::U32, DType::U64, DType::I32] {
            let (x, y) = (g.tensor(d, &[3, 4], -250.0, 250.0), g.tensor(d, &[4], 0.0, 7.0));
            out.push(draft().attr("direction", direction).data(x).data(y).done());
        }
    }
    out
}
