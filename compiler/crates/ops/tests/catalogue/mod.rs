//! Every op of the catalogue on its own samples: declared whole, typed right, evaluated as its loop form says, and
//! unbreakable by wrong operands.

mod agreement;
mod hostile;

use mnnc_ir::decl::Sample;
use mnnc_ir::{DType, OpCtx, OpDecl, Tensor, TensorType};

/// Seeds that every op is tried with.
const SEEDS: u64 = 3;

/// All samples of an op.
fn samples(op: &'static OpDecl) -> Vec<Sample> {
    (0..SEEDS).flat_map(|seed| mnnc_ops::samples(op, seed)).collect()
}

/// Types of a sample's inputs.
fn types(s: &Sample) -> Vec<Option<TensorType>> {
    s.inputs.iter().map(|t| t.as_ref().map(Tensor::ty)).collect()
}

/// What a compiler knows of a sample: the values of constants only.
fn constants(s: &Sample) -> Vec<Option<Tensor>> {
    s.inputs.iter().zip(&s.constant).map(|(t, &c)| t.clone().filter(|_| c)).collect()
}

/// Runs `f` on the context of a sample.
fn with_ctx<R>(
    op: &'static OpDecl,
    s: &Sample,
    consts: &[Option<Tensor>],
    outputs: &[TensorType],
    f: impl Fn(&OpCtx) -> R,
) -> R {
    let types = types(s);
    let ctx = OpCtx { op, attrs: &s.attrs, inputs: &types, consts, regions: &[], num_outputs: s.num_outputs, outputs };
    f(&ctx)
}

/// The first difference of two tensors beyond the rounding of their type.
fn difference(a: &Tensor, b: &Tensor) -> Option<String> {
    if a.dtype() != b.dtype() || a.dims() != b.dims() {
        return Some(format!("{}{:?} and {}{:?}", a.dtype(), a.dims(), b.dtype(), b.dims()));
    }
    let tolerance = match a.dtype() {
        DType::F32 => 2e-5,
        DType::F64 => 1e-9,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        _ => 0.0,
    };
    if tolerance == 0.0 {
        return (a.to_i64s() != b.to_i64s()).then(|| format!("{:?} and {:?}", a.to_i64s(), b.to_i64s()));
    }
    let (x, y) = (a.to_f64s(), b.to_f64s());
    let differ =
        |p: f64, q: f64| !(p == q || p.is_nan() && q.is_nan() || (p - q).abs() <= tolerance * q.abs().max(1.0));
    let at = x.iter().zip(&y).position(|(&p, &q)| differ(p, q))?;
    Some(format!("element {at}: {} and {}", x[at], y[at]))
}

#[test]
fn declarations_are_whole() {
    let mut names = std::collections::HashSet::new();
    for op in mnnc_ops::ALL {
        assert!(names.insert(op.name), "{} is declared twice", op.name);
        assert!(op.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{}", op.name);
        assert!(!op.family.is_empty() && op.doc.ends_with('.'), "{} needs a family and documentation", op.name);
        assert!(op.regions > 0 || !samples(op).is_empty(), "{} has no samples", op.name);
        assert!(mnnc_ops::lookup(op.name).is_some_and(|o| std::ptr::eq(o, *op)), "{}", op.name);
    }
}
