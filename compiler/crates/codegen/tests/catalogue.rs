//! Every sample of every op that has a loop form, through the JIT, against the reference evaluator.

use crate::support::{deviation, graph_of};
use mnnc_codegen::{Cpu, Jit, Level, Model, Options, Target};
use mnnc_ir::{Graph, Tensor};
use mnnc_ops::Evaluator;
use std::collections::BTreeMap;

fn run(g: &Graph, target: &Target, feeds: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let model = Model::compile(g, target, &[], &Options::default()).map_err(|e| e.to_string())?;
    Jit::new(model).and_then(|jit| jit.run(feeds)).map_err(|e| e.to_string())
}

/// Compares all samples; returns how many ran, by op.
fn compare(target: &Target, seeds: u64) -> (BTreeMap<&'static str, usize>, Vec<String>) {
    let mut ran = BTreeMap::new();
    let mut failures = Vec::new();
    for op in mnnc_ops::ALL {
        let Some(_) = op.compute else { continue };
        for seed in 0..seeds {
            for (k, s) in mnnc_ops::samples(op, seed).iter().enumerate() {
                let mut fail =
                    |why: String| failures.push(format!("{} seed {seed} sample {k}: {why}\n  {s:?}", op.name));
                let (g, feeds) = match graph_of(op, s) {
                    Ok(x) => x,
                    Err(e) => {
                        fail(format!("cannot be built: {e}"));
                        continue;
                    }
                };
                let want = match Evaluator::new(&g).run(&feeds) {
                    Ok(x) => x,
                    Err(e) => {
                        fail(format!("reference: {e:?}"));
                        continue;
                    }
                };
                match run(&g, target, &feeds) {
                    Err(e) => fail(e),
                    Ok(got) => {
                        for (got, want) in got.iter().zip(&want) {
                            match deviation(got, want) {
                                Err(e) => fail(e),
                                Ok(d) if d > 1.0 => fail(format!("off by {d} tolerances")),
                                Ok(_) => {}
                            }
                        }
                        *ran.entry(op.name).or_default() += 1;
                    }
                }
            }
        }
    }
    (ran, failures)
}

fn assert_all(target: &Target, seeds: u64) {
    let (ran, failures) = compare(target, seeds);
    let total: usize = ran.values().sum();
    eprintln!("{total} samples of {} ops", ran.len());
    let shown: Vec<&String> = failures.iter().take(30).collect();
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        shown.iter().map(|s| s.as_str()).collect::<Vec<_>>().join("\n")
    );
    let expected = mnnc_ops::ALL.iter().filter(|op| op.compute.is_some()).count();
    assert_eq!(ran.len(), expected, "every op with a loop form has samples");
}

#[test]
fn loop_forms_agree_with_the_reference() {
    assert_all(&Target::host(), 2);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn loop_forms_agree_with_the_reference_on_sse2() {
    let target = Target { arch: mnnc_codegen::Arch::X64, cpus: vec![Cpu::new(Level::X64V1)] };
    assert_all(&target, 1);
}
