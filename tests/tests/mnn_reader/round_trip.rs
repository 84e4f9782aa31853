//! What the writer writes, the reader reads: the graph computes what it did before.

use crate::mnn::engine;
use crate::mnn::samples::graph_of;
use mnnc_import::{ImportOptions, load_mnn_bytes};
use mnnc_ir::{DType, Graph, Tensor};
use mnnc_ops::eval::Evaluator;
use std::collections::BTreeMap;

/// Seeds of the random samples that each op gets.
const SEEDS: u64 = 3;

/// A tensor in the type that MNN has for it.
fn run_time(t: &Tensor) -> Tensor {
    match t.dtype() {
        DType::I64 | DType::Bool => {
            let ints = t.to_i64s().expect("integers").into_iter().map(|x| x as i32).collect::<Vec<i32>>();
            Tensor::new(t.dims(), ints)
        }
        _ => t.clone(),
    }
}

fn read(bytes: Vec<u8>) -> Result<Graph, String> {
    let graph = load_mnn_bytes(bytes, &ImportOptions::default()).map_err(|e| e.to_string())?.graph;
    graph.verify().map_err(|e| format!("{e:?}"))?;
    Ok(graph)
}

/// Writes, reads and runs.
fn check(model: Vec<u8>, feeds: &[(String, Tensor)], want: &[Tensor]) -> Result<(), String> {
    let graph = read(model)?;
    let inputs: Vec<Tensor> = graph
        .inputs()
        .iter()
        .map(|&v| {
            let name = &graph.value(v).name;
            let (_, t) = feeds.iter().find(|(n, _)| n == name).ok_or(format!("input {name} is new"))?;
            Ok(run_time(t))
        })
        .collect::<Result<_, String>>()?;
    let got = Evaluator::new(&graph).run(&inputs).map_err(|e| format!("{e:?}"))?;
    if got.len() != want.len() {
        return Err(format!("{} outputs, not {}", got.len(), want.len()));
    }
    for (g, w) in got.iter().zip(want) {
        let error = engine::error(g, &run_time(w))?;
        if error > 1.0 {
            return Err(format!("{error:.2} tolerances off"));
        }
    }
    Ok(())
}

#[test]
fn every_op_that_is_written_is_read() {
    let only = std::env::var("MNNC_OP").ok();
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut right, mut bad) = (0, 0);
    for &op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        if only.as_ref().is_some_and(|only| only != op.name) {
            continue;
        }
        for seed in 0..SEEDS {
            for (sample, packed) in
                mnnc_ops::samples(op, seed).into_iter().flat_map(|s| [(s.clone(), false), (s, true)])
            {
                let Some((graph, feeds)) = graph_of(op, &sample, packed) else { continue };
                let Ok(model) = mnnc_mnn::write(&graph, &mnnc_mnn::WriteOptions::default()) else { continue };
                let inputs: Vec<Tensor> = feeds.iter().map(|(_, tensor)| tensor.clone()).collect();
                let want = Evaluator::new(&graph).run(&inputs).expect("samples evaluate");
                match check(model, &feeds, &want) {
                    Ok(()) => right += 1,
                    Err(reason) => {
                        bad += 1;
                        let shapes: Vec<String> =
                            sample.inputs.iter().flatten().map(|t| t.ty().show(&graph.syms)).collect();
                        wrong.entry(op.name.to_string()).or_default().push(format!(
                            "seed {seed}{} [{}] {:?}: {reason}",
                            if packed { " packed" } else { "" },
                            shapes.join(", "),
                            sample.attrs
                        ));
                    }
                }
            }
        }
    }
    for (op, list) in &wrong {
        println!("{op}: {} wrong", list.len());
        list.iter().take(3).for_each(|line| println!("    {line}"));
    }
    println!("{right} right, {bad} wrong");
    assert_eq!(bad, 0);
    assert!(only.is_some() || right > 1500, "only {right} cases");
}
