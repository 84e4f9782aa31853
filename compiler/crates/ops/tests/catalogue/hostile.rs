//! Wrong and absurd operands and attributes: an error, or a result, but no panic, no overflow, no huge allocation.

use super::{samples, with_ctx};
use mnnc_ir::decl::Sample;
use mnnc_ir::{Attr, DType, OpDecl, SymTable, Tensor};
use mnnc_ops::sample::Gen;
use std::panic::{AssertUnwindSafe, catch_unwind};

const EXTREMES: [i64; 12] = [i64::MIN, i64::MIN + 1, -(1 << 40), -1000, -3, -1, 0, 1, 2, 1 << 31, 1 << 62, i64::MAX];

/// A sample with one thing wrong.
fn broken(g: &mut Gen, s: &Sample) -> Sample {
    let mut s = s.clone();
    let i = g.below(s.inputs.len().max(1));
    match g.below(8) {
        // An operand too few, too many, or absent.
        0 => {
            s.inputs.pop();
            s.constant.pop();
        }
        1 => {
            s.inputs.push(Some(Tensor::scalar(1.0f32)));
            s.constant.push(true);
        }
        2 if !s.inputs.is_empty() => s.inputs[i] = None,
        // Another type or shape.
        3 | 4 if !s.inputs.is_empty() => {
            let dtype = match (g.coin(), &s.inputs[i]) {
                (true, Some(t)) => t.dtype(),
                _ => g.pick(&DType::ALL),
            };
            let rank = g.below(6);
            let mut dims = g.dims(rank, 4);
            if rank > 0 && g.below(4) == 0 {
                dims[0] = 0;
            }
            s.inputs[i] = Some(g.tensor(dtype, &dims, -3.0, 3.0));
        }
        // Absurd integer parameters.
        5 if !s.inputs.is_empty() => {
            if let Some(t) = &s.inputs[i]
                && t.dtype() == DType::I64
            {
                let mut v = t.to_vec::<i64>();
                for x in &mut v {
                    if g.coin() {
                        *x = g.pick(&EXTREMES);
                    }
                }
                s.inputs[i] = Some(Tensor::new(t.dims(), v));
            }
        }
        6 => s.num_outputs = g.below(5),
        // Absurd attributes.
        _ => {
            for (name, value) in s.attrs.clone().iter() {
                let wrong = match value {
                    Attr::Int(_) => Attr::Int(g.pick(&EXTREMES)),
                    Attr::Ints(v) => {
                        Attr::Ints(v.iter().map(|&x| if g.coin() { x } else { g.pick(&EXTREMES) }).collect())
                    }
                    Attr::Str(_) => Attr::Str("nonsense".to_string()),
                    Attr::Bool(b) => Attr::Bool(!b),
                    Attr::Float(_) => Attr::Float(g.pick(&[f32::NAN, f32::INFINITY, -1.0, 0.0, f32::MAX])),
                    other => other.clone(),
                };
                s.attrs.set(name, wrong);
            }
        }
    }
    s
}

/// Everything that a compiler does with a node before it knows that it is right.
fn use_it(op: &'static OpDecl, s: &Sample) {
    let _ = mnnc_ops::evaluate_op(op, &s.attrs, &s.inputs, s.num_outputs, 1 << 22);
    for consts in [s.inputs.clone(), vec![None; s.inputs.len()]] {
        let types = with_ctx(op, s, &consts, &[], |ctx| ctx.infer(&mut SymTable::default()));
        let Ok(types) = types else { continue };
        with_ctx(op, s, &consts, &types, |ctx| {
            (op.flops)(ctx);
            if let Some(compute) = op.compute {
                let _ = compute(ctx);
            }
        });
    }
}

#[test]
fn nothing_breaks_an_op() {
    let mut failures = Vec::new();
    for op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        let good = samples(op);
        let mut g = Gen::new(7);
        for _ in 0..300 {
            let i = g.below(good.len());
            let s = broken(&mut g, &good[i]);
            let twice = if g.coin() { broken(&mut g, &s) } else { s };
            if catch_unwind(AssertUnwindSafe(|| use_it(op, &twice))).is_err() {
                failures.push(format!("{} {} panics, outputs {}", op.name, twice, twice.num_outputs));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}
