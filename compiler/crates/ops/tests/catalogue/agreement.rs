//! Inference, evaluation and loop form against each other.

use super::{constants, difference, samples, with_ctx};
use mnnc_ir::SymTable;

/// Ops without a loop form: what they compute depends on data in shape or in order of writes.
const NO_LOOPS: &[&str] = &["non_zero", "compress", "scatter_elements", "scatter_nd", "grid_sample"];

/// Uses of ops that have no loop form though others of the same op have: a part of the reason they give.
const NO_LOOPS_FOR: &[&str] = &["exclude_outside has no loop form"];

/// Ops whose loop form is still to come: native code refuses them by name.
const LOOPS_TO_COME: &[&str] = &[
    "scatter_elements",
    "scatter_nd",
    "grid_sample",
    "top_k",
    "non_max_suppression",
    "rnn",
    "gru",
    "lstm",
    "attention",
];

#[test]
fn inference_tells_what_evaluation_gives() {
    let mut failures = Vec::new();
    for op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        for s in samples(op) {
            let inferred = with_ctx(op, &s, &constants(&s), &[], |ctx| ctx.infer(&mut SymTable::default()));
            let results = mnnc_ops::evaluate_op(op, &s.attrs, &s.inputs, s.num_outputs, 1 << 28);
            match (inferred, results) {
                (Ok(types), Ok(results)) => {
                    for (i, (ty, t)) in types.iter().zip(&results).enumerate() {
                        let fits = ty.dtype == t.dtype()
                            && ty.rank() == t.dims().len()
                            && ty.dims.iter().zip(t.dims()).all(|(d, &n)| d.known().is_none_or(|k| k == n as u64));
                        if !fits {
                            failures.push(format!("{} {}: output {i} is {:?}, inferred {ty:?}", op.name, s, t.dims()));
                        }
                    }
                }
                (Err(e), _) => failures.push(format!("{} {}: inference: {e}", op.name, s)),
                (_, Err(e)) => failures.push(format!("{} {}: evaluation: {e}", op.name, s)),
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}

#[test]
fn evaluation_does_what_the_loop_form_says() {
    let mut failures = Vec::new();
    for op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        let Some(compute) = op.compute else {
            if !NO_LOOPS.contains(&op.name) && !LOOPS_TO_COME.contains(&op.name) {
                failures.push(format!("{} has no loop form", op.name));
            }
            continue;
        };
        for s in samples(op) {
            let consts = constants(&s);
            let Ok(types) = with_ctx(op, &s, &consts, &[], |ctx| ctx.infer(&mut SymTable::default())) else { continue };
            let Ok(want) = mnnc_ops::evaluate_op(op, &s.attrs, &s.inputs, s.num_outputs, 1 << 28) else { continue };
            let got =
                with_ctx(op, &s, &consts, &types, compute).and_then(|c| mnnc_ops::evaluate_compute(&c, &s.inputs));
            match got {
                Err(e) if NO_LOOPS_FOR.iter().any(|part| e.message.contains(part)) => {}
                Err(e) => failures.push(format!("{} {}: {e}", op.name, s)),
                Ok(got) if got.len() < s.num_outputs => {
                    failures.push(format!("{} {}: {} outputs", op.name, s, got.len()));
                }
                Ok(got) => {
                    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                        if let Some(d) = difference(g, w) {
                            failures.push(format!("{} {}: output {i} by loops and by evaluation: {d}", op.name, s));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{} failures", failures.join("\n"), failures.len());
}
