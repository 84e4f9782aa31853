//! Whether two graphs compute the same: `--verify-each`, and the passes' property tests.

use mnnc_ir::{DType, Diagnostic, Graph, Tensor};
use mnnc_ops::eval::Evaluator;

/// Relative error that a rewrite may bring in through another order of operations, in units of the output's largest
/// element: sums of a few hundred f32 products, reassociated.
const TOLERANCE: f64 = 2e-4;

/// Evaluates both graphs on the same random inputs and compares the outputs. Inputs of symbolic size are given size 2.
pub fn same_results(before: &Graph, after: &Graph, pass: &str) -> Result<(), Diagnostic> {
    let inputs = random_inputs(before, 0x5eed)?;
    let run = |g: &Graph| Evaluator::new(g).run(&inputs);
    let (a, b) = match (run(before), run(after)) {
        (Ok(a), Ok(b)) => (a, b),
        // What could not be evaluated before cannot be compared.
        (Err(_), _) => return Ok(()),
        (Ok(_), Err(e)) => {
            return Err(Diagnostic::internal(format!("after pass {pass} the graph does not evaluate: {e}")));
        }
    };
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        if let Some(text) = difference(x, y) {
            let name = &before.value(before.outputs()[i]).name;
            return Err(Diagnostic::verification(format!("pass {pass} changes output {name}: {text}"))
                .remedy("report it with the model and the pass's name; leave the pass out by --pipeline meanwhile"));
        }
    }
    Ok(())
}

/// How two results differ, if they do by more than rounding.
pub fn difference(a: &Tensor, b: &Tensor) -> Option<String> {
    if a.dtype() != b.dtype() || a.dims() != b.dims() {
        return Some(format!("{}{:?} became {}{:?}", a.dtype(), a.dims(), b.dtype(), b.dims()));
    }
    let (x, y) = (a.to_f64s(), b.to_f64s());
    let largest = x.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let unit = match a.dtype() {
        DType::F16 => 1e-3,
        DType::BF16 => 1e-2,
        d if d.is_float() => TOLERANCE,
        _ => 0.0,
    };
    let bound = unit * largest.max(1e-3);
    let same = |p: f64, q: f64| p == q || (p.is_nan() && q.is_nan()) || (p - q).abs() <= bound;
    let at = x.iter().zip(&y).position(|(&p, &q)| !same(p, q))?;
    Some(format!("element {at} was {}, is {}", x[at], y[at]))
}

/// Uniform inputs: floats in [-1, 1), integers 0 to 9, bools; a function of the seed.
pub fn random_inputs(g: &Graph, seed: u64) -> Result<Vec<Tensor>, Diagnostic> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let mut tensor = |v| {
        let ty = g.ty(v);
        let dims: Vec<usize> = ty.dims.iter().map(|d| d.known().map_or(2, |n| n as usize)).collect();
        let len = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).filter(|&n| n <= 1 << 28)?;
        let unit: Vec<f64> = (0..len).map(|_| next()).collect();
        let floats = || unit.iter().map(|x| 2.0 * x - 1.0);
        let whole = || unit.iter().map(|x| (10.0 * x).floor());
        Some(match ty.dtype {
            DType::F32 => Tensor::new(dims, floats().map(|x| x as f32).collect()),
            DType::F64 => Tensor::new(dims, floats().collect::<Vec<f64>>()),
            DType::F16 => Tensor::new(dims, floats().map(half::f16::from_f64).collect()),
            DType::BF16 => Tensor::new(dims, floats().map(half::bf16::from_f64).collect()),
            DType::I8 => Tensor::new(dims, whole().map(|x| x as i8).collect()),
            DType::I16 => Tensor::new(dims, whole().map(|x| x as i16).collect()),
            DType::I32 => Tensor::new(dims, whole().map(|x| x as i32).collect()),
            DType::I64 => Tensor::new(dims, whole().map(|x| x as i64).collect()),
            DType::U8 => Tensor::new(dims, whole().map(|x| x as u8).collect()),
            DType::U16 => Tensor::new(dims, whole().map(|x| x as u16).collect()),
            DType::U32 => Tensor::new(dims, whole().map(|x| x as u32).collect()),
            DType::U64 => Tensor::new(dims, whole().map(|x| x as u64).collect()),
            DType::Bool => Tensor::bools(dims, unit.iter().map(|&x| x < 0.5).collect()),
        })
    };
    let all: Option<Vec<Tensor>> = g.inputs().iter().map(|&v| tensor(v)).collect();
    all.ok_or_else(|| Diagnostic::usage("the model's inputs are too large to evaluate at random"))
}
