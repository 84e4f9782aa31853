//! Activations of one operand. Each is its formula.

use crate::define::{X_NUMERIC, X_SIGNED, arg, unary};
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder, Unary};
use mnnc_ir::{AttrDecl, AttrDefault, AttrKind, OpDecl, OpError, Traits};

const FAMILY: &str = "activation";

const fn float_attr(name: &'static str, default: f32, doc: &'static str) -> AttrDecl {
    AttrDecl::with_default(name, AttrKind::Float, AttrDefault::Float(default), doc)
}

/// `relu`.
pub static RELU: OpDecl = OpDecl {
    doc: "`max(x, 0)`.",
    inputs: X_SIGNED,
    traits: Traits::IDEMPOTENT,
    ..unary("relu", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let zero = b.lit(0.0, x);
        Ok(b.max(x, zero))
    })
};

/// `leaky_relu`.
pub static LEAKY_RELU: OpDecl = OpDecl {
    doc: "`x < 0 ? alpha * x : x`.",
    attrs: &[float_attr("alpha", 0.01, "Slope below zero.")],
    ..unary("leaky_relu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (zero, alpha) = (b.lit(0.0, x), attr(ctx, b, "alpha", x)?);
        let below = b.compare(Cmp::Lt, x, zero);
        let scaled = b.mul(alpha, x);
        Ok(b.select(below, scaled, x))
    })
};

/// `thresholded_relu`.
pub static THRESHOLDED_RELU: OpDecl = OpDecl {
    doc: "`x > alpha ? x : 0`.",
    attrs: &[float_attr("alpha", 1.0, "Threshold.")],
    ..unary("thresholded_relu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (zero, alpha) = (b.lit(0.0, x), attr(ctx, b, "alpha", x)?);
        let above = b.compare(Cmp::Gt, x, alpha);
        Ok(b.select(above, x, zero))
    })
};

/// `elu`.
pub static ELU: OpDecl = OpDecl {
    doc: "`x < 0 ? alpha * (exp(x) - 1) : x`.",
    attrs: &[float_attr("alpha", 1.0, "Limit below zero, negated.")],
    ..unary("elu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (zero, one, alpha) = (b.lit(0.0, x), b.lit(1.0, x), attr(ctx, b, "alpha", x)?);
        let below = b.compare(Cmp::Lt, x, zero);
        let e = b.unary(Unary::Exp, x);
        let e = b.sub(e, one);
        let e = b.mul(alpha, e);
        Ok(b.select(below, e, x))
    })
};

/// `selu`.
pub static SELU: OpDecl = OpDecl {
    doc: "`gamma * (x > 0 ? x : alpha * exp(x) - alpha)`.",
    attrs: &[
        float_attr("alpha", 1.673_263_2, "Limit below zero, negated, before `gamma`."),
        float_attr("gamma", 1.050_701, "Scale."),
    ],
    ..unary("selu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (zero, alpha, gamma) = (b.lit(0.0, x), attr(ctx, b, "alpha", x)?, attr(ctx, b, "gamma", x)?);
        let above = b.compare(Cmp::Gt, x, zero);
        let e = b.unary(Unary::Exp, x);
        let e = b.mul(alpha, e);
        let e = b.sub(e, alpha);
        let y = b.select(above, x, e);
        Ok(b.mul(gamma, y))
    })
};

/// `celu`.
pub static CELU: OpDecl = OpDecl {
    doc: "`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`.",
    attrs: &[float_attr("alpha", 1.0, "Limit below zero, negated.")],
    ..unary("celu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (zero, one, alpha) = (b.lit(0.0, x), b.lit(1.0, x), attr(ctx, b, "alpha", x)?);
        let e = b.div(x, alpha);
        let e = b.unary(Unary::Exp, e);
        let e = b.sub(e, one);
        let e = b.mul(alpha, e);
        let (above, below) = (b.max(zero, x), b.min(zero, e));
        Ok(b.add(above, below))
    })
};

/// `sigmoid`.
pub static SIGMOID: OpDecl = OpDecl {
    doc: "`1 / (1 + exp(-x))`.",
    ..unary("sigmoid", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let one = b.lit(1.0, x);
        let d = one_plus_exp_neg(b, x);
        Ok(b.div(one, d))
    })
};

/// `swish`.
pub static SWISH: OpDecl = OpDecl {
    doc: "`x * sigmoid(alpha * x)`; with the default, SiLU.",
    attrs: &[float_attr("alpha", 1.0, "Steepness.")],
    ..unary("swish", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let alpha = attr(ctx, b, "alpha", x)?;
        let s = if ctx.float("alpha") == Some(1.0) { x } else { b.mul(alpha, x) };
        let d = one_plus_exp_neg(b, s);
        Ok(b.div(x, d))
    })
};

/// `hard_sigmoid`.
pub static HARD_SIGMOID: OpDecl = OpDecl {
    doc: "`max(0, min(1, alpha * x + beta))`.",
    attrs: &[float_attr("alpha", 0.2, "Slope."), float_attr("beta", 0.5, "Value at 0.")],
    ..unary("hard_sigmoid", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let (alpha, beta) = (attr(ctx, b, "alpha", x)?, attr(ctx, b, "beta", x)?);
        Ok(ramp(b, x, alpha, beta))
    })
};

/// `hard_swish`.
pub static HARD_SWISH: OpDecl = OpDecl {
    doc: "`x * max(0, min(1, x / 6 + 0.5))`.",
    ..unary("hard_swish", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let (alpha, beta) = (b.lit(1.0 / 6.0, x), b.lit(0.5, x));
        let r = ramp(b, x, alpha, beta);
        Ok(b.mul(x, r))
    })
};

/// `softplus`.
pub static SOFTPLUS: OpDecl = OpDecl {
    doc: "`log(1 + exp(x))`.",
    // As max(x, 0) + log(1 + exp(-|x|)), which never overflows.
    ..unary("softplus", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let zero = b.lit(0.0, x);
        let positive = b.max(x, zero);
        let magnitude = b.unary(Unary::Abs, x);
        let d = one_plus_exp_neg(b, magnitude);
        let l = b.unary(Unary::Log, d);
        Ok(b.add(positive, l))
    })
};

/// `softsign`.
pub static SOFTSIGN: OpDecl = OpDecl {
    doc: "`x / (1 + |x|)`.",
    ..unary("softsign", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let one = b.lit(1.0, x);
        let m = b.unary(Unary::Abs, x);
        let d = b.add(one, m);
        Ok(b.div(x, d))
    })
};

/// `mish`.
pub static MISH: OpDecl = OpDecl {
    doc: "`x * tanh(softplus(x))`.",
    // With e = exp(x), tanh(log(1 + e)) = n / (n + 2) where n = e * (e + 2): no cancellation, one exponential. Past 40
    // the quotient is 1 in f64 too, and n stays finite in f32.
    ..unary("mish", FAMILY, |_, b, a| {
        let x = arg(a, 0)?;
        let (two, limit) = (b.lit(2.0, x), b.lit(40.0, x));
        let e = b.min(x, limit);
        let e = b.unary(Unary::Exp, e);
        let n = b.add(e, two);
        let n = b.mul(e, n);
        let d = b.add(n, two);
        let q = b.div(n, d);
        Ok(b.mul(x, q))
    })
};

/// `gelu`.
pub static GELU: OpDecl = OpDecl {
    doc: "`x / 2 * (1 + erf(x / sqrt(2)))`, or with `approximate = \"tanh\"` \
          `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.",
    attrs: &[AttrDecl::with_default("approximate", AttrKind::Str, AttrDefault::Str("none"), "`none` or `tanh`.")],
    ..unary("gelu", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let t = match ctx.string("approximate").as_deref() {
            Some("none") => {
                let r = b.lit(std::f64::consts::FRAC_1_SQRT_2, x);
                let s = b.mul(x, r);
                b.unary(Unary::Erf, s)
            }
            Some("tanh") => {
                let (c, k) = (b.lit(0.044715, x), b.lit((2.0 / std::f64::consts::PI).sqrt(), x));
                let square = b.mul(x, x);
                let cube = b.mul(square, x);
                let s = b.mul(c, cube);
                let s = b.add(x, s);
                let s = b.mul(k, s);
                b.unary(Unary::Tanh, s)
            }
            other => {
                let other = other.unwrap_or_default();
                return Err(OpError::invalid(format!("approximate is \"{other}\", it must be \"none\" or \"tanh\"")));
            }
        };
        let (one, half) = (b.lit(1.0, x), b.lit(0.5, x));
        let t = b.add(one, t);
        let h = b.mul(half, x);
        Ok(b.mul(h, t))
    })
};

/// `shrink`.
pub static SHRINK: OpDecl = OpDecl {
    doc: "`x < -lambd ? x + bias : x > lambd ? x - bias : 0`.",
    inputs: X_NUMERIC,
    attrs: &[
        float_attr("lambd", 0.5, "Half the width of the dead zone."),
        float_attr("bias", 0.0, "Shift towards zero."),
    ],
    ..unary("shrink", FAMILY, |ctx, b, a| {
        let x = arg(a, 0)?;
        let d = b.dtype(x);
        // Integers are held against the limits as floats: the limits need not be whole.
        let wide = if d.is_float() { x } else { b.cast(x, mnnc_ir::DType::F64) };
        let (zero, lambd, bias) = (b.lit(0.0, wide), attr(ctx, b, "lambd", wide)?, attr(ctx, b, "bias", wide)?);
        let minus = b.unary(Unary::Neg, lambd);
        let (below, above) = (b.compare(Cmp::Lt, wide, minus), b.compare(Cmp::Gt, wide, lambd));
        let (up, down) = (b.add(wide, bias), b.sub(wide, bias));
        let y = b.select(above, down, zero);
        let y = b.select(below, up, y);
        Ok(b.cast(y, d))
    })
};

/// The value of a float attribute as a literal of the type of `like`.
fn attr(ctx: &mnnc_ir::OpCtx, b: &mut ScalarBuilder, name: &str, like: Expr) -> Result<Expr, OpError> {
    let x = ctx.float(name).ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))?;
    Ok(b.lit(f64::from(x), like))
}

/// `1 + exp(-x)`.
fn one_plus_exp_neg(b: &mut ScalarBuilder, x: Expr) -> Expr {
    let one = b.lit(1.0, x);
    let n = b.unary(Unary::Neg, x);
    let e = b.unary(Unary::Exp, n);
    b.add(one, e)
}

/// `max(0, min(1, alpha * x + beta))`.
fn ramp(b: &mut ScalarBuilder, x: Expr, alpha: Expr, beta: Expr) -> Expr {
    let (zero, one) = (b.lit(0.0, x), b.lit(1.0, x));
    let y = b.binary(Binary::Mul, alpha, x);
    let y = b.add(y, beta);
    let y = b.min(one, y);
    b.max(zero, y)
}
