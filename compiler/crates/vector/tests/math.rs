//! Error of the elementary functions, in units in the last place, over dense samples of all floats.

use crate::support;
use mnnc_vector::{KernelBuilder, Target, Vector};

// SAFETY: the C library's error function, without side effects.
unsafe extern "C" {
    safe fn erf(x: f64) -> f64;
}

type Build = fn(&mut KernelBuilder, Vector) -> Vector;

/// Applies the function to all of `xs`, whose length is a multiple of 16.
fn apply(target: &Target, build: Build, xs: &[f32]) -> Vec<f32> {
    let mut b = KernelBuilder::new(target, "math");
    let (x, y) = (b.arg(0), b.arg(1));
    let step = b.lanes() as i32;
    let (begin, end) = (b.begin(), b.end());
    b.for_range(begin, end, step, |b, i| {
        let v = b.load(x.at_index(i, 4, 0));
        let r = build(b, v);
        b.store(r, y.at_index(i, 4, 0));
    });
    let kernel = b.compile().unwrap_or_else(|e| panic!("{e}"));
    let mut buffers = [xs.iter().map(|x| x.to_bits()).collect(), vec![0u32; xs.len()]];
    support::run(target, &kernel, &mut buffers, 0, xs.len());
    buffers[1].iter().map(|w| f32::from_bits(*w)).collect()
}

/// Distance of `got` from the exact value, in units in the last place of the correctly rounded result.
fn ulps(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if got.to_bits() == rounded.to_bits() || (got.is_nan() && rounded.is_nan()) {
        return 0.0;
    }
    if !rounded.is_finite() || !got.is_finite() {
        // At the edge of overflow, infinity and the largest float are neighbours.
        return if got.abs() >= f32::MAX && rounded.abs() >= f32::MAX { 1.0 } else { f64::INFINITY };
    }
    let magnitude = rounded.abs().max(f32::MIN_POSITIVE);
    let unit = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
    (f64::from(got) - exact).abs() / unit
}

fn samples(stride: usize) -> Vec<f32> {
    let mut xs: Vec<f32> = (0..=u32::MAX).step_by(stride).map(f32::from_bits).collect();
    // Dense where the functions bend.
    xs.extend((-200_000..200_000).map(|i| i as f32 * 5e-4));
    xs.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x7fc0_1234),
        f32::from_bits(0xffff_ffff),
    ]);
    xs.extend([f32::MIN_POSITIVE, f32::from_bits(1), 1.0, -1.0, 88.722_84, 88.722_83, -87.336_55, -103.97, -104.0]);
    xs.resize(xs.len().next_multiple_of(16), 1.0);
    xs
}

fn check(target: &Target, name: &str, build: Build, exact: fn(f64) -> f64, limit: f64, stride: usize) {
    let xs = samples(stride);
    let ys = apply(target, build, &xs);
    let (mut worst, mut at) = (0.0, 0.0);
    for (x, y) in xs.iter().zip(&ys) {
        let e = ulps(*y, exact(f64::from(*x)));
        if e > worst || e.is_nan() {
            (worst, at) = (e, *x);
        }
    }
    println!("{target} {name}: at most {worst:.2} ulp (at {at:e}), {} samples", xs.len());
    assert!(worst <= limit, "{target} {name}: {worst} ulp at {at:e}");
}

#[test]
fn functions_are_accurate() {
    for target in support::runnable_targets() {
        let stride = if target.is_x64() { 2003 } else { 20_011 };
        let exp: Build = |b, x| b.exp(x);
        check(&target, "exp", exp, f64::exp, 1.5, stride);
        check(&target, "log", |b, x| b.log(x), f64::ln, 2.0, stride);
        check(&target, "tanh", |b, x| b.tanh(x), f64::tanh, 2.5, stride);
        check(&target, "erf", |b, x| b.erf(x), |x| erf(x), 2.5, stride);
    }
}

/// `1 / x` in its range, and `e^x` below 0 where denormals do not matter.
#[test]
fn approximations_are_accurate() {
    for target in support::runnable_targets() {
        let stride = if target.is_x64() { 2003 } else { 20_011 };
        let xs = samples(stride);
        let worst = |build: Build, exact: fn(f64) -> f64, within: fn(f32) -> bool| {
            let ys = apply(&target, build, &xs);
            let relative = |(x, y): (&f32, &f32)| (f64::from(*y) / exact(f64::from(*x)) - 1.0).abs();
            xs.iter().zip(&ys).filter(|(x, _)| within(**x)).map(relative).fold(0.0, f64::max)
        };
        let error = worst(|b, x| b.reciprocal(x), f64::recip, |x| (1e-30..1e30).contains(&x.abs()));
        assert!(error <= 2.5e-7, "{target} reciprocal: {error:e}");
        let error = worst(|b, x| b.exp_nonpositive(x), f64::exp, |x| (-69.0..=0.0).contains(&x));
        assert!(error <= 4e-7, "{target} exp_nonpositive: {error:e}");
        let error = worst(|b, x| b.logistic(x), |x| 1.0 / (1.0 + (-x).exp()), |x| (-69.0..=200.0).contains(&x));
        assert!(error <= 5e-7, "{target} logistic: {error:e}");
        let ys = apply(&target, |b, x| b.one_plus_erf(x), &xs);
        let absolute = |(x, y): (&f32, &f32)| (f64::from(*y) - 1.0 - erf(f64::from(*x))).abs();
        let error = xs.iter().zip(&ys).filter(|(x, _)| !x.is_nan()).map(absolute).fold(0.0, f64::max);
        assert!(error <= 4e-7, "{target} one_plus_erf: {error:e}");
        assert!(xs.iter().zip(&ys).all(|(x, y)| x.is_nan() == y.is_nan() && (*x > -10.0 || *y == 0.0 || x.is_nan())));
        let mut far = [f32::NEG_INFINITY, -1e9, -110.0, f32::MIN].repeat(4);
        let zeros = apply(&target, |b, x| b.exp_nonpositive(x), &far);
        assert!(zeros.iter().all(|y| *y == 0.0), "{target}: {zeros:?}");
        far[0] = f32::NAN;
        assert!(apply(&target, |b, x| b.exp_nonpositive(x), &far)[0].is_nan(), "{target} NaN");
    }
}

#[test]
fn special_values() {
    let xs = [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
    let mut padded = xs.to_vec();
    padded.resize(16, 0.0);
    let inf = f32::INFINITY;
    for target in support::runnable_targets() {
        let first = |build: Build| -> Vec<u32> {
            apply(&target, build, &padded)[..xs.len()].iter().map(|y| y.to_bits()).collect()
        };
        let bits = |ys: [f32; 4]| ys.map(f32::to_bits).to_vec();
        assert_eq!(first(|b, x| b.exp(x)), bits([inf, 0.0, 1.0, 1.0]), "{target} exp");
        assert_eq!(first(|b, x| b.tanh(x)), bits([1.0, -1.0, 0.0, -0.0]), "{target} tanh");
        assert_eq!(first(|b, x| b.erf(x)), bits([1.0, -1.0, 0.0, -0.0]), "{target} erf");
        let log = first(|b, x| b.log(x));
        assert!(f32::from_bits(log[1]).is_nan() && log[0] == inf.to_bits(), "{target} log");
        assert_eq!(log[2..], [(-inf).to_bits(); 2], "{target} log");
    }
}
