//! The loop form of resize: one stage for each dimension that changes.

use super::coordinate::{Mapping, NearestMode};
use super::{Mode, Resize};
use crate::loops::{self, compute as finished, map, reduce, wide};
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarBuilder, Source, Unary};
use mnnc_ir::{DType, OpCtx, OpError};

pub fn compute(ctx: &OpCtx) -> Result<Compute, OpError> {
    let resize = Resize::read(ctx)?;
    if resize.transformation.crops() {
        return Err(OpError::unsupported("tf_crop_and_resize has no loop form"));
    }
    let d = ctx.input(0)?.dtype;
    let mut dims = ctx.static_dims(0)?;
    let mut stages: Vec<Stage> = Vec::new();
    let mut from = (Source::Input(0), d);
    for (axis, m) in resize.mappings(ctx)? {
        dims[axis] = m.output;
        match resize.mode {
            Mode::Nearest(n) => stages.push(nearest(&dims, axis, &m, n, from)),
            mode => {
                stages.push(weighted(&dims, axis, &m, mode, from));
                if matches!(mode, Mode::Cubic { exclude_outside: true, .. }) {
                    stages.push(total_weight(&m, mode, from.1));
                    stages.push(divided(&dims, axis, stages.len() - 2, wide(from.1)));
                }
            }
        }
        let last = stages.len() - 1;
        from = (Source::Stage(last), stages[last].dtype);
    }
    if stages.is_empty() || from.1 != d {
        let mut b = ScalarBuilder::new();
        let at = loops::axes(&mut b, dims.len());
        let x = b.load(from.0, at, from.1);
        let x = b.cast(x, d);
        stages.push(map(dims, b, x));
    }
    Ok(finished(stages))
}

/// The input coordinate of the output position along `axis`, in `f32`.
fn coordinate(b: &mut ScalarBuilder, axis: usize, m: &Mapping) -> Expr {
    let l = m.line();
    let f = |b: &mut ScalarBuilder, x: f32| b.constant(f64::from(x), DType::F32);
    let o = b.axis(axis);
    let mut x = b.cast(o, DType::F32);
    if l.shift != 0.0 {
        let s = f(b, l.shift);
        x = b.add(x, s);
    }
    if l.factor != 1.0 {
        let s = f(b, l.factor);
        x = b.mul(x, s);
    }
    if l.divisor != 1.0 {
        let s = f(b, l.divisor);
        x = b.div(x, s);
    }
    if l.offset != 0.0 {
        let s = f(b, l.offset);
        x = b.add(x, s);
    }
    x
}

fn clamp(b: &mut ScalarBuilder, x: Expr, last: f64) -> Expr {
    let (lo, hi) = (b.lit(0.0, x), b.lit(last, x));
    let x = b.max(x, lo);
    b.min(x, hi)
}

fn nearest(dims: &[usize], axis: usize, m: &Mapping, mode: NearestMode, from: (Source, DType)) -> Stage {
    let mut b = ScalarBuilder::new();
    let x = coordinate(&mut b, axis, m);
    let half = b.constant(0.5, DType::F32);
    let p = match mode {
        NearestMode::RoundPreferFloor => {
            let x = b.sub(x, half);
            b.unary(Unary::Ceil, x)
        }
        NearestMode::RoundPreferCeil => {
            let x = b.add(x, half);
            b.unary(Unary::Floor, x)
        }
        NearestMode::Floor => b.unary(Unary::Floor, x),
        NearestMode::Ceil => b.unary(Unary::Ceil, x),
    };
    let p = b.cast(p, DType::I64);
    let mut at = loops::axes(&mut b, dims.len());
    at[axis] = clamp(&mut b, p, m.input as f64 - 1.0);
    let e = b.load(from.0, at, from.1);
    map(dims.to_vec(), b, e)
}

/// One sample of an output: position (perhaps outside) and weight, from the output loop `axis` and the sample loop `tap`.
fn sample(b: &mut ScalarBuilder, axis: usize, tap: usize, m: &Mapping, mode: Mode, d: DType) -> (Expr, Expr) {
    let mut x = coordinate(b, axis, m);
    let first = match mode {
        Mode::Cubic { .. } => -1,
        _ => {
            x = clamp(b, x, m.input as f64 - 1.0);
            0
        }
    };
    let low = b.unary(Unary::Floor, x);
    let (base, k) = (b.cast(low, DType::I64), b.axis(tap));
    let p = loops::affine(b, &[(base, 1), (k, 1)], first);
    let position = b.cast(p, DType::F32);
    let distance = b.sub(x, position);
    let distance = b.unary(Unary::Abs, distance);
    let weight = match mode {
        Mode::Cubic { a, exclude_outside } => {
            let weight = cubic(b, distance, a);
            if exclude_outside {
                let inside = loops::within(b, p, 0, m.input as i64);
                let inside = b.binary(Binary::And, inside[0], inside[1]);
                let zero = b.lit(0.0, weight);
                b.select(inside, weight, zero)
            } else {
                weight
            }
        }
        _ => {
            let one = b.lit(1.0, distance);
            b.sub(one, distance)
        }
    };
    (p, b.cast(weight, wide(d)))
}

/// Samples that an output is made of along one dimension.
fn taps(mode: Mode) -> usize {
    if matches!(mode, Mode::Cubic { .. }) { 4 } else { 2 }
}

fn weighted(dims: &[usize], axis: usize, m: &Mapping, mode: Mode, from: (Source, DType)) -> Stage {
    let mut b = ScalarBuilder::new();
    let (p, weight) = sample(&mut b, axis, dims.len(), m, mode, from.1);
    let mut at = loops::axes(&mut b, dims.len());
    at[axis] = clamp(&mut b, p, m.input as f64 - 1.0);
    let e = b.load(from.0, at, from.1);
    let e = b.cast(e, wide(from.1));
    let e = b.mul(weight, e);
    reduce(dims.to_vec(), vec![taps(mode)], Combine::Sum, b, e)
}

/// The sum of the weights of each output position along a dimension.
fn total_weight(m: &Mapping, mode: Mode, d: DType) -> Stage {
    let mut b = ScalarBuilder::new();
    let (_, weight) = sample(&mut b, 0, 1, m, mode, d);
    reduce(vec![m.output], vec![taps(mode)], Combine::Sum, b, weight)
}

/// Stage `sums` divided by the weights along `axis` in the stage behind it.
fn divided(dims: &[usize], axis: usize, sums: usize, d: DType) -> Stage {
    let mut b = ScalarBuilder::new();
    let at = loops::axes(&mut b, dims.len());
    let weight = b.load(Source::Stage(sums + 1), vec![at[axis]], d);
    let sum = b.load(Source::Stage(sums), at, d);
    let e = b.div(sum, weight);
    map(dims.to_vec(), b, e)
}

/// The cubic kernel at distance `d`; see [`super::coordinate::cubic`].
fn cubic(b: &mut ScalarBuilder, d: Expr, a: f32) -> Expr {
    let a = f64::from(a);
    let polynomial = |b: &mut ScalarBuilder, coefficients: [f64; 4]| {
        let mut sum = b.lit(coefficients[0], d);
        for &c in &coefficients[1..] {
            sum = b.mul(sum, d);
            let c = b.lit(c, d);
            sum = b.add(sum, c);
        }
        sum
    };
    let near = polynomial(b, [a + 2.0, -(a + 3.0), 0.0, 1.0]);
    let far = polynomial(b, [a, -5.0 * a, 8.0 * a, -4.0 * a]);
    let (one, two, zero) = (b.lit(1.0, d), b.lit(2.0, d), b.lit(0.0, d));
    let beyond = b.compare(Cmp::Ge, d, two);
    let far = b.select(beyond, zero, far);
    let close = b.compare(Cmp::Le, d, one);
    b.select(close, near, far)
}
