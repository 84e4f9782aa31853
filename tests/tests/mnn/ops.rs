//! Every op of the catalogue, written as a one-op `.mnn` file and run in MNN, against the reference evaluation.

use crate::mnn::engine::{self, Case};
use crate::mnn::samples::graph_of;
use mnnc_ir::Tensor;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seeds of the random samples that each op gets.
const SEEDS: u64 = 2;
/// Cases that share a Python process.
const BATCH: usize = 60;

#[derive(Default)]
struct Tally {
    right: usize,
    wrong: Vec<String>,
    refused: BTreeMap<String, usize>,
}

#[test]
fn every_op_is_right_or_refused() {
    let Some(python) = mnnc_tests::python() else { return };
    let only = std::env::var("MNNC_OP").ok();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut cases = Vec::new();
    let mut wanted: Vec<(&str, String, Vec<Tensor>)> = Vec::new();
    for &op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        if only.as_ref().is_some_and(|only| only != op.name) {
            continue;
        }
        for seed in 0..SEEDS {
            let samples = mnnc_ops::samples(op, seed).into_iter().enumerate();
            for (number, sample, packed) in
                samples.flat_map(|(i, sample)| [(i, sample.clone(), false), (i, sample, true)])
            {
                let Some((graph, feeds)) = graph_of(op, &sample, packed) else { continue };
                if packed && graph.schedule().len() == 1 {
                    continue;
                }
                let tally = tallies.entry(op.name).or_default();
                let model = match mnnc_mnn::write(&graph, &mnnc_mnn::WriteOptions::default()) {
                    Ok(model) => model,
                    Err(error) => {
                        let reason = error.to_string();
                        let reason = reason.rsplit("): ").next().unwrap_or_default().to_string();
                        *tally.refused.entry(reason).or_default() += 1;
                        continue;
                    }
                };
                let inputs: Vec<Tensor> = feeds.iter().map(|(_, tensor)| tensor.clone()).collect();
                let want = mnnc_ops::eval::Evaluator::new(&graph).run(&inputs).expect("samples evaluate");
                let show = |t: &Tensor| match t.to_i64s() {
                    Some(ints) if ints.len() <= 8 => format!("{}{ints:?}", t.dtype()),
                    _ => t.ty().show(&graph.syms),
                };
                let shapes: Vec<String> = sample.inputs.iter().flatten().map(show).collect();
                let name = format!(
                    "seed {seed} sample {number}{} [{}] {:?}",
                    if packed { " packed" } else { "" },
                    shapes.join(", "),
                    sample.attrs
                );
                let outputs = graph.outputs().iter().map(|&v| graph.value(v).name.clone()).collect();
                cases.push(Case { model, api: "module", memory: "normal", inputs: feeds, outputs, beside: None });
                wanted.push((op.name, name, want));
            }
        }
    }
    let mut outcomes = Vec::new();
    for batch in cases.chunks(BATCH) {
        outcomes.extend(engine::run(python, batch, Duration::from_secs(60)));
    }
    for (outcome, (op, name, want)) in outcomes.into_iter().zip(wanted) {
        let tally = tallies.entry(op).or_default();
        let verdict = outcome.and_then(|got| {
            if got.len() != want.len() {
                return Err(format!("{} outputs, not {}", got.len(), want.len()));
            }
            got.iter().zip(&want).try_fold(0.0f64, |worst, (g, w)| engine::error(g, w).map(|e| worst.max(e)))
        });
        match verdict {
            Ok(error) if error <= 1.0 => tally.right += 1,
            Ok(error) => tally.wrong.push(format!("{name}: {error:.1} times the tolerance off")),
            Err(reason) => tally.wrong.push(format!("{name}: {reason}")),
        }
    }
    let mut bad = 0;
    for (op, tally) in &tallies {
        println!(
            "{op}: {} right, {} wrong, {} refused",
            tally.right,
            tally.wrong.len(),
            tally.refused.values().sum::<usize>()
        );
        tally.wrong.iter().for_each(|line| println!("    WRONG {line}"));
        tally.refused.iter().for_each(|(reason, n)| println!("    refused {n}: {reason}"));
        bad += tally.wrong.len();
    }
    assert_eq!(bad, 0, "{bad} cases wrong in MNN");
}
